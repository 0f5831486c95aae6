"""3 x 3 convolutions in the forms that are fast on a CPU, where XLA's own are slow.

Against XLA's: half the time for wide layers (`_winograd`), a fifth for depthwise ones and for one channel
(`shifted_products`).
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import relu

FLOAT32 = lax.Precision.HIGHEST
"""On accelerators too, where products of float32 are otherwise made of fewer bits."""

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolution_layer(
    x: jax.Array, weights: jax.Array, biases: jax.Array, *, pooled: bool
) -> jax.Array:
    """A 3 x 3 convolution with SAME padding, ReLU and, if `pooled`, the maximum of each 2 x 2.

    Args:
      x: float32 [examples, height, width, in]; the height a multiple of 4, the width even.
      weights: float32 [3, 3, in, out].
      biases: float32 [out].
      pooled: whether height and width are halved.

    Returns:
      float32 [examples, height, width, out].
    """
    direct = functools.partial(_direct, pooled=pooled)
    by_rows = functools.partial(_by_rows, pooled=pooled)
    return lax.platform_dependent(x, weights, biases, cpu=by_rows, default=direct)


def shifted_products(x: jax.Array, weights: jax.Array, *, stride: int = 1) -> jax.Array:
    """A depthwise 3 x 3 convolution with TensorFlow's SAME padding, as a sum of nine products.

    Args:
      x: float32 [examples, height, width, channels]; even height and width if the stride is 2. With one
        channel, it is convolved with each channel of the weights.
      weights: float32 [3, 3, channels].
      stride: 1 or 2.

    Returns:
      float32 [examples, height / stride, width / stride, channels].
    """
    height, width = x.shape[1:3]
    before = 2 - stride
    padded = jnp.pad(x, ((0, 0), (before, 1), (before, 1), (0, 0)))
    total = jnp.zeros((), x.dtype)
    for row in range(3):
        for column in range(3):
            part = padded[:, row : row + height : stride, column : column + width : stride]
            total = total + part * weights[row, column][None, None, None]
    return total


def _direct(x: jax.Array, weights: jax.Array, biases: jax.Array, pooled: bool) -> jax.Array:
    y = lax.conv_general_dilated(
        x, weights, (1, 1), "SAME", dimension_numbers=_LAYOUT, precision=FLOAT32
    )
    y = relu(y + biases[None, None, None])
    if not pooled:
        return y
    return lax.reduce_window(y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _by_rows(x: jax.Array, weights: jax.Array, biases: jax.Array, pooled: bool) -> jax.Array:
    """The same by the four rows of each tile, so that pooling needs no copies."""
    rows = _rows_of_one_channel(x, weights) if x.shape[3] == 1 else _winograd(x, weights)
    if pooled:
        rows = [jnp.maximum(rows[0], rows[1]), jnp.maximum(rows[2], rows[3])]
        rows = [jnp.maximum(row[:, :, ::2], row[:, :, 1::2]) for row in rows]
    y = jnp.stack(rows, axis=2)
    y = y.reshape(x.shape[0], -1, *y.shape[3:])  # which may be a symbol of jax.export
    return relu(y + biases[None, None, None])


def _rows_of_one_channel(x: jax.Array, weights: jax.Array) -> list[jax.Array]:
    y = shifted_products(x, weights[:, :, 0])
    return [y[:, row::4] for row in range(4)]


def _winograd(x: jax.Array, weights: jax.Array) -> list[jax.Array]:
    """Winograd's F(4, 3) along the height, with half the products of a convolution.

    Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015. Six sums of a tile's six input
    rows, [examples, height / 4, width, in] each, are convolved along the width with six sums of the weights;
    four sums of what comes out are its four rows of output. Differs from the direct form by some 1e-6 of the
    largest value.

    Returns:
      Rows 0, 1, 2 and 3 of each tile, [examples, height / 4, width, out].
    """
    n, height, width, channels = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 3), (0, 0), (0, 0)))
    tiles = padded.reshape(n, height // 4 + 1, 4, width, channels)
    d0, d1, d2, d3 = (tiles[:, :-1, row] for row in range(4))
    d4, d5 = tiles[:, 1:, 0], tiles[:, 1:, 1]
    inputs = [
        4 * d0 - 5 * d2 + d4,
        (d4 - 4 * d2) + (d3 - 4 * d1),
        (d4 - 4 * d2) - (d3 - 4 * d1),
        (d4 - d2) + 2 * (d3 - d1),
        (d4 - d2) - 2 * (d3 - d1),
        4 * d1 - 5 * d3 + d5,
    ]
    g0, g1, g2 = weights
    kernels = [
        g0 / 4,
        -(g0 + g1 + g2) / 6,
        -(g0 - g1 + g2) / 6,
        g0 / 24 + g1 / 12 + g2 / 6,
        g0 / 24 - g1 / 12 + g2 / 6,
        g2,
    ]
    m = [
        lax.conv_general_dilated(i, k[None], (1, 1), ((0, 0), (1, 1)), dimension_numbers=_LAYOUT)
        for i, k in zip(inputs, kernels, strict=True)
    ]
    sum12, sum34, minus12, minus34 = m[1] + m[2], m[3] + m[4], m[1] - m[2], m[3] - m[4]
    return [
        m[0] + sum12 + sum34,
        minus12 + 2 * minus34,
        sum12 + 4 * sum34,
        minus12 + 8 * minus34 + m[5],
    ]
