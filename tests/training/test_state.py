"""The state of training, and the average of its weights."""

import dataclasses
from typing import Any

import jax
import numpy as np

import mla_jax as mla
from mla_jax.training.state import AveragedState, TrainState
from tests.support.helpers import random_clips
from tests.support.small_runs import SMALL

STEPS, DECAY = 14, 0.5


def test_the_model_is_the_average_of_the_weights_and_steps_do_not_see_it() -> None:
    clips = random_clips()
    plain = mla.Config(
        model=mla.ModelConfig(**SMALL | {"block_norm": True}),
        data=mla.DataConfig(batch_size=8),
        train=mla.TrainConfig(steps=STEPS, log_every=1, checkpoint_every=STEPS),
    )
    averaging = dataclasses.replace(plain, optim=mla.OptimConfig(average_decay=DECAY))
    model = mla.build_model(plain.model, clips.num_classes)
    weights: list[Any] = []
    models: list[Any] = []

    def keep(state: TrainState, _: Any) -> None:
        weights.append(
            jax.tree.map(np.array, {"params": state.params, "batch_stats": state.batch_stats})
        )
        models.append(jax.tree.map(np.array, state.variables))

    state = mla.fresh_state(model, clips, averaging)
    expected = jax.tree.map(np.array, state.variables)
    end = mla.fit(model, state, clips, averaging, on_log=keep)
    assert isinstance(end, AveragedState)
    for t in range(1, STEPS + 1):
        d = min(DECAY, t / (9 + t))
        expected = jax.tree.map(
            lambda average, new, d=d: d * average + (1 - d) * new, expected, weights[t - 1]
        )
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), models[t - 1], expected
        )
    alone = mla.fit(model, mla.fresh_state(model, clips, plain), clips, plain)
    assert type(alone) is TrainState
    jax.tree.map(np.testing.assert_array_equal, alone.variables, weights[-1])
    assert (
        np.asarray(end.variables["params"]["block_0"]["dense"]["kernel"])
        != np.asarray(end.params["block_0"]["dense"]["kernel"])
    ).all()
