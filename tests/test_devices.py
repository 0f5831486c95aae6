"""Many devices make the run of one: XLA's host devices stand for them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent

PROGRAM = """
import dataclasses, json, sys
import jax, numpy as np
import mla_jax as mla
from mla_jax.config import DataConfig, ModelConfig, TrainConfig
from mla_jax.data.sampler import make_sampler
from mla_jax.training.batches import DeviceClips
from mla_jax.training.mesh import make_mesh, on_all
from tests.helpers import random_clips

clips = random_clips(num_clips=101, time=6, features=12)
found = {}
for case in sys.argv[2:]:
    placement, examples, devices = case.split()
    devices = int(devices)
    config = mla.Config(
        model=ModelConfig(hidden_units=16, architecture=sys.argv[1]),
        data=DataConfig(batch_size=20, placement=placement, examples=examples),
        train=TrainConfig(steps=50, log_every=1, eval_every=25, seed=3, devices=devices),
    )
    model = mla.build_model(config.model, clips.num_classes)
    losses, norms, probs = [], [], []

    def on_record(state, record):
        losses.append(record["loss"])
        norms.append(record["grad_norm"])

    def evaluate(state):
        probs.append(mla.predict(model, state.variables, clips, batch_size=25))
        return {}

    mla.fit(
        model, mla.fresh_state(model, clips, config), clips, config, evaluate=evaluate, on_record=on_record
    )
    mesh = make_mesh(devices)
    data = DeviceClips.put(clips, examples=examples, mesh=mesh)
    sampler = on_all(make_sampler(clips, "balanced", seed=3, batch_size=20), mesh)
    batch = jax.jit(lambda data, sampler: data.batch(sampler(7)))(data, sampler)
    count = 20 * (6 if examples == "segments" else 1)
    found[case] = {
        "losses": losses,
        "norms": norms,
        "probs": [float(p.sum()) for p in probs],
        "batch": [float(np.asarray(x)[:count].astype(np.float64).sum()) for x in batch],
        "filled": int(np.asarray(batch.mask)[count:].sum()),
        "size": len(batch.mask),
        "devices": len(batch.mask.sharding.device_set),
    }
json.dump(found, sys.stdout)
"""


def run_program(architecture: str, *cases: str) -> dict[str, dict[str, Any]]:
    """Runs of "placement examples devices", all in one process that has eight devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, architecture, *cases],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_alike(many: dict[str, Any], one: dict[str, Any]) -> None:
    """The fillers of a batch that the devices do not divide touch no statistic, loss or gradient."""
    assert len(one["losses"]) == 50
    assert one["devices"] == 1
    np.testing.assert_array_equal(many["batch"], one["batch"])
    np.testing.assert_allclose(many["losses"][:5], one["losses"][:5], rtol=2e-6)
    np.testing.assert_allclose(many["losses"], one["losses"], rtol=1e-4)
    np.testing.assert_allclose(many["norms"], one["norms"], rtol=1e-2)
    np.testing.assert_allclose(many["probs"], one["probs"], rtol=1e-3)
    assert many["filled"] == 0


def test_two_and_eight_devices_make_the_losses_of_one() -> None:
    """20 clips on 8 devices are filled up to 24; fed from either place, they are compared with one run."""
    one, *many = ("device clips 1", "device clips 2", "device clips 8", "host clips 8")
    found = run_program("1-A", one, *many)
    for case in many:
        devices = int(case.split()[2])
        assert found[case]["devices"] == devices
        assert found[case]["size"] == {2: 20, 8: 24}[devices]
        assert_alike(found[case], found[one])


@pytest.mark.slow
@pytest.mark.parametrize("examples", ["clips", "segments"])
@pytest.mark.parametrize("placement", ["device", "host"])
def test_two_four_and_eight_devices_make_the_losses_of_one(placement: str, examples: str) -> None:
    one, *many = (f"{placement} {examples} {devices}" for devices in (1, 2, 4, 8))
    found = run_program("1-A-1-A", one, *many)
    for case in many:
        assert found[case]["devices"] == int(case.split()[2])
        assert_alike(found[case], found[one])
