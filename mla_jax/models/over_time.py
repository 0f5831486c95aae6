"""Reducing what each segment of a clip gives, over time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

Pair = tuple[jax.Array, jax.Array]

Operator = tuple[Callable[[jax.Array, jax.Array], jax.Array], float]
"""An operator of two arrays, such as `lax.add`, and the value that changes nothing under it."""


def reduce_over_time(
    of_segment: Callable[..., Pair], operators: tuple[Operator, Operator], *arrays: jax.Array
) -> Pair:
    """What `of_segment` makes of each segment, two arrays, each reduced over time by an operator.

    On a CPU the compiler would go through time for each class by itself, without vector instructions. A loop
    over time takes all classes of a segment at once, three times as fast.

    Args:
      of_segment: takes the segment of each of `arrays`, [batch, ...], and gives two of [batch, classes].
      operators: of the first and of the second.
      arrays: [batch, time, ...], the first of them [batch, time, classes].

    Returns:
      Two of [batch, classes] float32.
    """

    def loop(*arrays: jax.Array) -> Pair:
        return looped(of_segment, operators, *arrays)

    def together(*arrays: jax.Array) -> Pair:
        return at_once(of_segment, operators, *arrays)

    return lax.platform_dependent(*arrays, cpu=loop, default=together)


def looped(
    of_segment: Callable[..., Pair], operators: tuple[Operator, Operator], *arrays: jax.Array
) -> Pair:
    """`reduce_over_time`, a segment after the other."""
    (first, first_start), (second, second_start) = operators

    def step(t: jax.Array, reduced: Pair) -> Pair:
        segment = (lax.dynamic_index_in_dim(x, t, 1, keepdims=False) for x in arrays)
        one, other = of_segment(*segment)
        return first(reduced[0], one), second(reduced[1], other)

    batch, time, classes = arrays[0].shape
    start = (jnp.full((batch, classes), value) for value in (first_start, second_start))
    return lax.fori_loop(0, time, step, tuple(start))


def at_once(
    of_segment: Callable[..., Pair], operators: tuple[Operator, Operator], *arrays: jax.Array
) -> Pair:
    """`reduce_over_time`, all segments together."""
    of_all = jax.vmap(of_segment, in_axes=1, out_axes=1)(*arrays)
    one, other = (
        lax.reduce(x, start, operator, (1,))
        for x, (operator, start) in zip(of_all, operators, strict=True)
    )
    return one, other
