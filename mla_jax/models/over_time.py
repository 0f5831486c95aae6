"""Reducing what each segment of a clip gives, over time."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

Pair = tuple[jax.Array, jax.Array]

Operator = tuple[Callable[[jax.Array, jax.Array], jax.Array], float]
"""An operator of two arrays, such as `lax.add`, and the value that changes nothing under it."""


def mean_over_time(x: jax.Array, mask: jax.Array) -> jax.Array:
    """The mean of a clip's segments.

    Args:
      x: [batch, time, features].
      mask: [batch, time] bool, True where there is a segment; padding counts nothing, whatever it holds.

    Returns:
      [batch, features]; zero of a clip of nothing but padding.
    """
    count = jnp.maximum(jnp.sum(mask, axis=1, dtype=x.dtype), 1)
    return jnp.sum(jnp.where(mask[:, :, None], x, 0), axis=1) / count[:, None]


def reduce_over_time(
    of_segments: Callable[..., Pair],
    operators: tuple[Operator, Operator],
    arrays: Sequence[jax.Array],
    of_clips: Sequence[jax.Array] = (),
) -> Pair:
    """What `of_segments` makes of segments, two arrays, each reduced over time by an operator.

    On a CPU the compiler would go through time for each class by itself, without vector instructions. A loop
    over time takes all classes of a segment at once, three times as fast. A GPU takes all segments at once.

    Args:
      of_segments: element by element, of a segment or of all: takes `arrays` without their axis of time and
        `of_clips`, and gives two of [batch, classes]; or takes `arrays` as they are and `of_clips` with an
        axis of one in time's place, and gives two of [batch, time, classes].
      operators: of the first and of the second.
      arrays: [batch, time, ...], the first of them [batch, time, classes].
      of_clips: [batch, ...].

    Returns:
      Two of [batch, classes] float32.
    """

    def loop(arrays: Sequence[jax.Array], of_clips: Sequence[jax.Array]) -> Pair:
        return looped(of_segments, operators, arrays, of_clips)

    def together(arrays: Sequence[jax.Array], of_clips: Sequence[jax.Array]) -> Pair:
        return at_once(of_segments, operators, arrays, of_clips)

    return lax.platform_dependent(tuple(arrays), tuple(of_clips), cpu=loop, default=together)


def looped(
    of_segments: Callable[..., Pair],
    operators: tuple[Operator, Operator],
    arrays: Sequence[jax.Array],
    of_clips: Sequence[jax.Array] = (),
) -> Pair:
    """`reduce_over_time`, a segment after the other."""
    (first, first_start), (second, second_start) = operators

    def step(t: jax.Array, reduced: Pair) -> Pair:
        segment = (lax.dynamic_index_in_dim(x, t, 1, keepdims=False) for x in arrays)
        one, other = of_segments(*segment, *of_clips)
        return first(reduced[0], one), second(reduced[1], other)

    batch, time, classes = arrays[0].shape
    start = (jnp.full((batch, classes), value) for value in (first_start, second_start))
    return lax.fori_loop(0, time, step, tuple(start))


def at_once(
    of_segments: Callable[..., Pair],
    operators: tuple[Operator, Operator],
    arrays: Sequence[jax.Array],
    of_clips: Sequence[jax.Array] = (),
) -> Pair:
    """`reduce_over_time`, all segments together."""
    # Not by `jax.vmap` over time: the compiler then lays out everything with time in front.
    of_all = of_segments(*arrays, *(x[:, None] for x in of_clips))
    one, other = (
        lax.reduce(x, start, operator, (1,))
        for x, (operator, start) in zip(of_all, operators, strict=True)
    )
    return one, other
