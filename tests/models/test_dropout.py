"""Dropout draws what Flax's draws, from the bits of `jax.random`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mla_jax.models.dropout import Dropout, bernoulli, random_words


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 4)])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_the_words_are_those_of_jax(shape: tuple[int, ...], impl: str) -> None:
    key = jax.random.key(3, impl=impl)
    words = jax.jit(random_words, static_argnums=1)(key, shape)
    np.testing.assert_array_equal(words, jax.random.bits(key, shape))


def test_several_keys_at_once_draw_what_each_draws() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.jit(jax.vmap(lambda key: random_words(key, (4, 5))))(keys)
    np.testing.assert_array_equal(together, [jax.random.bits(key, (4, 5)) for key in keys])


@pytest.mark.parametrize("probability", [1e-9, 0.1, 0.5, 0.6, 1 - 2**-23, 1.0])
def test_the_draws_are_those_of_jax(probability: float) -> None:
    key = jax.random.key(1)
    drawn = jax.jit(bernoulli, static_argnums=(1, 2))(key, probability, (100, 100))
    np.testing.assert_array_equal(drawn, jax.random.bernoulli(key, probability, (100, 100)))


def test_a_number_that_equals_the_probability_is_not_below_it() -> None:
    key = jax.random.key(1)
    probability = float(jax.random.uniform(key, (1,))[0])
    for one in (probability, np.nextafter(np.float32(probability), np.float32(1))):
        assert bernoulli(key, float(one), (1,)) == jax.random.bernoulli(key, float(one), (1,))
    assert not bernoulli(key, probability, (1,))


@pytest.mark.parametrize("train", [False, True])
def test_it_is_flaxs_and_so_is_its_gradient(train: bool) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4, 30)), jnp.float32)

    class Ours(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return Dropout(0.4)(x, train)

    class Theirs(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return nn.Dropout(0.4, deterministic=not train)(x)

    def out_and_gradient(module: nn.Module) -> tuple[jax.Array, jax.Array]:
        def total(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            y = module.apply({}, x, rngs={"dropout": jax.random.key(5)})
            return jnp.sum(jnp.sin(y)), y

        gradient, y = jax.jit(jax.grad(total, has_aux=True))(x)
        return y, gradient

    for ours, theirs in zip(out_and_gradient(Ours()), out_and_gradient(Theirs()), strict=True):
        np.testing.assert_array_equal(ours, theirs)
