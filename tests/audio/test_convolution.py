"""The fast forms of convolutions are convolutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mla_jax.audio.convolution import convolution_layer, shifted_products

LAYOUT = ("NHWC", "HWIO", "NHWC")


def random(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def convolved(x: jax.Array, weights: jax.Array, stride: int = 1, groups: int = 1) -> np.ndarray:
    """XLA's own, in float64."""
    with jax.enable_x64(True):
        return np.asarray(
            lax.conv_general_dilated(
                jnp.asarray(x, jnp.float64),
                jnp.asarray(weights, jnp.float64),
                (stride, stride),
                "SAME",
                dimension_numbers=LAYOUT,
                feature_group_count=groups,
            )
        )


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(("height", "width", "channels"), [(4, 2, 3), (12, 8, 16), (16, 6, 1)])
def test_a_layer(height: int, width: int, channels: int, pooled: bool) -> None:
    x, weights = random(3, height, width, channels), random(3, 3, channels, 8, seed=1)
    biases = random(8, seed=2)
    expected = np.maximum(convolved(x, weights) + np.asarray(biases), 0)
    if pooled:
        expected = expected.reshape(3, height // 2, 2, width // 2, 2, 8).max((2, 4))
    ours = jax.jit(convolution_layer, static_argnames="pooled")(x, weights, biases, pooled=pooled)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=5e-6 * expected.max())


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise(stride: int) -> None:
    x, weights = random(2, 6, 4, 5), random(3, 3, 5, seed=1)
    expected = convolved(x, weights[:, :, None], stride, groups=5)
    np.testing.assert_allclose(
        shifted_products(x, weights, stride=stride), expected, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_one_channel(stride: int) -> None:
    x, weights = random(2, 6, 4, 1), random(3, 3, 5, seed=1)
    expected = convolved(x, weights[:, :, None], stride)
    np.testing.assert_allclose(
        shifted_products(x, weights, stride=stride), expected, rtol=0, atol=1e-5
    )
