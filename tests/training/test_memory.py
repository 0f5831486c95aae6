"""The estimate of a device's memory, against what XLA says of the compiled training loop."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.models.multi_level import init_variables
from mla_jax.parallel.mesh import make_mesh
from mla_jax.training.batches import DeviceClips
from mla_jax.training.memory import estimate_memory
from mla_jax.training.sampler import BalancedSampler
from mla_jax.training.state import init_state
from mla_jax.training.step import Recipe, run_steps
from tests.support.helpers import random_clips

CLASSES, FEATURES, TIME = 527, 128, 10


def _array(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


@pytest.mark.parametrize(
    "preset",
    [
        "yu2018_equations:2-A-1-A",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "best",
                "yu2018:1-A-1-A-1-A",
                "yu2018_equations:9-A",
                "kong2019_torch",
                "kong2017",
                "average_pooling",
                "feature_attention",
            )
        ),
    ],
)
def test_the_estimate_is_what_xla_asks_for(preset: str) -> None:
    config = mla.preset(preset)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, batch_size=200))
    clips = random_clips(num_clips=1000, time=TIME, features=FEATURES, num_classes=CLASSES)
    model = mla.build_model(config.model, CLASSES)
    state = jax.eval_shape(
        lambda: init_state(
            init_variables(model, 0, FEATURES, class_prior=np.full(CLASSES, 0.01)),
            config.optim,
            config.train.steps,
        )
    )
    data = jax.eval_shape(lambda: DeviceClips.put(clips))
    keys = jax.eval_shape(lambda: (jax.random.key(0, impl="threefry2x32"), jax.random.key(1)))
    sampler = BalancedSampler(
        clip_ids=_array(np.int32, len(clips.label_ids)),
        first=_array(np.uint32, CLASSES),
        count=_array(np.uint32, CLASSES),
        key=keys[0],
        batch_size=200,
    )
    compiled = run_steps.lower(
        model, Recipe.of(config), state, data, sampler, keys[1], _array(np.int32)
    ).compile()
    asked = compiled.memory_analysis()
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    found = estimate_memory(config, clips, num_parameters, None)
    # XLA finds more to use again in some sizes than in others; better too much than too little.
    assert 0.85 < found.step / asked.temp_size_in_bytes < 1.4
    # Its arguments are the state, once, and the clips; the rest is small.
    arguments = found.data + found.state / 2
    assert arguments == pytest.approx(asked.argument_size_in_bytes, rel=0.05)


def test_devices_share_clips_and_batch_but_not_the_state() -> None:
    config = mla.Config()
    clips = random_clips(num_clips=1000)
    alone, shared = (estimate_memory(config, clips, 10**6, make_mesh(n)) for n in (1, 2))
    assert shared.state == alone.state == 2 * 3 * 4 * 10**6
    averaging = dataclasses.replace(config, optim=mla.OptimConfig(average_decay=0.9))
    assert estimate_memory(averaging, clips, 10**6, None).state == 2 * 4 * 4 * 10**6
    assert shared.data == alone.data / 2
    assert shared.step - 4 * 10**6 == (alone.step - 4 * 10**6) / 2


def test_clips_of_the_host_take_little() -> None:
    clips = random_clips(num_clips=1000)
    # As if there were many: the same clip again and again, which takes no memory here.
    embeddings = np.broadcast_to(clips.embeddings[:1], (10**7, *clips.embeddings.shape[1:]))
    many = dataclasses.replace(
        clips,
        embeddings=embeddings,
        num_segments=np.broadcast_to(clips.num_segments[:1], 10**7),
        label_offsets=np.arange(10**7 + 1),
        label_ids=np.zeros(10**7, np.int32),
        video_ids=np.broadcast_to(clips.video_ids[:1], 10**7),
        start_times=np.broadcast_to(clips.start_times[:1], 10**7),
    )
    config = mla.Config(data=mla.DataConfig(placement="host"))
    assert estimate_memory(config, many, 1, None).data == 3 * 64e6


def test_what_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mla_jax.training.memory.device_memory", lambda: 1e8)
    clips = random_clips(num_clips=10, time=10)
    said = str(estimate_memory(mla.Config(), clips, 10**6, None))
    assert said.startswith("memory of each device, estimated: 0.")
    assert "of 0.10 GB (data 0.00 GB, state 0.02 GB, step 0." in said
    assert said.endswith("it may not fit: lower data.batch_size")
