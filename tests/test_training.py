"""Losses, Adam, the compiled run, and what makes a run repeatable."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics

import mla_jax as mla
from mla_jax.config import Config, DataConfig, ModelConfig, OptimConfig, TrainConfig
from mla_jax.data.sampler import make_sampler
from mla_jax.training.batches import DeviceClips
from mla_jax.training.checkpoints import Checkpoints
from mla_jax.training.loop import next_stop
from mla_jax.training.losses import binary_cross_entropy
from mla_jax.training.state import keras_adam
from mla_jax.training.step import run_steps, train_step

N, T, M, K = 60, 4, 8, 5
KEY = jax.random.key(1)
CONFIG = Config(
    model=ModelConfig(hidden_units=16),
    data=DataConfig(batch_size=12),
    train=TrainConfig(steps=20, log_every=5, eval_every=10, checkpoint_every=10, seed=3),
)


def _clips(seed: int = 0) -> mla.ClipSet:
    """Clips whose first features tell their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.random((N, K)) < 0.3
    labels[np.arange(N), rng.integers(0, K, N)] = True
    embeddings = rng.integers(60, 200, (N, T, M), dtype=np.uint8)
    embeddings[:, :, :K] = np.where(labels, 220, 40)[:, None, :]
    return mla.ClipSet.from_arrays(embeddings, labels, num_segments=rng.integers(1, T + 1, N))


def _state(clips: mla.ClipSet, config: Config = CONFIG) -> tuple[Any, Any]:
    model = mla.build_model(config.model, clips.num_classes)
    return model, mla.fresh_state(model, clips, config)


def _same(a: Any, b: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


# ---- loss and optimizer ----


def test_cross_entropy_is_scikit_learns_and_keeps_what_clipping_loses() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(7, K)).astype(np.float32) * 3
    labels = (rng.random((7, K)) < 0.4).astype(np.float32)
    expected = [
        sklearn.metrics.log_loss(labels[:, k], 1 / (1 + np.exp(-logits[:, k])), labels=[0, 1])
        for k in range(K)
    ]
    assert float(binary_cross_entropy(logits, labels)) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(binary_cross_entropy(jnp.full((1, 1), -50.0), jnp.ones((1, 1)))) == 50.0


def test_clips_of_weight_zero_are_not_there() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(6, K)), np.round(rng.random((6, K)))
    weights = jnp.array([1.0, 1, 1, 1, 0, 0])
    weighted = binary_cross_entropy(jnp.asarray(logits), jnp.asarray(labels), weights)
    alone = binary_cross_entropy(jnp.asarray(logits[:4]), jnp.asarray(labels[:4]))
    assert float(weighted) == pytest.approx(float(alone), rel=1e-6)


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


# ---- the compiled run ----


def _run(counts: list[int], clips: mla.ClipSet) -> tuple[Any, np.ndarray]:
    model, state = _state(clips)
    data = DeviceClips.put(clips)
    sampler = make_sampler(clips, "balanced", seed=3, batch_size=12)
    key = jax.random.key(1)
    losses = []
    for count in counts:
        state, history = run_steps(model, CONFIG.optim, state, data, sampler, key, np.int32(count))
        losses.append(np.asarray(history.loss)[:count])
    return state, np.concatenate(losses)


def test_however_a_run_is_cut_its_bits_are_the_same() -> None:
    clips = _clips()
    whole = _run([10], clips)
    for counts in ([5, 5], [1] * 10, [3, 7]):
        _same(whole, _run(counts, clips))


def test_the_host_is_not_in_the_loop() -> None:
    clips = _clips()
    model, state = _state(clips)
    data = DeviceClips.put(clips)
    sampler = make_sampler(clips, "uniform", seed=3, batch_size=12)
    key, count = jax.random.key(1), jnp.int32(4)
    # Compiles; the next call must move nothing.
    state, _ = run_steps(model, CONFIG.optim, state, data, sampler, key, count)
    with jax.transfer_guard("disallow"):
        state, history = run_steps(model, CONFIG.optim, state, data, sampler, key, count)
    assert int(state.step) == 8
    assert np.isfinite(history.loss[:4]).all()
    assert np.isnan(history.loss[4:]).all()


