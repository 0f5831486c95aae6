"""Which clips are in the batch of step n: a pure function of (seed, n), inside or outside a compiled step.

Nothing is stored between steps, so a run resumes from its step number alone. Draws are numbered through
all steps: clip s of batch n is draw n * batch_size + s. A sampler turns draw numbers into clips in exact
cycles. It computes each order by a seeded bijection instead of storing it, so it stores the labels alone.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.errors import UserError

_ROUNDS = 4
_STREAM = 1  # so that the sampler's random numbers are not those of the weights or of dropout


def permute(position: jax.Array, size: jax.Array, keys: jax.Array) -> jax.Array:
    """The image of `position` under a keyed bijection of 0 ... size - 1.

    An affine map and an exclusive-or shift, both bijections of b-bit words, scramble the numbers below the
    smallest power of two that is at least `size`. An image of `size` or more is scrambled again until it is
    below, which keeps the whole a bijection; at most half of the numbers are above.

    Args:
      position: [n] uint32, each below its size.
      size: [n] uint32, at least 1.
      keys: [n] PRNG keys; equal keys and sizes make the same bijection.

    Returns:
      [n] uint32.
    """
    words = jax.vmap(partial(jax.random.bits, shape=(2 * _ROUNDS,), dtype=jnp.uint32))(keys)
    mask = size - 1
    for shift in (1, 2, 4, 8, 16):
        mask |= mask >> shift
    half = (jax.lax.population_count(mask) + 1) // 2

    def scramble(x: jax.Array) -> jax.Array:
        for r in range(_ROUNDS):
            x = (x * (words[:, 2 * r] | 1) + words[:, 2 * r + 1]) & mask
            x ^= x >> half
        return x

    return jax.lax.while_loop(
        lambda x: jnp.any(x >= size),
        lambda x: jnp.where(x >= size, scramble(x), x),
        scramble(position),
    )


def _draws(step: jax.Array | int, batch_size: int) -> jax.Array:
    first = jnp.asarray(step, jnp.uint32) * jnp.uint32(batch_size)
    return first + jnp.arange(batch_size, dtype=jnp.uint32)


@partial(
    jax.tree_util.register_dataclass, data_fields=["num_clips", "key"], meta_fields=["batch_size"]
)
@dataclasses.dataclass(frozen=True)
class UniformSampler:
    """Every clip once, in a new random order, before any clip again."""

    num_clips: jax.Array
    key: jax.Array
    batch_size: int

    def __call__(self, step: jax.Array | int) -> jax.Array:
        """The clip indices of a step, [batch_size] int32."""
        draws = _draws(step, self.batch_size)
        epoch, position = draws // self.num_clips, draws % self.num_clips
        keys = jax.vmap(partial(jax.random.fold_in, self.key))(epoch)
        return permute(position, jnp.full_like(position, self.num_clips), keys).astype(jnp.int32)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["clip_ids", "first", "count", "key"],
    meta_fields=["batch_size"],
)
@dataclasses.dataclass(frozen=True)
class BalancedSampler:
    """Every class in turn: in each round every class that has clips is drawn once, in a new random order.

    Each class goes through its own clips in cycles: every clip once, in a new random order, before any clip
    again. Batches are always full; a clip with several labels is drawn for each of them. Clips of none of
    the classes, if there are any, are drawn as those of one class more.

    Attributes:
      clip_ids: [num_labels] int32 clip indices, grouped by class; those of none of the classes last.
      first, count: [classes with clips] uint32; class c has clip_ids[first[c] : first[c] + count[c]].
    """

    clip_ids: jax.Array
    first: jax.Array
    count: jax.Array
    key: jax.Array
    batch_size: int

    def __call__(self, step: jax.Array | int) -> jax.Array:
        """The clip indices of a step, [batch_size] int32."""
        draws = _draws(step, self.batch_size)
        num_classes = jnp.uint32(self.first.shape[0])
        turn, place = draws // num_classes, draws % num_classes
        order_key, clip_key = jax.random.split(self.key)
        turn_keys = jax.vmap(partial(jax.random.fold_in, order_key))(turn)
        label = permute(place, jnp.full_like(place, num_classes), turn_keys)
        # A class is drawn once in every turn, so `turn` also counts its draws so far.
        count = self.count[label]
        cycle, position = turn // count, turn % count
        class_keys = jax.vmap(partial(jax.random.fold_in, clip_key))(label)
        cycle_keys = jax.vmap(jax.random.fold_in)(class_keys, cycle)
        return self.clip_ids[self.first[label] + permute(position, count, cycle_keys)]


@partial(jax.tree_util.register_dataclass, data_fields=["first"], meta_fields=["batch_size"])
@dataclasses.dataclass(frozen=True)
class InOrder:
    """For clips that were drawn before: they are the batches from step `first` on, one after the other."""

    first: jax.Array
    batch_size: int

    def __call__(self, step: jax.Array | int) -> jax.Array:
        """The clip indices of a step, [batch_size] int32."""
        start = (jnp.asarray(step, jnp.int32) - self.first) * self.batch_size
        return start + jnp.arange(self.batch_size, dtype=jnp.int32)


Sampler = UniformSampler | BalancedSampler


def make_sampler(clips: ClipSet, kind: str, *, seed: int, batch_size: int) -> Sampler:
    """The sampler of a training set.

    Args:
      clips: the training set.
      kind: "balanced" or "uniform".
      seed: of the draws.
      batch_size: clips in a batch.

    Raises:
      UserError: there are no clips, or no labels to balance; or there is no such kind.
    """
    if not len(clips):
        raise UserError("the training set has no clips; give it some, or hold fewer out")
    # The generator is named, so that another default in JAX changes nothing.
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), _STREAM)
    if kind == "uniform":
        return UniformSampler(jnp.uint32(len(clips)), key, batch_size)
    if kind != "balanced":
        raise UserError(f"data.sampler={kind!r} is not known: choose balanced or uniform")
    counts = clips.class_counts()
    present = np.flatnonzero(counts)
    if not present.size:
        raise UserError(
            "no clip has a label, so classes cannot be balanced; use data.sampler=uniform"
        )
    owner = np.repeat(np.arange(len(clips), dtype=np.int32), np.diff(clips.label_offsets))
    clip_ids, counts = owner[np.argsort(clips.label_ids, kind="stable")], counts[present]
    background = _background(clips)
    if background.size:
        clip_ids, counts = np.append(clip_ids, background), np.append(counts, len(background))
    return BalancedSampler(
        clip_ids=jnp.asarray(clip_ids),
        first=jnp.asarray(np.append(0, np.cumsum(counts)[:-1]), jnp.uint32),
        count=jnp.asarray(counts, jnp.uint32),
        key=key,
        batch_size=batch_size,
    )


def _background(clips: ClipSet) -> np.ndarray:
    """The clips of none of the classes, as far as their labels are known: int32 indices."""
    negative = np.diff(clips.label_offsets) == 0
    if clips.label_mask is not None and negative.any():
        negative[negative] = clips.label_mask[negative].any(axis=1)
    return np.flatnonzero(negative).astype(np.int32)
