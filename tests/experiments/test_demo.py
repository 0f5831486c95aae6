"""The demo: what it says of its figures, and that it goes on where it was stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mla_jax.commands.demo_results import what_it_says, when_it_says, when_table
from mla_jax.localization.events import Reference
from mla_jax.localization.figures import judge
from mla_jax.localization.segment_metrics import evaluate_segments
from mla_jax.report.when import When
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


def telling(in_context: float, alone: float) -> When:
    """Scores that are the truth and so much of it drowned in noise, of four classes in forty clips."""
    rng = np.random.default_rng(0)
    active = rng.random((40, 6, 4)) < 0.3
    reference = Reference(active, np.ones((40, 6), bool), np.ones(4, bool))
    noise = rng.normal(size=active.shape)
    scores = {
        "in_context": active + in_context * noise,
        "alone": active + alone * noise,
        "clip": np.broadcast_to(active.mean(axis=1, keepdims=True), active.shape),
    }
    judged = {name: judge(of_name, reference) for name, of_name in scores.items()}
    return When(judged, evaluate_segments(scores["in_context"], active))


def test_it_says_who_is_ahead_by_which_score_of_seconds() -> None:
    when = {"one": telling(0.9, 0.5), "two": telling(0.7, 0.6)}
    ahead, alone = when_it_says(when)
    assert "by the score in_context two is ahead" in ahead
    assert "by the score alone one is ahead" in ahead
    assert alone.startswith("The second alone is the better score here")
    assert len(when_it_says({"one": telling(0.5, 0.9), "two": telling(0.7, 0.6)})) == 1
    assert when_it_says({}) == []
    rows = [line.split("|")[1:3] for line in when_table(when).splitlines()[2:]]
    assert [tuple(cell.strip() for cell in row) for row in rows] == [
        (name, score) for name in when for score in ("in_context", "alone", "clip")
    ]


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    flags = ("demo", f"--workdir={tmp_path}", "--num_clips=400", "--steps=200")
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
    assert [model["steps_trained"] for model in models.values()] == [200, 200]
    assert "What is heard:" in done.stderr
    assert (tmp_path / "report.html").is_file()