@pytest.mark.parametrize("dropout_rate", [0.4, 0.0])
def test_every_step_has_its_own_dropout(dropout_rate: float) -> None:
    clips = _clips()
    config = dataclasses.replace(CONFIG, model=ModelConfig(dropout_rate=dropout_rate))
    model, state = _state(clips, config)
    batch = DeviceClips.put(clips).batch(jnp.arange(12))
    step = jax.jit(lambda state: train_step(model, keras_adam(CONFIG.optim), state, batch, KEY))
    first, second = (step(state.replace(step=jnp.int32(n)))[1].loss for n in (0, 1))
    assert (float(first) == float(second)) == (dropout_rate == 0)


@pytest.mark.parametrize("use_mask", [True, False])
def test_a_batch_is_its_clips(use_mask: bool) -> None:
    clips = _clips()
    rows = np.array([5, 0, 5, 59])
    batch = jax.jit(DeviceClips.put(clips, use_mask=use_mask).batch)(jnp.asarray(rows))
    np.testing.assert_array_equal(
        batch.embeddings, (clips.embeddings[rows].astype(np.float32) - 128) / 128
    )
    np.testing.assert_array_equal(batch.labels, clips.multi_hot()[rows])
    np.testing.assert_array_equal(
        batch.mask, clips.mask()[rows] if use_mask else np.ones((4, T), bool)
    )


def test_float_embeddings_and_their_scaling_reach_the_model() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(5, 2, (6, T, M)).astype(np.float16)
    clips = mla.ClipSet.from_arrays(
        embeddings, rng.random((6, K)) < 0.5, scaling=mla.Scaling(5.0, 2.0)
    )
    batch = DeviceClips.put(clips).batch(jnp.arange(6))
    assert batch.embeddings.dtype == jnp.float32
    np.testing.assert_allclose(batch.embeddings, (embeddings.astype(np.float32) - 5) / 2, rtol=1e-6)


# ---- fit ----


def test_fit_learns() -> None:
    clips = _clips()
    config = dataclasses.replace(
        CONFIG,
        model=ModelConfig(hidden_units=32, dropout_rate=0.1),
        train=dataclasses.replace(CONFIG.train, steps=300),
    )
    model, state = _state(clips, config)
    before = mla.evaluate(mla.predict(model, state.variables, clips), clips.multi_hot()).mAP
    records: list[dict] = []
    state = mla.fit(model, state, clips, config, on_record=lambda _, r: records.append(r))
    after = mla.evaluate(mla.predict(model, state.variables, clips), clips.multi_hot()).mAP
    assert before < 0.7
    assert after > 0.99
    assert records[-1]["loss"] < 0.6 * records[0]["loss"]


def test_records_come_at_their_steps() -> None:
    clips = _clips()
    config = dataclasses.replace(
        CONFIG,
        train=TrainConfig(steps=23, log_every=5, eval_every=10, checkpoint_every=7, seed=3),
    )
    model, state = _state(clips, config)
    records: list[dict] = []
    evaluated: list[int] = []

    def evaluate(state: Any) -> dict[str, Any]:
        evaluated.append(int(state.step))
        return {"score": 1.0}

    mla.fit(
        model,
        state,
        clips,
        config,
        evaluate=evaluate,
        on_record=lambda state, record: records.append({**record, "at": int(state.step)}),
    )
    assert [r["step"] for r in records] == [5, 7, 10, 14, 15, 20, 21, 23]
    assert all(r["at"] == r["step"] for r in records)
    assert evaluated == [10, 20, 23]
    assert [r["step"] for r in records if "score" in r] == evaluated
    # The mean of the records, weighed by their steps, is the mean of the run.
    every = dataclasses.replace(config, train=dataclasses.replace(config.train, log_every=1))
    losses: list[float] = []
    mla.fit(*_state(clips), clips, every, on_record=lambda _, r: losses.append(r["loss"]))
    assert len(losses) == 23
    weights = np.diff([0, *(r["step"] for r in records)])
    assert np.average([r["loss"] for r in records], weights=weights) == pytest.approx(
        np.mean(losses), rel=1e-6
    )


