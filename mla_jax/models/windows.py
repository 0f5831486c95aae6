"""Windows around each segment of a clip, pooled as clips; they end at the ends of the clip."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mla_jax.models.pooling import Pooling

Pool = Callable[[jax.Array, jax.Array | None, jax.Array], jax.Array]
"""(values [batch, time, n], attention logits or None, mask [batch, time]) -> [batch, n]."""

_TINY = 1e-37  # near the smallest normal float32: logits of windows end at some +-85


def pool_windows(
    pool: Pool, values: jax.Array, attend: jax.Array | None, mask: jax.Array, size: int
) -> jax.Array:
    """Pools the window around each segment by itself, as a clip.

    Args:
      pool: how; of one segment it must give the segment's own values.
      values: [batch, time, n].
      attend: of the same shape, or None.
      mask: [batch, time] bool, True where there is a segment.
      size: segments in a window; of an even number, one more lies before the segment than behind it.

    Returns:
      [batch, time, n]; of a window without a segment, any finite number.
    """
    if size == 1:
        return values
    attend = None if attend is None else _cut(attend, size)
    pooled = pool(_cut(values, size), attend, _cut(mask, size))
    return pooled.reshape(*values.shape[:2], -1)


def logits_of_windows(
    pooling: Pooling, class_logits: jax.Array, attend: jax.Array | None, mask: jax.Array, size: int
) -> jax.Array:
    r"""As `pool_windows` by a pooling, of class logits $c$.

    Where a segment's attention $v_t$ does not depend on its neighbours, every segment gives its
    $v_t \sigma(c_t)$ and $v_t \sigma(-c_t)$ once, and windows are sums of these; so the logits end where
    the sums underflow, at some +-85.
    """
    if size == 1:
        return class_logits
    if pooling.scores is None:
        return pool_windows(lambda *of: pooling.pool(*of).logits, class_logits, attend, mask, size)
    there = mask[:, :, None]
    v = jnp.where(there, pooling.scores(class_logits, attend, mask), 0)
    c = jnp.where(there, class_logits, 0)
    y, not_y = (jnp.maximum(_sums(v * jax.nn.sigmoid(x), size), _TINY) for x in (c, -c))
    return jnp.log(y) - jnp.log(not_y)


def _shifted(values: jax.Array, size: int) -> list[jax.Array]:
    """The values of the first segment of each window, of the second, ...; each of the shape of `values`."""
    before, time = size // 2, values.shape[1]
    rest = [(0, 0)] * (values.ndim - 2)
    padded = jnp.pad(values, [(0, 0), (before, size - 1 - before), *rest])
    return [padded[:, i : i + time] for i in range(size)]


def _sums(values: jax.Array, size: int) -> jax.Array:
    first, *others = _shifted(values, size)
    return sum(others, first)


def _cut(values: jax.Array, size: int) -> jax.Array:
    """[batch, time, ...] to its windows, [batch * time, size, ...]; zero, or False, outside the clip."""
    windows = jnp.stack(_shifted(values, size), axis=2)
    return windows.reshape(-1, size, *values.shape[2:])
