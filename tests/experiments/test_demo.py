"""The demo: what it says of its figures, and that it goes on where it was stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mla_jax.commands.demo import what_it_says
from tests.support import programs
from tests.support.small_runs import wait_until


def test_it_says_which_is_ahead_and_which_step_is_an_early_one() -> None:
    found = {"step": 600, "steps_trained": 600, "mAP": 0.5}
    early = {"step": 100, "steps_trained": 600, "mAP": 0.6}
    ahead, step = what_it_says({"one": found, "two": early})
    assert ahead.startswith(
        "What is heard: two is ahead, with an mAP of 0.600 against 0.500 of one."
    )
    assert step.startswith("two is taken at step 100 of 600")


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    flags = ("demo", f"--workdir={tmp_path}", "--num_clips=400", "--steps=60")
    command = [sys.executable, "-m", "mla_jax", *flags]
    env = programs.one_device() | {"PYTHONPATH": str(programs.ROOT)}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        log = tmp_path / "2-A-1-A/metrics.jsonl"
        wait_until(lambda: log.is_file() and log.read_text() != "", process)
        os.kill(process.pid, signal.SIGINT)
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 75, said
    assert "saved; start it again to go on" in said
    steps = len(log.read_text().splitlines())
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stderr
    assert steps < len(log.read_text().splitlines())
    models = json.loads((tmp_path / "results.json").read_text())["models"]
    assert [model["steps_trained"] for model in models.values()] == [60, 60]
    assert "What is heard:" in done.stderr
    assert (tmp_path / "report.html").is_file()
