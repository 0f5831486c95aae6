"""Batch norm against Flax's own, which knows masks but not PyTorch's running variance."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mla_jax.models.batch_norm import BatchNorm, normalised

B, T, F = 5, 3, 4
MASK = np.arange(T) < np.array([3, 1, 2, 3, 0])[:, None]


def _inputs() -> tuple[jax.Array, dict[str, Any]]:
    rng = np.random.default_rng(0)
    # Far from zero beside its deviation: the fast variance would lose it.
    x = 10 + 0.03 * rng.normal(size=(B, T, F))
    variables = {
        "params": {"scale": rng.random(F) + 0.5, "bias": rng.normal(size=F)},
        "batch_stats": {"mean": rng.normal(size=F), "var": rng.random(F) + 0.5},
    }
    return jnp.asarray(x, jnp.float32), jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float32), variables
    )


@pytest.mark.parametrize("train", [False, True])
def test_it_is_flaxs(train: bool) -> None:
    x, variables = _inputs()
    ours = BatchNorm(momentum=0.99, epsilon=1e-3)
    theirs = nn.BatchNorm(
        use_running_average=not train, momentum=0.99, epsilon=1e-3, use_fast_variance=False
    )
    mask = jnp.asarray(MASK)
    one, stats = jax.jit(lambda: ours.apply(variables, x, mask, train, mutable=["batch_stats"]))()
    two, other = jax.jit(
        lambda: theirs.apply(variables, x, mask=mask[:, :, None], mutable=["batch_stats"])
    )()
    np.testing.assert_allclose(one[MASK], two[MASK], rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), dict(stats), dict(other))


def test_statistics_are_numpys_and_unbiased_on_demand() -> None:
    x, variables = _inputs()
    real = np.asarray(x, np.float64)[MASK]
    for unbiased in (False, True):
        norm = BatchNorm(momentum=0.9, epsilon=1e-5, unbiased=unbiased)
        _, updates = jax.jit(
            lambda norm=norm: norm.apply(
                variables, x, jnp.asarray(MASK), True, mutable=["batch_stats"]
            )
        )()
        before, after = variables["batch_stats"], updates["batch_stats"]
        np.testing.assert_allclose(
            after["mean"], 0.9 * before["mean"] + 0.1 * real.mean(axis=0), rtol=1e-5
        )
        var = real.var(axis=0, ddof=int(unbiased))
        np.testing.assert_allclose((after["var"] - 0.9 * before["var"]) / 0.1, var, atol=3e-6)


def test_without_an_example_nothing_moves() -> None:
    x, variables = _inputs()
    norm = BatchNorm(momentum=0.9, epsilon=1e-5, unbiased=True)
    y, updates = jax.jit(
        lambda: norm.apply(variables, x, jnp.zeros((B, T), bool), True, mutable=["batch_stats"])
    )()
    assert np.isfinite(y).all()
    jax.tree.map(
        np.testing.assert_array_equal, dict(updates), {"batch_stats": variables["batch_stats"]}
    )


def test_its_gradients_are_those_of_the_formulas() -> None:
    """Of x, scale and bias, by way of y and of both statistics; padding holds numbers and gradients, too."""
    x, variables = _inputs()
    rng = np.random.default_rng(1)
    weights = jnp.asarray(rng.normal(size=x.shape), jnp.float32)
    scale, bias = variables["params"]["scale"], variables["params"]["bias"]
    there = jnp.asarray(MASK)[:, :, None]

    def by_the_formulas(x: jax.Array, scale: jax.Array, bias: jax.Array) -> Any:
        mean = jnp.mean(x, axis=(0, 1), where=there)
        var = jnp.mean((x - mean[None, None]) ** 2, axis=(0, 1), where=there)
        y = (x - mean[None, None]) / jnp.sqrt(var + 1e-3)[None, None]
        return y * scale[None, None] + bias[None, None], mean, var

    def ours(x: jax.Array, scale: jax.Array, bias: jax.Array) -> Any:
        return normalised(x, jnp.asarray(MASK), scale, bias, 1e-3)

    def gradients(of: Any) -> Any:
        def total(*inputs: jax.Array) -> jax.Array:
            y, mean, var = of(*inputs)
            return jnp.sum(jnp.sin(y) * weights) + jnp.sum(mean**2) + jnp.sum(jnp.cos(1e3 * var))

        return jax.jit(jax.grad(total, argnums=(0, 1, 2)))(x - 10, scale, bias)

    for one, two in zip(gradients(ours), gradients(by_the_formulas), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)
