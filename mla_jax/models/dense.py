"""Dense layers, of which those of one input make their products together."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from mla_jax.models.product import products


class Dense(nn.Module):
    """The weights of a dense layer, drawn and named as Flax's `Dense` does.

    Attributes:
      units: H, the size of its output.
      kernel_init: of the kernel; a bias starts at zero.
      use_bias: whether it has a bias.
    """

    units: int
    kernel_init: nn.initializers.Initializer
    use_bias: bool = True

    @nn.compact
    def __call__(self, size: int) -> tuple[jax.Array, jax.Array | None]:
        """The kernel, [size, H], and the bias, [H] or None, for inputs of a size."""
        kernel: jax.Array = self.param("kernel", self.kernel_init, (size, self.units))
        if not self.use_bias:
            return kernel, None
        return kernel, self.param("bias", nn.initializers.zeros, (self.units,))


def apply_dense(h: jax.Array, layers: Sequence[Dense]) -> list[jax.Array]:
    """What each of some layers makes of h [..., M], [..., H]."""
    kernels, biases = zip(*(layer(h.shape[-1]) for layer in layers), strict=True)
    found = products(h, *kernels)
    return [_shifted(y, bias) for y, bias in zip(found, biases, strict=True)]


def _shifted(y: jax.Array, bias: jax.Array | None) -> jax.Array:
    return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)
