"""What is reduced over time is the same a segment at a time and all at once."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mla_jax.models.over_time import Operator, at_once, looped, reduce_over_time

B, T, K = 3, 7, 5
OPERATORS: tuple[Operator, Operator] = ((lax.add, 0.0), (lax.max, -jnp.inf))


def test_both_forms_are_numpys() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(B, T, K)).astype(np.float32)
    mask = rng.random((B, T)) < 0.6
    factor = rng.normal(size=(B, K)).astype(np.float32)

    def of_segments(
        x: jax.Array, there: jax.Array, factor: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        return jnp.where(there[..., None], x * factor, 0), jnp.where(there[..., None], x, -9)

    total = np.where(mask[:, :, None], x * factor[:, None], 0).sum(axis=1)
    largest = np.where(mask[:, :, None], x, -9).max(axis=1)
    for reduce in (looped, at_once, reduce_over_time):
        found = jax.jit(lambda x, m, of=reduce: of(of_segments, OPERATORS, (x, m), (factor,)))(
            x, mask
        )
        np.testing.assert_allclose(found[0], total, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found[1], largest)


def test_it_can_be_batched() -> None:
    """As where several seeds train in one program."""
    x = np.random.default_rng(1).normal(size=(2, B, T, K)).astype(np.float32)

    def reduced(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return reduce_over_time(lambda x: (x, x), OPERATORS, (x,))

    together = jax.jit(jax.vmap(reduced))(x)
    for found, expected in zip(together, (x.sum(axis=2), x.max(axis=2)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
