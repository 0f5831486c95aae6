"""The products of dense layers: JAX's own, and their gradients, in both forms."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mla_jax.models import product


def _same(ours: Any, theirs: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, theirs)


@pytest.mark.parametrize("sizes", [(6,), (6, 6), (3, 8, 11)])
@pytest.mark.parametrize("shape", [(7,), (7, 3), (2, 5, 3)])
def test_they_are_jaxs_and_so_are_their_gradients(
    shape: tuple[int, ...], sizes: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    x, kernels = normal(*shape, 4), [normal(4, size) for size in sizes]
    weights = [normal(*shape, size) for size in sizes]

    def of(multiply: Callable[..., Any]) -> Any:
        def total(x: jax.Array, *kernels: jax.Array) -> jax.Array:
            found = multiply(x, *kernels)
            return sum(jnp.sum(jnp.sin(y) * w) for y, w in zip(found, weights, strict=True))

        with_grads = jax.value_and_grad(total, argnums=tuple(range(1 + len(sizes))))
        return jax.jit(with_grads)(x, *kernels)

    _same(of(product.products), of(lambda x, *kernels: [jnp.matmul(x, k) for k in kernels]))
    # Those of accelerators.
    _same(product.together(x, *kernels), product.apart(x, *kernels))
    grads = [jnp.cos(w) for w in weights]
    _same(product.gradients_together(x, kernels, grads), product.gradients_apart(x, kernels, grads))