def test_next_stop_without_evaluations() -> None:
    train = TrainConfig(steps=100, log_every=30, eval_every=10, checkpoint_every=50)
    config = dataclasses.replace(CONFIG, train=train)
    assert next_stop(0, config, evaluates=False) == 30
    assert next_stop(0, config, evaluates=True) == 10
    assert next_stop(90, config, evaluates=False) == 100


def test_another_seed_is_another_run() -> None:
    clips = _clips()
    other = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, seed=4))
    ends = []
    for config in (CONFIG, CONFIG, other):
        model, state = _state(clips, config)
        ends.append(jax.tree.leaves(mla.fit(model, state, clips, config).params))
    _same(ends[0], ends[1])
    assert not any(
        np.array_equal(a, b) for a, b in zip(ends[0], ends[2], strict=True) if a.ndim > 1
    )


def test_a_loss_that_is_not_finite_stops_with_its_step_named() -> None:
    clips = _clips()
    model, state = _state(clips)
    broken = jax.tree.map(lambda x: x.at[...].set(jnp.inf), state.params["output"])
    state = state.replace(step=jnp.int32(7), params={**state.params, "output": broken})
    with pytest.raises(mla.UserError, match=r"step 8 is not finite .*learning_rate"):
        mla.fit(model, state, clips, CONFIG)


def test_ten_steps_from_a_checkpoint_are_the_same_bits(tmp_path: Path) -> None:
    clips = _clips()
    model, state = _state(clips)
    whole = mla.fit(model, state, clips, CONFIG)
    half = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, steps=10))
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(mla.fit(*_state(clips), clips, half), {})
    with Checkpoints(tmp_path / "c") as checkpoints:
        restored = checkpoints.restore(10, jax.eval_shape(lambda: _state(clips)[1]))
    assert int(restored.step) == 10
    _same(whole, mla.fit(model, restored, clips, CONFIG))


# ---- checkpoints ----


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    _, state = _state(_clips())
    scores = {1: 0.2, 2: 0.9, 3: 0.3, 4: 0.4, 5: 0.6, 6: 0.5, 7: 0.1}
    for steps in ((1, 2, 3, 4), (5, 6, 7)):  # interrupted between
        with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
            for step in steps:
                checkpoints.save(
                    state.replace(step=jnp.int32(step)), {"n": step}, validation_mAP=scores[step]
                )
    with Checkpoints(tmp_path / "c", read_only=True) as checkpoints:
        assert checkpoints.steps() == [2, 6, 7]
        assert checkpoints.best_step() == 2
        assert checkpoints.read_meta(6)["n"] == 6
        with pytest.raises(mla.UserError, match=r"no checkpoint of step 5; it has \[2, 6, 7\]"):
            checkpoints.restore(5, state)


def test_without_validation_the_newest_are_kept(tmp_path: Path) -> None:
    _, state = _state(_clips())
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
        for step in range(1, 5):
            checkpoints.save(state.replace(step=jnp.int32(step)), {})
    with Checkpoints(tmp_path / "c", read_only=True) as checkpoints:
        assert checkpoints.steps() == [3, 4]
        assert checkpoints.best_step() is None


def test_a_saved_state_may_be_donated_at_once(tmp_path: Path) -> None:
    clips = _clips()
    model, state = _state(clips)
    kept = jax.tree.map(np.array, state)
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(state, {})
        mla.fit(model, state, clips, CONFIG)  # donates it while the save goes on
    with Checkpoints(tmp_path / "c") as checkpoints:
        _same(kept, checkpoints.restore(0, jax.eval_shape(lambda: kept)))


def test_another_models_checkpoint_is_refused(tmp_path: Path) -> None:
    clips = _clips()
    _, state = _state(clips)
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(state, {})
    wider = dataclasses.replace(CONFIG, model=ModelConfig(hidden_units=17))
    _, other = _state(clips, wider)
    with (
        Checkpoints(tmp_path / "c") as checkpoints,
        pytest.raises(mla.UserError, match=r"0 is of another model: its .* is float32"),
    ):
        checkpoints.restore(0, other)
