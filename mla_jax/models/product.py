"""The products of dense layers, in the form that is fast where they run, with their gradients written out."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_Saved = tuple[jax.Array, tuple[jax.Array, ...]]

# A GPU's matrix units want rows of whole groups of 16 bytes: with 527 columns a product takes twice as long.
_ALIGNED = 8


@jax.custom_vjp
def products(x: jax.Array, *kernels: jax.Array) -> tuple[jax.Array, ...]:
    """`x @ kernel` of each kernel, of [..., M] and [M, H].

    On a CPU each is a product of its own. Elsewhere they are one product, in which every kernel is filled up
    with columns of zeros to a multiple of 8.

    The gradients are written out: JAX's own of a kernel sums over all axes of `x` but the last, and is then
    transposed, for which the compiler copies both arrays into another layout on a CPU. A sum over one axis
    of rows needs none.
    """
    return lax.platform_dependent(x, *kernels, cpu=apart, default=together)


def apart(x: jax.Array, *kernels: jax.Array) -> tuple[jax.Array, ...]:
    """`products`, one after the other."""
    return tuple(x @ kernel for kernel in kernels)


def together(x: jax.Array, *kernels: jax.Array) -> tuple[jax.Array, ...]:
    """`products`, as one."""
    return _split(lax.optimization_barrier(x @ _joined(kernels)), kernels)


def _forward(x: jax.Array, *kernels: jax.Array) -> tuple[tuple[jax.Array, ...], _Saved]:
    return products(x, *kernels), (x, kernels)


def _backward(saved: _Saved, grads: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    x, kernels = saved
    return lax.platform_dependent(
        x, kernels, grads, cpu=gradients_apart, default=gradients_together
    )


def gradients_apart(x: jax.Array, kernels: Any, grads: Any) -> tuple[jax.Array, ...]:
    """The gradients by x and by each kernel, of products one after the other."""
    of_x = [g @ kernel.T for g, kernel in zip(grads, kernels, strict=True)]
    return sum(of_x[1:], of_x[0]), *(_rows(x).T @ _rows(g) for g in grads)


def gradients_together(x: jax.Array, kernels: Any, grads: Any) -> tuple[jax.Array, ...]:
    """The same, of one product."""
    # The barriers keep the compiler from undoing it.
    g = lax.optimization_barrier(_joined(grads))
    of_kernels = lax.optimization_barrier(_rows(x).T @ _rows(g))
    return g @ _joined(kernels).T, *_split(of_kernels, kernels)


products.defvjp(_forward, _backward)


def _rows(array: jax.Array) -> jax.Array:
    return array.reshape(-1, array.shape[-1])


def _joined(parts: tuple[jax.Array, ...]) -> jax.Array:
    """The parts beside each other, each filled up to a multiple of `_ALIGNED`."""
    return jnp.concatenate([_filled_up(part) for part in parts], axis=-1)


def _filled_up(part: jax.Array) -> jax.Array:
    missing = -part.shape[-1] % _ALIGNED
    return jnp.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, missing)]) if missing else part


def _split(array: jax.Array, like: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """What `_joined` has joined: parts of the sizes of `like`."""
    found, start = [], 0
    for part in like:
        size = part.shape[-1]
        found.append(array[..., start : start + size])
        start += size + -size % _ALIGNED
    return tuple(found)
