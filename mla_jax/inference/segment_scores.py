r"""The score of a segment: what a model says of it in its clip.

A score of a segment that knows nothing but the segment ranks seconds worse than the probability of the whole
clip written under each of them: one second of sound says little, its clip says much. So the segment score
takes both, as the weighted geometric mean of two probabilities,

$$s_t = p^{0.7} q_t^{0.3}, \quad
q_{tk} = \sigma\Big(e_{tk} + \sum_j A_{kj} \sqrt{p_j} \big(e_{tj} - \tfrac1T \sum_s e_{sj}\big)\Big), \quad
e_t = \sum_s P_{ts} \tfrac12 \big(z(x_{s-1}, x_s, x_{s+1}) + z(x_s) + r_s\big).$$

$p$ is the clip's probability and $z(\cdot)$ the model's logit for the segments in brackets, taken as a clip;
at the ends of a clip there are fewer. A level of whole clips (`ModelConfig.clip_blocks`) says there what it
says of the clip: asked about few segments it finds when no better, and takes as long as all the rest.
Segments that sound alike share what is heard in them, by P, and a class takes from classes that are like it,
by A, as far as the clip has them (`mla_jax.inference.likeness`). Where unit k of every level is class k
(`ModelConfig.units_are_classes`), $r_t$ is what the attention says of the segment against the others of its
clip, $\log a_t - \frac1T \sum_s \log a_s$, mean over the levels; else, and without attention, it is 0. A is 0
too where units are not classes.

In a clip of one segment, or of equal segments, the score is the clip's probability; played backwards, a clip
has the same scores backwards. It lies between $p$ and $q_t$, so it lives on the scale of the clip
probabilities, and thresholds chosen on clips apply. Every form of the model has it.

Other scores have names of their own:

- alone: $\sigma(z(x_t))$, the model applied to the segment as a clip of its own; for where the clip must not
  matter;
- clip: $p$, under every segment: what any other score must beat.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mla_jax.config import ModelConfig
from mla_jax.errors import UserError
from mla_jax.inference.likeness import alike_classes, alike_segments
from mla_jax.models.fold import Array, FoldedWeights, fold
from mla_jax.models.folded import FoldedLevels, FoldedModel
from mla_jax.models.pooling import POOLINGS
from mla_jax.models.variables import Variables


class SegmentWeights(NamedTuple):
    """What the scores of segments are made with; a pytree.

    Attributes:
      model: the weights of the model.
      alike: A, [classes, classes]; None where units are not classes.
    """

    model: FoldedWeights
    alike: Array | None


class SegmentScore(NamedTuple):
    """What the score of a segment is made of.

    Attributes:
      clip: the exponent of p; that of q is 1 - clip.
      windows: in e, (size, weight) of the windows around the segment; the weights sum to one.
      attention: in e, the weight of r.
      alike: whether segments and classes that are alike share what is heard in them.
    """

    clip: float
    windows: tuple[tuple[int, float], ...]
    attention: float = 0.0
    alike: bool = False


SEGMENT_SCORES: dict[str, SegmentScore] = {
    "in_context": SegmentScore(clip=0.7, windows=((1, 0.5), (3, 0.5)), attention=0.5, alike=True),
    "alone": SegmentScore(clip=0.0, windows=((1, 1.0),)),
    "clip": SegmentScore(clip=1.0, windows=()),
}
"""The scores of segments by name: the default, the segment alone, and the clip's probability repeated."""

DEFAULT_SCORE = "in_context"

_LEAST_ATTENTION = 1e-30  # below that of any segment that counts


def require_known_score(name: str) -> None:
    """Checks that a segment score has this name.

    Raises:
      UserError: none has.
    """
    if name not in SEGMENT_SCORES:
        raise UserError(
            f"segment_score={name!r} is not known: choose from {', '.join(SEGMENT_SCORES)}"
        )


def segment_weights(config: ModelConfig, variables: Variables) -> SegmentWeights:
    """Of a model's variables, in NumPy."""
    model = fold(config, variables)
    if not config.units_are_classes:
        return SegmentWeights(model, None)
    maps = 1 + POOLINGS[config.pooling].uses_attention
    kernels = [np.split(np.asarray(head.maps.kernel), maps, axis=1)[0] for head in model.heads]
    return SegmentWeights(model, alike_classes(kernels))


def clip_and_segment_probs(
    config: ModelConfig,
    weights: SegmentWeights,
    inputs: jax.Array,
    mask: jax.Array,
    score: str = DEFAULT_SCORE,
) -> tuple[jax.Array, jax.Array, FoldedLevels]:
    """The probabilities of clips, the scores of their segments, and the levels that both are made of.

    The segments go through blocks and maps once, whatever they are part of.

    Args:
      config: what the model looks like.
      weights: `segment_weights` of its variables.
      inputs: [clips, time, features] float32, scaled.
      mask: [clips, time] bool, which segments count.
      score: of the segments, by its name.

    Returns:
      [clips, classes], [clips, time, classes], and the levels.

    Raises:
      UserError: there is no such score.
    """
    require_known_score(score)
    parts = SEGMENT_SCORES[score]
    model = FoldedModel(config, weights.model)
    levels = model.levels(inputs)
    of_clips = levels.of_clips(mask)
    clip = model.logits(of_clips)
    log_p = jax.nn.log_sigmoid(clip)[:, None]
    if not parts.windows:
        shape = (*inputs.shape[:2], clip.shape[1])
        return jnp.exp(log_p[:, 0]), jnp.broadcast_to(jnp.exp(log_p), shape), levels
    # Where the clip must not matter, the level of whole clips is asked of the window alone.
    of_clip = of_clips[-1] if levels.clip and parts.clip else None
    evidence = model.blended_logits(
        [(weight, levels.of_windows(mask, size, of_clip)) for size, weight in parts.windows]
    )
    if parts.attention and config.units_are_classes and POOLINGS[config.pooling].uses_attention:
        says = [
            _against_the_clip(jnp.log(jnp.maximum(level.attention(mask), _LEAST_ATTENTION)), mask)
            for level in levels.of_segments
        ]
        evidence = evidence + parts.attention * sum(says) / len(says)
    if parts.alike:
        evidence = _shared(weights.alike, model.normed(inputs), evidence, clip, mask)
    log_s = parts.clip * log_p + (1 - parts.clip) * jax.nn.log_sigmoid(evidence)
    return jnp.exp(log_p[:, 0]), jnp.exp(log_s), levels


def _shared(
    alike: Array | None,
    embeddings: jax.Array,
    evidence: jax.Array,
    clip: jax.Array,
    mask: jax.Array,
) -> jax.Array:
    """What is heard, [clips, time, classes], shared among segments and classes that are alike."""
    there = jnp.where(mask[:, :, None], evidence, 0)
    shared = jnp.einsum("bts,bsk->btk", alike_segments(embeddings, mask), there)
    if alike is None:
        return shared
    present = jnp.sqrt(jax.nn.sigmoid(clip))[:, None]
    return shared + (_against_the_clip(shared, mask) * present) @ alike


def _against_the_clip(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Values, [clips, time, n], minus their mean over the segments that count; 0 for others."""
    there = mask[:, :, None]
    number = jnp.maximum(jnp.sum(there, axis=1, keepdims=True), 1)
    mean = jnp.sum(jnp.where(there, values, 0), axis=1, keepdims=True) / number
    return jnp.where(there, values - mean, 0)
