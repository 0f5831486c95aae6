"""The product of a dense layer, with a gradient that does not turn large arrays around."""

from typing import Any

import jax


@jax.custom_vjp
def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`x @ kernel`, of [..., M] and [M, H].

    JAX's own gradient of the kernel sums over all axes of `x` but the last, and is then transposed. For that
    the compiler copies both arrays into another layout on a CPU; a sum over one axis of rows needs none.
    """
    return x @ kernel


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x @ kernel, (x, kernel)


def _backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    rows, outputs = (array.reshape(-1, array.shape[-1]) for array in (x, g))
    return g @ kernel.T, rows.T @ outputs


product.defvjp(_forward, _backward)


def dense_product(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """`product` as the `dot_general` of Flax's `Dense`, whose other arguments say no more than it does."""
    return product(x, kernel)
