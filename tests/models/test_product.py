"""The product of a dense layer: JAX's own, and its gradients."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mla_jax.models.product import product


@pytest.mark.parametrize("shape", [(7,), (7, 3), (2, 5, 3)])
def test_it_is_jaxs_and_so_are_its_gradients(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((*shape, 4), (4, 6)))
    weights = jnp.asarray(rng.normal(size=(*shape, 6)), jnp.float32)

    def of(multiply: Callable[[jax.Array, jax.Array], jax.Array]) -> object:
        def total(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return jnp.sum(jnp.sin(multiply(x, kernel)) * weights)

        return jax.value_and_grad(total, argnums=(0, 1))(x, kernel)

    jax.tree.map(
        lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5),
        of(product),
        of(jnp.matmul),
    )
