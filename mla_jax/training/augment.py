"""Batches whose clips are changed at random in training: mixed with others, segments left out.

What changes follows from a key alone, and is drawn for the clips of the batch before they are shared among
devices, so it is the same on one device and on many. Padding takes part in nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mla_jax.config import AugmentConfig
from mla_jax.parallel.mesh import constrain
from mla_jax.training.batches import Batch, DeviceClips


class Changes(NamedTuple):
    """What is drawn for the clips of a batch; None where nothing is.

    Attributes:
      partners: [batch] int32 the clips that these are mixed with.
      weights: [batch, time] float32, as `draw_weights` gives them.
      drops: [batch, time] float32, uniform in [0, 1), as `drop_segments` takes them.
    """

    partners: jax.Array | None = None
    weights: jax.Array | None = None
    drops: jax.Array | None = None


def draw_changes(config: AugmentConfig, key: jax.Array, rows: jax.Array, time: int) -> Changes:
    """Draws how a batch is changed.

    The partners of the clips are the same clips in a random order, anew in each step: positions in a batch
    that belong together, as those of one round of the balanced sampler do, meet no more often than others.

    Args:
      config: what is changed.
      key: of the step.
      rows: [batch] int32 the clips of the batch.
      time: the most segments of a clip.
    """
    partner_key, mix_key, drop_key = jax.random.split(key, 3)
    shape, changes = (len(rows), time), Changes()
    if config.mixes:
        changes = changes._replace(
            partners=jax.random.permutation(partner_key, rows),
            weights=draw_weights(config, mix_key, shape),
        )
    if config.drop_segments:
        changes = changes._replace(drops=jax.random.uniform(drop_key, shape))
    return changes


def changed_batch(
    data: DeviceClips, rows: jax.Array, changes: Changes, config: AugmentConfig
) -> Batch:
    """The clips `rows` [batch] as `DeviceClips.batch` gives them, but changed.

    Args:
      data: the clips on the device.
      rows: which of them.
      changes: as `draw_changes` draws them.
      config: what is changed.
    """
    batch = data.clips(rows)
    missing = len(batch.mask) - len(rows)  # what fills up a batch for the devices

    def fill(drawn: jax.Array) -> jax.Array:
        return jnp.pad(constrain(drawn, data.mesh), ((0, missing), (0, 0)))

    if changes.partners is not None and changes.weights is not None:
        partners = data.clips(changes.partners)
        batch = mix(batch, partners, fill(changes.weights), config.labels)
    if changes.drops is not None:
        kept = drop_segments(batch.mask, fill(changes.drops), config.drop_segments)
        batch = batch._replace(mask=kept)
    return data.examples_of(batch)


def draw_weights(config: AugmentConfig, key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    r"""How much of each segment of a mixed clip is its own, [clips, time] float32 in [0, 1].

    With `mixup` $\alpha$ it is $\lambda \sim Beta(\alpha, \alpha)$, drawn once a clip; without, 1. With
    `swap_segments` it becomes 0, the partner's alone, with that probability, drawn for each segment.
    """
    share_key, swap_key = jax.random.split(key)
    weights = jnp.ones(shape)
    if config.mixup:
        share = jax.random.beta(share_key, config.mixup, config.mixup, (shape[0], 1))
        weights = jnp.broadcast_to(share, shape)
    if config.swap_segments:
        stays = jax.random.uniform(swap_key, shape) >= config.swap_segments
        weights = jnp.where(stays, weights, 0)
    return weights


def mix(batch: Batch, partners: Batch, weights: jax.Array, labels: str) -> Batch:
    r"""Mixes the clips of two batches, segment by segment (mixup; Zhang et al., 2018, arXiv:1710.09412).

    With the weight $w$ of a segment, $x = w x_1 + (1 - w) x_2$ where both clips have it; where only one has,
    it is that one's, unchanged: there is nothing to mix it with, and a vector of zeros is no silence. What
    neither has is padding. A clip's share $s$ is the mean of its weights over the segments of the mixed
    clip, with 1 and 0 where only one has them: $\lambda$, where both are equally long. Weights of 0 and 1
    put segments of two clips side by side, as CutMix does (Yun et al., 2019, arXiv:1905.04899).

    Args:
      batch, partners: clips of the same shape, as `DeviceClips.clips` gives them.
      weights: [batch, time] float32 in [0, 1].
      labels: "share": $y = s y_1 + (1 - s) y_2$, which is the mean of the two losses by share; a label that
        is known of one clip only counts with the share of that clip. "union": $y = \max(y_1, y_2)$; it is
        known where both are, or where one is known to be there.
    """
    both = batch.mask & partners.mask
    ours, theirs = batch.embeddings, partners.embeddings
    weights = jnp.where(both, weights, batch.mask.astype(weights.dtype))
    # In this form a clip mixed with itself is itself to the bit.
    mixed = theirs + weights[:, :, None] * (ours - theirs)
    alone = jnp.where(batch.mask[:, :, None], ours, theirs)
    mask = batch.mask | partners.mask
    share = jnp.sum(weights, axis=1) / jnp.maximum(jnp.sum(mask, axis=1), 1)
    found, known = _mixed_labels(batch, partners, share[:, None], labels)
    return Batch(jnp.where(both[:, :, None], mixed, alone), mask, found, known)


def _mixed_labels(
    batch: Batch, partners: Batch, share: jax.Array, labels: str
) -> tuple[jax.Array, jax.Array | None]:
    ours, theirs = batch.labels, partners.labels
    known = (batch.known, partners.known)
    if labels == "union":
        union = jnp.maximum(ours, theirs)
        if known[0] is None or known[1] is None:
            return union, None
        # Of what is not known, the label is 0.
        return union, ((known[0] & known[1]) | (union > 0)).astype(jnp.float32)
    if known[0] is None or known[1] is None:
        return theirs + share * (ours - theirs), None
    weights = share * known[0], (1 - share) * known[1]
    total = weights[0] + weights[1]
    sums = weights[0] * ours + weights[1] * theirs
    return sums / jnp.where(total > 0, total, 1), total


def drop_segments(mask: jax.Array, drawn: jax.Array, probability: float) -> jax.Array:
    """Leaves out each segment with a probability; if that were all of a clip, one stays, at random.

    Args:
      mask: [batch, time] bool, the real segments.
      drawn: [batch, time] float32, uniform in [0, 1).
      probability: in [0, 1).

    Returns:
      The mask of what stays.
    """
    drawn = jnp.where(mask, drawn, -1)
    largest = jnp.max(drawn, axis=1, keepdims=True)
    return mask & ((drawn >= probability) | (drawn == largest))
