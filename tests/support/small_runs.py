"""A small run on small data, and what it leaves: for the tests that interrupt and damage it."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mla_jax as mla
from mla_jax.progress import silent
from mla_jax.runs.checkpoints import Checkpoints
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.train import train
from mla_jax.storage import paths
from tests.support.helpers import wait_for

ROOT = Path(__file__).parent.parent.parent
STEPS = 40
SMALL = {
    "hidden_units": 8,
    "architecture": "1-A",
    "input_norm": False,
    "block_norm": False,
    "head_norm": False,
    "output_norm": False,
}
"""A model without what only costs compilation."""
RECIPE = {
    "augment": {"mixup": 0.5, "swap_segments": 0.2, "drop_segments": 0.2},
    "optim": {
        "schedule": "cosine",
        "warmup_steps": 3,
        "weight_decay": 0.01,
        "average_decay": 0.8,
    },
}
"""Everything that may be added to plain steps."""


def run_config(run_data: Path, recipe: Mapping[str, Any] | None = None, **train: int) -> mla.Config:
    schedule = {"steps": STEPS, "log_every": 5, "eval_every": 10, "checkpoint_every": 10}
    return mla.Config.from_dict(
        {
            "model": {**SMALL, "architecture": "1-A-1-A", "input_norm": True, "block_norm": True},
            "data": {
                "train": str(run_data / "train"),
                "eval": str(run_data / "eval"),
                "batch_size": 8,
            },
            "train": schedule | train,
            **(recipe or {}),
        }
    )


def train_quietly(config: mla.Config, workdir: Path | str, **options: Any) -> dict[str, Any]:
    return train(config, workdir, **{"say": silent} | options)


def left_by(workdir: Path) -> dict[str, Any]:
    """What a finished run leaves, times apart."""
    run = RunFolder(workdir)
    with Checkpoints(run.checkpoints, read_only=True) as checkpoints:
        newest = checkpoints.read_meta(checkpoints.steps()[-1])
        steps = checkpoints.steps()
    return {
        "state": newest["sha256"],
        "steps": steps,
        "metrics": [without_seconds(entry) for entry in run.metrics()],
        "results": without_seconds(run.results() or {}),
    }


def without_seconds(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "seconds"}


def run_flags(run_data: Path | str, **train: Any) -> list[str]:
    """The settings of `run_config` as flags, of the preset that is `Config()`."""
    config = run_config(paths.as_path(run_data), **train).to_dict()
    changed = [
        f"--config.{section}.{name}={value}"
        for section, fields in config.items()
        for name, value in fields.items()
        if value != mla.Config().to_dict()[section][name]
    ]
    return ["--preset=yu2018", *changed]


def train_command(
    run_data: Path | str, workdir: Path | str, steps: int = STEPS, *more: str
) -> list[str]:
    flags = run_flags(run_data, steps=steps)
    return [sys.executable, "-m", "experiments.train", f"--workdir={workdir}", *flags, *more]


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Returns when a process has come that far; fails if it ends before."""
    wait_for(lambda: ready() or process.poll() is not None, seconds=120)
    assert process.poll() is None, process.communicate()
