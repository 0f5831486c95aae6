"""Feeds: clips from the host make the same run as clips on the device."""

import dataclasses
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.config import DataConfig, ModelConfig, TrainConfig
from mla_jax.training import feed as feeds
from mla_jax.training.batches import device_bytes
from mla_jax.training.feed import HostFeed, ResidentFeed, make_feed
from mla_jax.training.loop import Trainer
from mla_jax.training.sampler import make_sampler
from mla_jax.training.state import TrainState, stack_states
from tests.support.helpers import raises_user_error, random_clips
from tests.support.small_runs import SMALL

CONFIG = mla.Config(
    model=ModelConfig(**SMALL),
    data=DataConfig(batch_size=8),
    augment=mla.AugmentConfig(swap_segments=0.3),  # partners come from the same batch
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
        on_log=lambda _, entry: losses.append(entry["loss"]),
    )
    return state, losses


@pytest.mark.parametrize("sampler", ["balanced", pytest.param("uniform", marks=pytest.mark.slow)])
def test_the_host_sends_the_batches_that_the_device_draws(
    clips: mla.ClipSet, small_portions: None, sampler: str
) -> None:
    draws = make_sampler(clips, sampler, seed=3, batch_size=8)
    sources = [make_feed(clips, draws, DataConfig(placement=place)) for place in ("device", "host")]
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
    assert not [t for t in threading.enumerate() if t.name.startswith("feed")]
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
        feed = make_feed(clips, sampler, DataConfig(placement="auto"))
        kinds.append(type(feed))
        feed.close()
    assert kinds == [ResidentFeed, HostFeed]
    assert feeds.device_memory() > 0


def test_several_seeds_need_the_data_on_the_device(clips: mla.ClipSet) -> None:
    config = _placed("host")
    model = mla.build_model(config.model, clips.num_classes)
    states = stack_states([mla.fresh_state(model, clips, config)] * 2)
    with raises_user_error("data.placement=device", "--seeds_together=1"):
        Trainer(model, states, clips, config, seeds=[0, 1])


@pytest.mark.slow
def test_seeds_train_together_on_several_devices(clips: mla.ClipSet) -> None:
    losses = []
    for devices in (1, 2):
        config = dataclasses.replace(CONFIG, train=TrainConfig(steps=10, devices=devices))
        model = mla.build_model(config.model, clips.num_classes)
        states = stack_states([mla.fresh_state(model, clips, config)] * 2)
        with Trainer(model, states, clips, config, seeds=[0, 1]) as trainer:
            while trainer.step < 10:
                trainer.advance(stop=10)
            losses.append(np.array(trainer.history()["loss"]))
    assert losses[0].shape == (10, 2)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    assert losses[0][0, 0] != losses[0][0, 1]
