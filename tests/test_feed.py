"""Clips from the host, and evaluation beside the steps: the same run as with everything in one place."""

import dataclasses
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import mla_jax as mla
from mla_jax import runs
from mla_jax.config import DataConfig, ModelConfig, TrainConfig
from mla_jax.data.sampler import make_sampler
from mla_jax.training import feed as feeds
from mla_jax.training.batches import device_bytes
from mla_jax.training.feed import HostFeed, ResidentFeed, make_feed
from mla_jax.training.state import TrainState, stack_states
from tests.helpers import raises_user_error, random_clips
from tests.small_runs import left_by, run_config

CONFIG = mla.Config(
    model=ModelConfig(hidden_units=8, architecture="1-A-1-A"),
    data=DataConfig(batch_size=8),
    train=TrainConfig(steps=25, log_every=5, seed=3),
)


@pytest.fixture
def clips() -> mla.ClipSet:
    return random_clips(num_clips=50, time=6, features=12)


@pytest.fixture
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Portions of 3 steps: a clip has 72 bytes, a batch 8 of them."""
    monkeypatch.setattr(feeds, "PORTION_BYTES", 3 * 8 * 72 + 10)


def _placed(placement: str, **data: Any) -> mla.Config:
    return dataclasses.replace(
        CONFIG, data=dataclasses.replace(CONFIG.data, placement=placement, **data)
    )


def _fit(clips: mla.ClipSet, config: mla.Config) -> tuple[TrainState, list[float]]:
    model = mla.build_model(config.model, clips.num_classes)
    losses: list[float] = []
    state = mla.fit(
        model,
        mla.fresh_state(model, clips, config),
        clips,
        config,
        on_record=lambda _, record: losses.append(record["loss"]),
    )
    return state, losses


@pytest.mark.parametrize("sampler", ["balanced", "uniform"])
def test_the_host_sends_the_batches_that_the_device_draws(
    clips: mla.ClipSet, small_portions: None, sampler: str
) -> None:
    draws = make_sampler(clips, sampler, seed=3, batch_size=8)
    sources = [
        make_feed(clips, draws, placement=place, use_mask=True, examples="clips")
        for place in ("device", "host")
    ]
    for step in (0, 1, 2, 3, 7, 8, 30, 31):  # a resumed run begins anywhere
        batches = []
        for source in sources:
            portion = source.at(step)
            assert portion.end > step
            batches.append(portion.data.batch(portion.sampler(step)))
        for of_device, of_host in zip(*batches, strict=True):
            np.testing.assert_array_equal(of_device, of_host)
    assert sources[1].at(31).end == 33
    for source in sources:
        source.close()


@pytest.mark.parametrize("examples", ["clips", pytest.param("segments", marks=pytest.mark.slow)])
def test_a_run_fed_by_the_host_is_the_same(
    clips: mla.ClipSet, small_portions: None, tmp_path: Path, examples: str
) -> None:
    packed = mla.pack([clips], tmp_path / "packed")  # memory-mapped
    state, losses = _fit(clips, _placed("device", examples=examples))
    fed, fed_losses = _fit(packed, _placed("host", examples=examples))
    np.testing.assert_allclose(fed_losses, losses, rtol=1e-6)
    for ours, theirs in zip(jax.tree.leaves(fed), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_device_is_taken_where_the_set_fits(
    clips: mla.ClipSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = make_sampler(clips, "balanced", seed=0, batch_size=8)
    kinds = []
    for memory in (2.0, 1.0):
        monkeypatch.setattr(feeds, "device_memory", lambda m=memory: m * device_bytes(clips))
        feed = make_feed(clips, sampler, placement="auto", use_mask=True, examples="clips")
        kinds.append(type(feed))
        feed.close()
    assert kinds == [ResidentFeed, HostFeed]
    assert feeds.device_memory() > 0


def test_several_seeds_need_the_data_on_the_device(clips: mla.ClipSet) -> None:
    config = _placed("host")
    model = mla.build_model(config.model, clips.num_classes)
    states = stack_states([mla.fresh_state(model, clips, config)] * 2)
    with raises_user_error("data.placement=device", "--seeds_together=1"):
        mla.fit(model, states, clips, config, seeds=[0, 1])


def test_a_feed_leaves_no_thread(clips: mla.ClipSet, small_portions: None) -> None:
    _fit(clips, _placed("host"))
    assert not [t for t in threading.enumerate() if t.name.startswith("feed")]


# ---- evaluation beside the steps ----


def test_steps_go_on_while_an_evaluation_is_finished(clips: mla.ClipSet) -> None:
    """A record comes once its evaluation is there, in order, with the state of its own step."""
    config = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, eval_every=10))
    model = mla.build_model(config.model, clips.num_classes)
    seen: dict[str, list[Any]] = {"at once": [], "later": []}
    begun: list[int] = []

    with ThreadPoolExecutor(1) as worker:

        def evaluate(state: TrainState) -> dict[str, Any]:
            return {"sum": float(np.abs(state.params["block_0"]["dense"]["kernel"]).sum())}

        def later(state: TrainState) -> Future[dict[str, Any]]:
            begun.append(int(state.step))
            found = evaluate(state)

            def finish() -> dict[str, Any]:
                time.sleep(0.2)
                return found

            return worker.submit(finish)

        for name, how in (("at once", evaluate), ("later", later)):

            def on_record(state: TrainState, record: dict[str, Any], name: str = name) -> None:
                figures = {k: v for k, v in record.items() if k != "seconds"}
                seen[name].append((int(state.step), figures, evaluate(state)["sum"]))

            mla.fit(
                model,
                mla.fresh_state(model, clips, config),
                clips,
                config,
                evaluate=how,
                on_record=on_record,
            )
    assert begun == [10, 20, 25]
    assert [step for step, *_ in seen["later"]] == [5, 10, 15, 20, 25]
    assert seen["later"] == seen["at once"]
    assert all(record.get("sum", total) == total for _, record, total in seen["later"])


def test_a_run_evaluated_beside_its_steps_leaves_the_same(
    run_data: Path, whole_run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "an accelerator")
    runs.train(run_config(run_data), tmp_path / "run", say=lambda _: None)
    assert left_by(tmp_path / "run") == whole_run


@pytest.mark.slow
def test_seeds_train_together_on_several_devices(clips: mla.ClipSet) -> None:
    losses: dict[int, list[list[float]]] = {}
    for devices in (1, 2):
        config = dataclasses.replace(
            CONFIG, train=TrainConfig(steps=10, log_every=5, devices=devices)
        )
        model = mla.build_model(config.model, clips.num_classes)
        states = stack_states([mla.fresh_state(model, clips, config)] * 2)
        records: list[list[float]] = losses.setdefault(devices, [])
        mla.fit(
            model,
            states,
            clips,
            config,
            seeds=[0, 1],
            on_record=lambda _, record, to=records: to.append(record["loss"]),
        )
    np.testing.assert_allclose(losses[2], losses[1], rtol=1e-5)
    assert losses[1][0][0] != losses[1][0][1]
