"""The optimizer: Adam in Keras's form, its learning rate by step, and weight decay."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mla_jax.config import OptimConfig
from mla_jax.training.optimizer import keras_adam, make_optimizer, rate_factor
from tests.support.helpers import raises_user_error

COSINE = OptimConfig(schedule="cosine", warmup_steps=10)


def test_adam_is_kerass_formula() -> None:
    config = OptimConfig(learning_rate=0.01, epsilon=1e-2)  # large enough for its place to matter
    optimizer = keras_adam(config)
    rng = np.random.default_rng(0)
    param = jnp.asarray(rng.normal(size=4), jnp.float32)
    state, expected = optimizer.init(param), np.asarray(param, np.float64)
    m = v = np.zeros(4)
    for t in range(1, 30):
        gradient = rng.normal(size=4).astype(np.float32)
        updates, state = optimizer.update(jnp.asarray(gradient), state)
        param = optax.apply_updates(param, updates)
        m = 0.9 * m + 0.1 * gradient
        v = 0.999 * v + 0.001 * gradient.astype(np.float64) ** 2
        rate = 0.01 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        expected = expected - rate * m / (np.sqrt(v) + 1e-2)
        np.testing.assert_allclose(param, expected, rtol=1e-5, atol=1e-6)


def test_adams_epsilon_stands_before_the_correction() -> None:
    # optax's own stands behind it, where at step 1 the same effect takes 1 / sqrt(1 - b2) times as much.
    gradient = jnp.array([1e-3])
    ours, _ = keras_adam(OptimConfig(epsilon=1e-4)).update(
        gradient, keras_adam(OptimConfig()).init(gradient)
    )
    for epsilon, equal in ((1e-4, False), (1e-4 / math.sqrt(1e-3), True)):
        adam = optax.adam(1e-3, eps=epsilon)
        theirs, _ = adam.update(gradient, adam.init(gradient))
        assert np.allclose(ours, theirs, rtol=1e-4, atol=0) == equal


def test_gradients_are_clipped_by_their_norm() -> None:
    config = OptimConfig(clip_norm=0.5, learning_rate=1.0, b1=0.0, epsilon=1e6)
    gradient = {"a": jnp.asarray([3.0, 4.0])}
    optimizer = make_optimizer(config)
    moves, _ = optimizer.update(gradient, optimizer.init(gradient))
    plain = make_optimizer(dataclasses.replace(config, clip_norm=0.0))
    expected, _ = plain.update({"a": jnp.asarray([0.3, 0.4])}, plain.init(gradient))
    np.testing.assert_allclose(moves["a"], expected["a"], rtol=1e-5)
    assert float(optax.tree.norm(moves)) > 0


def rates(config: OptimConfig, steps: int) -> np.ndarray:
    factor = rate_factor(config, steps)
    return np.array([float(factor(jnp.int32(done))) for done in range(steps)])


def test_the_rate_rises_and_falls() -> None:
    found = rates(COSINE, 50)
    t = np.arange(1, 51)
    falling = 0.5 * (1 + np.cos(np.pi * (t - 11) / 40))
    np.testing.assert_allclose(found, np.where(t <= 10, t / 10, falling), atol=1e-6)
    assert 0 < found[-1] < 0.01
    np.testing.assert_allclose(
        rates(OptimConfig(warmup_steps=4), 6), [0.25, 0.5, 0.75, 1, 1, 1], atol=1e-6
    )
    assert rates(OptimConfig(warmup_steps=1, schedule="cosine"), 3)[:2].tolist() == [1, 1]
    for steps in (0, 10):
        with raises_user_error("optim.schedule=cosine needs the number of steps, above"):
            make_optimizer(COSINE, steps)


def test_it_is_optaxs_adamw() -> None:
    config = dataclasses.replace(
        COSINE, weight_decay=0.1, epsilon_place="after_correction", learning_rate=0.02
    )
    factor = rate_factor(config, 30)
    kernels = {"dense": {"kernel": True, "bias": False}, "norm": {"scale": False, "bias": False}}
    optimizers = (
        make_optimizer(config, 30),
        optax.adamw(lambda done: 0.02 * factor(done), eps=1e-8, weight_decay=0.1, mask=kernels),
    )
    rng, ends = np.random.default_rng(0), []
    values = [
        jax.tree.map(lambda _: rng.normal(size=3).astype(np.float32), kernels) for _ in range(31)
    ]
    for optimizer in optimizers:
        params = values[0]
        state, update = optimizer.init(params), jax.jit(optimizer.update)
        for gradient in values[1:]:
            moves, state = update(gradient, state, params)
            params = optax.apply_updates(params, moves)
        ends.append(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *ends)


@pytest.mark.parametrize("place", ["before_correction", "after_correction"])
def test_what_is_off_is_not_in_the_state(place: str) -> None:
    """Else checkpoints that were made before could not be read."""
    config, params = OptimConfig(epsilon_place=place), {"kernel": jnp.zeros(3)}
    adam = keras_adam(config) if place == "before_correction" else optax.adam(1e-3)
    ours, theirs = make_optimizer(config).init(params), adam.init(params)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
