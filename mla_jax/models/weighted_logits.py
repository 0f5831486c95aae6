r"""The logit of a weighted mean of probabilities, exact at logits of any size; and its gradient.

Of $y = \sum_t v_t \sigma(c_t) / \sum_t v_t$ the logit is

$$\log\frac{y}{1 - y} = \log\sum_t v_t \sigma(c_t) - \log\sum_t v_t \sigma(-c_t).$$

Where all logits of a clip and class have one sign, $\sigma$ of the wrong sign could underflow. There $e^u$,
with $u$ the logit nearest to zero, is taken out of the sums, and its logarithm added behind them. One
exponential an element serves everything, $z = e^{-|c - u|}$: with $p = z e^{-|u|}$, $\sigma(c)$ is
$1 / (1 + p)$ where $c \ge 0$ and $p / (1 + p)$ elsewhere.
"""

import jax
import jax.numpy as jnp
from jax import lax

from mla_jax.models.over_time import Operator, reduce_over_time

_BOTH_BOUNDS: tuple[Operator, Operator] = ((lax.min, jnp.inf), (lax.max, -jnp.inf))
_BOTH_SUMS: tuple[Operator, Operator] = ((lax.add, 0.0), (lax.add, 0.0))


@jax.custom_vjp
def weighted_logits(class_logits: jax.Array, scores: jax.Array, mask: jax.Array) -> jax.Array:
    """Clip logits of the mean of segment probabilities, weighted by scores.

    Args:
      class_logits: [batch, time, classes] c.
      scores: [batch, time, classes] v, between 0 and 1e30, at least one of each sum well above zero.
      mask: [batch, time] bool, True where there is a segment.

    Returns:
      [batch, classes].
    """
    return _with_sums(class_logits, scores, mask)[0]


def if_empty(mask: jax.Array) -> jax.Array:
    """[batch, 1, 1] the score of padding: 0; 1 in clips of nothing else, so that no sum is zero."""
    return 1.0 - jnp.any(mask, axis=1)[:, None, None].astype(jnp.float32)


_Sums = tuple[jax.Array, jax.Array, jax.Array]
_Saved = tuple[jax.Array, jax.Array, jax.Array, _Sums]


def _with_sums(c: jax.Array, v: jax.Array, mask: jax.Array) -> tuple[jax.Array, _Sums]:
    """The logits, and u and the two sums that they are made of; each [batch, classes]."""
    lowest, highest = reduce_over_time(_bounds, _BOTH_BOUNDS, (c, mask))
    u = jnp.where(highest < 0, highest, jnp.maximum(lowest, 0))
    # A clip without segments has no sums to take it out of.
    u = jnp.where(jnp.any(mask, axis=1)[:, None], u, 0)

    of_clips = (u, if_empty(mask)[:, 0])
    for_y, for_not_y = reduce_over_time(_terms, _BOTH_SUMS, (c, v, mask), of_clips)
    return u + jnp.log(for_y) - jnp.log(for_not_y), (u, for_y, for_not_y)


def _bounds(c: jax.Array, there: jax.Array) -> tuple[jax.Array, jax.Array]:
    there = there[..., None]
    return jnp.where(there, c, jnp.inf), jnp.where(there, c, -jnp.inf)


def _terms(
    c: jax.Array, v: jax.Array, there: jax.Array, u: jax.Array, empty: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What segments add to both sums; `there` is without the axis of classes, in `empty` it has one."""
    there = there[..., None]
    positive, z, p = _parts(jnp.where(there, c, u), u)
    v = jnp.where(there, v, empty) / (1 + p)
    return jnp.where(positive, v, v * z), jnp.where(positive, v * z, v)


def _parts(c: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    positive = c >= 0
    z = jnp.exp(jnp.where(positive, u - c, c - u))
    return positive, z, z * jnp.exp(-jnp.abs(u))


def _forward(c: jax.Array, v: jax.Array, mask: jax.Array) -> tuple[jax.Array, _Saved]:
    logits, sums = _with_sums(c, v, mask)
    return logits, (c, v, mask, sums)


def _backward(saved: _Saved, g: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    """By c: v (sigma(c) sigma(-c)) (1/sum + 1/other sum); by v: sigma(c)/sum - sigma(-c)/other sum."""
    c, v, mask, (u, for_y, for_not_y) = saved
    there = mask[:, :, None]
    positive, z, p = _parts(jnp.where(there, c, u[:, None]), u[:, None])
    share = 1 / (1 + p)
    y = jnp.where(positive, share, z * share) * (g / for_y)[:, None]
    not_y = jnp.where(positive, z * share, share) * (g / for_not_y)[:, None]
    by_c = v * jnp.where(positive, y * p + not_y, y + not_y * p) * share
    return jnp.where(there, by_c, 0), jnp.where(there, y - not_y, 0), None


weighted_logits.defvjp(_forward, _backward)
