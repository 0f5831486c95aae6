"""A small run on small data, and what it leaves: for the tests that interrupt and damage it."""

import sys
from pathlib import Path
from typing import Any

import mla_jax as mla
from mla_jax import files, paths
from mla_jax.training.checkpoints import Checkpoints
from mla_jax.training.metrics_log import read_metrics

ROOT = Path(__file__).parent.parent
STEPS = 40


def run_config(run_data: Path, **train: int) -> mla.Config:
    schedule = {"steps": STEPS, "log_every": 5, "eval_every": 10, "checkpoint_every": 10}
    return mla.Config.from_dict(
        {
            # Without the norms that only cost compilation here.
            "model": {
                "hidden_units": 8,
                "architecture": "1-A-1-A",
                "head_norm": False,
                "output_norm": False,
            },
            "data": {
                "train": str(run_data / "train"),
                "eval": str(run_data / "eval"),
                "batch_size": 8,
            },
            "train": schedule | train,
        }
    )


def left_by(workdir: Path) -> dict[str, Any]:
    """What a finished run leaves, times apart."""
    metrics = read_metrics(workdir / "metrics.jsonl")
    results = files.read_json(workdir / "results.json")
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        newest = checkpoints.read_meta(checkpoints.steps()[-1])
        steps = checkpoints.steps()
    return {
        "state": newest["sha256"],
        "steps": steps,
        "metrics": [{k: v for k, v in r.items() if k != "seconds"} for r in metrics],
        "results": {k: v for k, v in results.items() if k != "seconds"},
    }


def train_command(
    run_data: Path | str, workdir: Path | str, steps: int = STEPS, *more: str
) -> list[str]:
    config = run_config(paths.as_path(run_data), steps=steps).to_dict()
    flags = [
        f"--config.{section}.{name}={value}"
        for section in ("model", "data", "train")
        for name, value in config[section].items()
        if value != mla.Config().to_dict()[section][name]
    ]
    return [sys.executable, "-m", "experiments.train", f"--workdir={workdir}", *flags, *more]
