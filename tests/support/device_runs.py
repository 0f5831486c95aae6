"""Small runs on one device or several, and what they compute.

python -m tests.support.device_runs "device clips 1" "host segments 8"      prints it of each case, as JSON
"""

import json
import sys
from typing import Any

import jax
import numpy as np

import mla_jax as mla
from mla_jax.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig
from mla_jax.parallel.mesh import make_mesh, on_all
from mla_jax.training.batches import DeviceClips
from mla_jax.training.sampler import make_sampler
from mla_jax.training.state import TrainState
from tests.support.helpers import random_clips
from tests.support.small_runs import RECIPE, SMALL

STEPS, BATCH = 30, 19


def run_case(placement: str, examples: str, devices: int, steps: str = "plain") -> dict[str, Any]:
    """What a run computes: losses and gradient norms by step, its predictions, and its eighth batch.

    `steps` are "plain", or "recipe": with all that may be added.
    """
    added: dict[str, Any] = RECIPE if steps == "recipe" else {"augment": {}, "optim": {}}
    clips = random_clips(num_clips=101, time=6, features=12)
    config = mla.Config(
        model=ModelConfig(**SMALL | {"hidden_units": 16, "block_norm": True}),
        data=DataConfig(batch_size=BATCH, placement=placement, examples=examples),
        augment=AugmentConfig(**added["augment"]),
        optim=OptimConfig(**added["optim"]),
        train=TrainConfig(steps=STEPS, log_every=1, eval_every=15, seed=3, devices=devices),
    )
    model = mla.build_model(config.model, clips.num_classes)
    entries, sums = [], []

    def evaluate(state: TrainState) -> dict[str, Any]:
        probs = mla.Predictor(model, state.variables, batch_size=25).predict(clips)
        sums.append(float(probs.sum()))
        return {}

    mla.fit(
        model,
        mla.fresh_state(model, clips, config),
        clips,
        config,
        evaluate=evaluate,
        on_log=lambda _, entry: entries.append(entry),
    )
    mesh = make_mesh(devices)
    data = DeviceClips.put(clips, examples=examples, mesh=mesh)
    sampler = on_all(make_sampler(clips, "balanced", seed=3, batch_size=BATCH), mesh)
    batch = jax.jit(lambda data, sampler: data.batch(sampler(7)))(data, sampler)
    count = BATCH * (6 if examples == "segments" else 1)
    return {
        "losses": [entry["loss"] for entry in entries],
        "norms": [entry["grad_norm"] for entry in entries],
        "probs": sums,
        "batch": [
            float(np.asarray(x)[:count].astype(np.float64).sum()) for x in batch if x is not None
        ],
        "filled": int(np.asarray(batch.mask)[count:].sum()),
        "size": len(batch.mask),
        "devices": len(batch.mask.sharding.device_set),
    }


if __name__ == "__main__":
    cases = [case.split() for case in sys.argv[1:]]
    found = [run_case(where, what, int(devices), *steps) for where, what, devices, *steps in cases]
    json.dump(found, sys.stdout)
