"""A run that is stopped, killed or out of space goes on to the same bits."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.parallel.signals import EXIT_TO_BE_CONTINUED, InterruptedRunError
from mla_jax.runs.checkpoints import Checkpoints
from mla_jax.runs.folder import RunFolder
from mla_jax.training.state import AveragedState
from tests.support.helpers import raises_user_error
from tests.support.small_runs import (
    RECIPE,
    ROOT,
    left_by,
    run_config,
    train_command,
    train_quietly,
    wait_until,
)


class StopAt:
    """Asks to stop at a step; asked before every step where a compiled call makes a single one."""

    def __init__(self, begin: int, stop: int) -> None:
        self.step, self.stop = begin, stop

    def __call__(self) -> bool:
        self.step += 1
        return self.step > self.stop


def newest_step(workdir: Path) -> int | None:
    with Checkpoints(RunFolder(workdir).checkpoints, read_only=True) as checkpoints:
        return checkpoints.latest_step()


def stop_and_go_on(
    config: mla.Config, workdir: Path, stops: list[int], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What a run leaves that was stopped at these steps."""
    monkeypatch.setattr("mla_jax.training.loop.SECONDS_PER_CALL", 0.0)  # one step a call
    for begin, stop in zip([0, *stops], stops, strict=False):
        with pytest.raises(InterruptedRunError, match=f"stopped at step {stop}"):
            train_quietly(config, workdir, should_stop=StopAt(begin, stop))
        assert newest_step(workdir) == stop
    train_quietly(config, workdir)
    return left_by(workdir)


def test_a_stopped_run_goes_on_to_the_same_bits(
    run_data: Path,
    whole_run: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stops = [1, 17, 18, 30]  # at the first, in between, at once again, and at a regular checkpoint
    left = stop_and_go_on(run_config(run_data), tmp_path / "run", stops, monkeypatch)
    # A checkpoint between the regular ones is kept only while it is the newest.
    assert left == whole_run


@pytest.mark.slow
def test_a_run_with_all_that_may_be_added_goes_on_to_the_same_bits(
    run_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, whole = run_config(run_data, RECIPE, steps=20), tmp_path / "whole"
    results = train_quietly(config, whole)
    left = stop_and_go_on(config, tmp_path / "run", [2, 13], monkeypatch)
    assert left == left_by(whole)
    with raises_user_error("begun with train.steps=20, over which its learning rate falls"):
        train_quietly(run_config(run_data, RECIPE, steps=30), whole)
    # The model of the run is its average, wherever it is opened.
    model = mla.TrainedModel.open(whole)
    eval_clips = mla.open_packed(run_data / "eval")
    scores = mla.evaluate(model.predict(eval_clips), eval_clips.multi_hot())
    assert scores.mAP == pytest.approx(results["mAP"], abs=1e-6)
    with Checkpoints(RunFolder(whole).checkpoints, read_only=True) as checkpoints:
        fresh = mla.fresh_state(model.model, mla.open_packed(run_data / "train"), config)
        state = checkpoints.restore(20, fresh)
    assert isinstance(state, AveragedState)
    jax.tree.map(np.testing.assert_array_equal, state.average, model.variables)
    kernels = [p["output"]["kernel"] for p in (state.params, model.variables["params"])]
    assert (np.asarray(kernels[0]) != np.asarray(kernels[1])).all()


# ---- real processes ----


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def test_one_process_writes_and_the_killed_hold_nothing(
    run_data: Path, whole_run: dict[str, Any], tmp_path: Path
) -> None:
    """Killed on its way, with a checkpoint or two, and gone on with here, to the bits of one left alone."""
    run = RunFolder(tmp_path / "run")
    process = start(train_command(run_data, run.path))
    wait_until(run.has_checkpoints, process)
    process.send_signal(signal.SIGSTOP)
    with raises_user_error(f"run is in use by process {process.pid}"):
        train_quietly(run_config(run_data), run.path)
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.communicate()
    train_quietly(run_config(run_data), run.path)
    assert left_by(run.path) == whole_run


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_with_the_same_bits(
    run_data: Path, whole_run: dict[str, Any], tmp_path: Path
) -> None:
    """At random moments, of which most fall into steps, saves and evaluations."""
    run, moments = RunFolder(tmp_path / "run"), random.Random(2)
    command, seconds = train_command(run_data, run.path), 0.0
    for number in range(-1, 20):
        began, process = time.monotonic(), start(command)
        if number < 0:  # the first is left alone, to see how long it takes
            assert process.wait(timeout=300) == 0
            assert left_by(run.path) == whole_run
            seconds = time.monotonic() - began
        else:
            time.sleep(moments.uniform(0.35, 1.0) * seconds)
            process.kill()
        process.communicate()
        if number % 4 == 3 and run.results() is not None:
            shutil.rmtree(run.path)  # it got to the end: begin another
    train_quietly(run_config(run_data), run.path)
    assert left_by(run.path) == whole_run


def test_a_signal_saves_and_says_try_again(run_data: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    process = start(train_command(run_data, run.path, 10**6))
    wait_until(lambda: bool(run.metrics()), process)
    process.terminate()
    began = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == EXIT_TO_BE_CONTINUED == 75, said
    assert time.monotonic() - began < 20
    last = said.strip().splitlines()[-1]
    assert last == (
        f"stopped at step {newest_step(run.path)}, which is saved; start it again to go on from there"
    )
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(number: signal.Signals) -> None:
    code = (
        "import os, time\n"
        "from mla_jax.parallel.signals import StopOnSignal\n"
        "with StopOnSignal() as stop:\n"
        f"    os.kill(os.getpid(), {number})\n"
        "    assert stop()\n"
        f"    os.kill(os.getpid(), {number})\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30, check=False)
    assert done.returncode == -number


@pytest.mark.parametrize("signals", [1, 2])
def test_signals_are_noticed_at_once_while_c_code_runs(signals: int) -> None:
    """As while XLA compiles, when Python runs no handler."""
    code = (
        "import hashlib, os, signal, threading, time\n"
        "from mla_jax.parallel.signals import StopOnSignal\n"
        "told = []\n"
        "with StopOnSignal(lambda: told.append(time.monotonic())) as stop:\n"
        f"    for i in range({signals}):\n"
        "        threading.Timer(0.1 + 0.1 * i, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 1_500_000)\n"
        "    ended = time.monotonic()\n"
        "assert stop() and len(told) == 1 and told[0] < ended\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30, check=False)
    assert done.returncode == (0 if signals == 1 else 130)


def test_a_full_disk_stops_it_with_the_last_good_checkpoint_intact(
    run_data: Path, whole_run: dict[str, Any], tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    train_quietly(run_config(run_data, steps=20), workdir)
    # As on a full disk, whatever makes a file larger than 3 KiB fails.
    limited = ["sh", "-c", 'ulimit -f 3; exec "$@"', "sh", *train_command(run_data, workdir)]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert newest_step(workdir) == 20
    train_quietly(run_config(run_data), workdir)
    assert left_by(workdir) == whole_run
