"""A run that is stopped or killed goes on to the same bits; one process at a time writes in a folder."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mla_jax import runs
from mla_jax.locks import one_writer
from mla_jax.training.checkpoints import Checkpoints
from mla_jax.training.interruption import EXIT_TO_BE_CONTINUED, InterruptedRunError
from mla_jax.training.metrics_log import read_metrics
from mla_jax.training.window import Window
from tests.helpers import raises_user_error
from tests.small_runs import ROOT, left_by, run_config, train_command

# ---- stopped on request ----


class StopAt:
    """Asks to stop at a step; asked before every step where a compiled call makes a single one."""

    def __init__(self, begin: int, stop: int) -> None:
        self.step, self.stop = begin, stop

    def __call__(self) -> bool:
        self.step += 1
        return self.step > self.stop


@pytest.mark.parametrize("stops", [[3, 17, 18, 30], [1, 11, 39]])
def test_a_stopped_run_goes_on_to_the_same_bits(
    run_data: Path,
    whole_run: dict[str, Any],
    tmp_path: Path,
    stops: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mla_jax.training.loop._SECONDS_PER_CALL", 0.0)  # one step a call
    workdir = tmp_path / "run"
    for begin, stop in zip([0, *stops], stops, strict=False):
        with pytest.raises(InterruptedRunError, match=f"stopped at step {stop}"):
            runs.train(
                run_config(run_data), workdir, say=lambda _: None, should_stop=StopAt(begin, stop)
            )
        with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
            assert checkpoints.latest_step() == stop
    runs.train(run_config(run_data), workdir, say=lambda _: None)
    # A checkpoint between the regular ones is kept only while it is the newest.
    assert left_by(workdir) == whole_run


def test_a_window_survives_json_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    window = Window()
    for n in (3, 1, 4):
        window.loss.append(rng.random(n).astype(np.float32))
        window.grad_norm.append(rng.random(n).astype(np.float32))
    again = Window.from_json(json.loads(json.dumps(window.to_json())))
    assert again.means() == window.means()
    assert Window.from_json(Window().to_json()) == Window()


# ---- killed, and signalled: real processes ----


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _finish(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


def _kill_and_compare(run_data: Path, tmp_path: Path, kills: int, seed: int) -> None:
    """Kills a run at random moments, goes on after each, and compares with one that was left alone."""
    began = time.monotonic()
    _finish(train_command(run_data, tmp_path / "alone"))
    seconds = time.monotonic() - began
    moments = random.Random(seed)
    for number in range(kills):
        # A start alone takes most of the time; kills must also fall into steps, saves and evaluations.
        process = _start(train_command(run_data, tmp_path / "run"))
        time.sleep(moments.uniform(0.35, 1.0) * seconds)
        process.kill()
        process.communicate()
        if number % 4 == 3 and (tmp_path / "run/results.json").exists():
            shutil.rmtree(tmp_path / "run")  # it got to the end: begin another
    _finish(train_command(run_data, tmp_path / "run"))
    assert left_by(tmp_path / "run") == left_by(tmp_path / "alone")


def test_a_run_killed_at_random_moments_ends_with_the_same_bits(
    run_data: Path, tmp_path: Path
) -> None:
    _kill_and_compare(run_data, tmp_path, kills=3, seed=1)


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_with_the_same_bits(run_data: Path, tmp_path: Path) -> None:
    _kill_and_compare(run_data, tmp_path, kills=20, seed=2)


def _wait_for(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if ready():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("it did not come that far in a minute")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_try_again(run_data: Path, tmp_path: Path, number: int) -> None:
    workdir = tmp_path / "run"
    process = _start(train_command(run_data, workdir, 10**6))
    _wait_for(lambda: bool(read_metrics(workdir / "metrics.jsonl")), process)
    process.send_signal(number)
    began = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == EXIT_TO_BE_CONTINUED == 75, said
    assert time.monotonic() - began < 20
    last = said.strip().splitlines()[-1]
    assert last.startswith("stopped at step ")
    assert last.endswith("start it again to go on from there")
    step = int(last.split()[3].rstrip(","))
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest_step() == step
    assert "Traceback" not in said


def test_a_second_signal_ends_it_at_once(run_data: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, time\n"
        "from mla_jax.training.interruption import StopOnSignal\n"
        "with StopOnSignal() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    assert stop()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=30)
    assert done.returncode == -signal.SIGINT


# ---- one writer ----


def test_a_folder_has_one_writer_and_the_dead_hold_nothing(run_data: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from mla_jax.locks import one_writer\n"
        f"with one_writer({str(tmp_path / 'run')!r}):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with raises_user_error(f"run is in use by process {process.pid}"):
        runs.train(run_config(run_data), tmp_path / "run")
    process.kill()
    process.communicate()
    with one_writer(tmp_path / "run"):
        pass
