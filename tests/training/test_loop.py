"""The training loop: what makes a run repeatable, and what `fit` calls on its way."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from mla_jax.models.multi_level import MultiLevelModel
from mla_jax.training.batches import DeviceClips
from mla_jax.training.loop import NotFiniteError, Trainer, next_stop
from mla_jax.training.sampler import make_sampler
from mla_jax.training.state import TrainState, stack_states
from mla_jax.training.step import DRAWN_AHEAD, Recipe, run_steps
from tests.support.helpers import raises_user_error
from tests.support.small_runs import SMALL

N, T, M, K = 60, 4, 8, 5
CONFIG = Config(
    model=ModelConfig(**SMALL | {"hidden_units": 16, "block_norm": True}),
    data=DataConfig(batch_size=12),
    train=TrainConfig(steps=20, log_every=5, eval_every=10, checkpoint_every=10, seed=3),
)
RECIPE = Recipe.of(CONFIG)


@pytest.fixture(scope="module")
def clips() -> mla.ClipSet:
    """Clips whose first features tell their labels."""
    rng = np.random.default_rng(0)
    labels = rng.random((N, K)) < 0.3
    labels[np.arange(N), rng.integers(0, K, N)] = True
    embeddings = rng.integers(60, 200, (N, T, M), dtype=np.uint8)
    embeddings[:, :, :K] = np.where(labels, 220, 40)[:, None, :]
    return mla.ClipSet.from_arrays(embeddings, labels, num_segments=rng.integers(1, T + 1, N))


def with_train(**train: int) -> Config:
    return dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, **train))


def begin(clips: mla.ClipSet, config: Config = CONFIG) -> tuple[MultiLevelModel, TrainState]:
    model = mla.build_model(config.model, clips.num_classes)
    return model, mla.fresh_state(model, clips, config)


def assert_same(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


# ---- the compiled run ----


def run(clips: mla.ClipSet, counts: list[int]) -> tuple[TrainState, np.ndarray]:
    """The state after so many steps a call, and the loss of every step."""
    model, state = begin(clips)
    data, key = DeviceClips.put(clips), jax.random.key(1)
    sampler = make_sampler(clips, "balanced", seed=3, batch_size=12)
    losses = []
    for count in counts:
        state, metrics = run_steps(model, RECIPE, state, data, sampler, key, np.int32(count))
        losses.append(np.asarray(metrics.loss)[:count])
    return state, np.concatenate(losses)


def test_however_a_run_is_cut_its_bits_are_the_same(clips: mla.ClipSet) -> None:
    whole = run(clips, [10])
    for counts in ([5, 5], [1] * 10, [3, 7]):
        assert_same(whole, run(clips, counts))
    # Batches are drawn ahead for so many steps.
    beyond = [DRAWN_AHEAD - 1, 1, 1, DRAWN_AHEAD + 3]
    assert_same(run(clips, [sum(beyond)]), run(clips, beyond))


def test_the_host_is_not_in_the_loop(clips: mla.ClipSet) -> None:
    model, state = begin(clips)
    data = DeviceClips.put(clips)
    sampler = make_sampler(clips, "balanced", seed=3, batch_size=12)
    key, count = jax.random.key(1), jnp.int32(4)
    # Compiles; the next call must move nothing.
    state, _ = run_steps(model, RECIPE, state, data, sampler, key, count)
    with jax.transfer_guard("disallow"):
        state, metrics = run_steps(model, RECIPE, state, data, sampler, key, count)
    assert int(state.step) == 8
    assert np.isfinite(metrics.loss[:4]).all()
    assert np.isnan(metrics.loss[4:]).all()


def test_another_seed_is_another_run(clips: mla.ClipSet) -> None:
    def end(seed: int) -> TrainState:
        config = with_train(seed=seed)
        return mla.fit(*begin(clips, config), clips, config)

    assert_same(end(3), end(3))
    differing = jax.tree.map(lambda a, b: a.ndim < 2 or (a != b).any(), end(3), end(4))
    assert all(jax.tree.leaves(differing.params))


# ---- fit ----


def test_fit_learns(clips: mla.ClipSet) -> None:
    config = dataclasses.replace(
        with_train(steps=200),
        model=dataclasses.replace(CONFIG.model, hidden_units=32, dropout_rate=0.1),
        optim=mla.OptimConfig(learning_rate=5e-3),
    )
    model, state = begin(clips, config)

    def score(state: TrainState) -> float:
        probs = mla.Predictor(model, state.variables).predict(clips)
        return mla.evaluate(probs, clips.multi_hot()).mAP

    before = score(state)
    entries: list[dict[str, Any]] = []
    after = score(mla.fit(model, state, clips, config, on_log=lambda _, e: entries.append(e)))
    assert before < 0.7
    assert after > 0.99
    assert entries[-1]["loss"] < 0.6 * entries[0]["loss"]


@pytest.mark.slow
def test_the_default_preset_trains_all_of_its_levels(clips: mla.ClipSet) -> None:
    default = mla.preset("1-A-1-A")
    config = dataclasses.replace(
        default,
        model=dataclasses.replace(default.model, hidden_units=12),
        data=CONFIG.data,
        train=with_train(steps=3).train,
    )
    model = mla.build_model(config.model, K)
    before = jax.tree.map(np.array, mla.fresh_state(model, clips, config).params)
    after = mla.fit(model, mla.fresh_state(model, clips, config), clips, config).params
    for head in ("head_0", "head_1"):
        for layer in ("classify", "attend"):
            moved = np.abs(after[head][layer]["bias"] - before[head][layer]["bias"])
            assert (moved > 0).all(), (head, layer)


def test_log_entries_come_at_their_steps(clips: mla.ClipSet) -> None:
    config = with_train(steps=23, checkpoint_every=7)
    entries: list[dict[str, Any]] = []
    evaluated: list[int] = []

    def evaluate(state: TrainState) -> dict[str, float]:
        evaluated.append(int(state.step))
        return {"score": 1.0}

    def on_log(state: TrainState, entry: dict[str, Any]) -> None:
        entries.append({**entry, "at": int(state.step)})

    mla.fit(*begin(clips), clips, config, evaluate=evaluate, on_log=on_log)
    assert [e["step"] for e in entries] == [5, 7, 10, 14, 15, 20, 21, 23]
    assert all(e["at"] == e["step"] for e in entries)
    assert evaluated == [10, 20, 23]
    assert [e["step"] for e in entries if "score" in e] == evaluated
    # The mean of the entries, weighed by their steps, is the mean of the run.
    losses: list[float] = []
    every = with_train(steps=23, log_every=1)
    mla.fit(*begin(clips), clips, every, on_log=lambda _, e: losses.append(e["loss"]))
    assert len(losses) == 23
    weights = np.diff([0, *(e["step"] for e in entries)])
    mean = np.average([e["loss"] for e in entries], weights=weights)
    assert mean == pytest.approx(np.mean(losses), rel=1e-6)


def test_next_stop_without_evaluations() -> None:
    train = TrainConfig(steps=100, log_every=30, eval_every=10, checkpoint_every=50)
    assert next_stop(0, train, evaluates=False) == 30
    assert next_stop(0, train, evaluates=True) == 10
    assert next_stop(90, train, evaluates=False) == 100


def test_a_loss_that_is_not_finite_stops_with_its_step_named(clips: mla.ClipSet) -> None:
    model, state = begin(clips)
    broken = jax.tree.map(lambda x: x.at[...].set(jnp.inf), state.params)
    state = state.replace(step=jnp.int32(7), params=broken)
    with raises_user_error("step 8 is not finite", "learning_rate"):
        mla.fit(model, state, clips, CONFIG)


def test_of_several_seeds_the_batch_of_the_broken_one_is_named(clips: mla.ClipSet) -> None:
    model, state = begin(clips)
    broken = state.replace(params=jax.tree.map(lambda x: x * jnp.nan, state.params))
    stack = stack_states([state, broken])
    with (
        Trainer(model, stack, clips, CONFIG, seeds=[3, 4]) as trainer,
        pytest.raises(NotFiniteError) as caught,
    ):
        trainer.advance(stop=20)
    sampler = make_sampler(clips, CONFIG.data.sampler, seed=4, batch_size=12)
    np.testing.assert_array_equal(caught.value.rows, sampler(0))
