"""A run that is stopped, killed, damaged or out of disk goes on to the same bits, or says one line."""

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mla_jax as mla
from mla_jax import files, runs
from mla_jax.locks import one_writer
from mla_jax.training.checkpoints import Checkpoints, checksum
from mla_jax.training.interruption import EXIT_TO_BE_CONTINUED, InterruptedRunError
from mla_jax.training.metrics_log import read_metrics
from mla_jax.training.state import TrainState, init_state, make_optimizer
from mla_jax.training.window import Window
from tests.helpers import raises_user_error, random_clips

ROOT = Path(__file__).parent.parent
STEPS = 40

# Orbax leaves coroutines behind when a restore fails, which are noticed in whatever test comes then.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for seed, split in enumerate(("train", "eval")):
        mla.pack([random_clips(num_clips=40, seed=seed)], folder / split)
    return folder


def _config(data: Path, **train: int) -> mla.Config:
    schedule = {"steps": STEPS, "log_every": 5, "eval_every": 10, "checkpoint_every": 10}
    return mla.Config.from_dict(
        {
            "model": {"hidden_units": 8, "architecture": "1-A-1-A"},
            "data": {"train": str(data / "train"), "eval": str(data / "eval"), "batch_size": 8},
            "train": schedule | train,
        }
    )


def _left(workdir: Path) -> dict[str, Any]:
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


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run leaves that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    runs.train(_config(data), workdir, say=lambda _: None)
    left = _left(workdir)
    assert [r["step"] for r in left["metrics"]] == list(range(5, STEPS + 1, 5))
    return left


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
    data: Path,
    whole: dict[str, Any],
    tmp_path: Path,
    stops: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mla_jax.training.loop._SECONDS_PER_CALL", 0.0)  # one step a call
    workdir = tmp_path / "run"
    for begin, stop in zip([0, *stops], stops, strict=False):
        with pytest.raises(InterruptedRunError, match=f"stopped at step {stop}"):
            runs.train(_config(data), workdir, say=lambda _: None, should_stop=StopAt(begin, stop))
        with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
            assert checkpoints.latest_step() == stop
    runs.train(_config(data), workdir, say=lambda _: None)
    # A checkpoint between the regular ones is kept only while it is the newest.
    assert _left(workdir) == whole


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


def _command(data: Path, workdir: Path, steps: int = STEPS, *more: str) -> list[str]:
    config = _config(data, steps=steps).to_dict()
    flags = [
        f"--config.{section}.{name}={value}"
        for section in ("model", "data", "train")
        for name, value in config[section].items()
        if value != mla.Config().to_dict()[section][name]
    ]
    return [sys.executable, "-m", "experiments.train", f"--workdir={workdir}", *flags, *more]


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _finish(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


def _kill_and_compare(data: Path, tmp_path: Path, kills: int, seed: int) -> None:
    """Kills a run at random moments, goes on after each, and compares with one that was left alone."""
    began = time.monotonic()
    _finish(_command(data, tmp_path / "alone"))
    seconds = time.monotonic() - began
    moments = random.Random(seed)
    for number in range(kills):
        # A start alone takes most of the time; kills must also fall into steps, saves and evaluations.
        process = _start(_command(data, tmp_path / "run"))
        time.sleep(moments.uniform(0.35, 1.0) * seconds)
        process.kill()
        process.communicate()
        if number % 4 == 3 and (tmp_path / "run/results.json").exists():
            shutil.rmtree(tmp_path / "run")  # it got to the end: begin another
    _finish(_command(data, tmp_path / "run"))
    assert _left(tmp_path / "run") == _left(tmp_path / "alone")


def test_a_run_killed_at_random_moments_ends_with_the_same_bits(data: Path, tmp_path: Path) -> None:
    _kill_and_compare(data, tmp_path, kills=3, seed=1)


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_with_the_same_bits(data: Path, tmp_path: Path) -> None:
    _kill_and_compare(data, tmp_path, kills=20, seed=2)


def _wait_for(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if ready():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError("it did not come that far in a minute")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_try_again(data: Path, tmp_path: Path, number: int) -> None:
    workdir = tmp_path / "run"
    process = _start(_command(data, workdir, 10**6))
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


def test_a_second_signal_ends_it_at_once(data: Path, tmp_path: Path) -> None:
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


def test_a_folder_has_one_writer_and_the_dead_hold_nothing(data: Path, tmp_path: Path) -> None:
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
        runs.train(_config(data), tmp_path / "run")
    process.kill()
    process.communicate()
    with one_writer(tmp_path / "run"):
        pass


# ---- damage ----


def _states(tmp_path: Path) -> tuple[Path, TrainState]:
    model = mla.build_model(mla.ModelConfig(architecture="1-A", hidden_units=4), 3)
    state = init_state(mla.init_variables(model, 0, 5), mla.OptimConfig())
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        for step in (1, 2):
            moved = jax.tree.map(lambda leaf, step=step: leaf + step, state)
            checkpoints.save(moved.replace(step=jnp.int32(step)), {"step": step})
    return tmp_path / "checkpoints", state


FAULTS: dict[str, Callable[[Path, int], None]] = {
    "flip": lambda path, size: _flip(path, size // 2),
    "cut": lambda path, size: os.truncate(path, size // 2),
    "empty": lambda path, size: os.truncate(path, 0),
    "remove": lambda path, _: path.unlink(),
}


def _flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[at] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, fault: str) -> None:
    """Every file of the newest one in turn: the one before is taken, or nothing that counts was hurt."""
    folder, like = _states(tmp_path / "good")
    with Checkpoints(folder, read_only=True) as checkpoints:
        sums = {step: checksum(checkpoints.restore(step, like)) for step in (1, 2)}
    names = [p.relative_to(folder) for p in sorted((folder / "2").rglob("*")) if p.is_file()]
    passed_over = 0
    for name in names:
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "bad/checkpoints")
        victim = tmp_path / "bad/checkpoints" / name
        FAULTS[fault](victim, victim.stat().st_size)
        said: list[str] = []
        with Checkpoints(tmp_path / "bad/checkpoints") as checkpoints:
            found = checkpoints.restore_newest(like, said.append)
            assert found is not None
            step = int(found[0].step)
            assert checksum(found[0]) == sums[step], name
            if step == 1:
                passed_over += 1
                assert len(said) == 1, name
                assert "checkpoints/2 is damaged" in said[0]
                assert "passed over" in said[0]
                # The step can be saved again.
                checkpoints.save(found[0].replace(step=jnp.int32(2)), {})
                assert (tmp_path / "bad/damaged/2-0").is_dir()
            else:
                assert not said, name
    assert passed_over >= 4  # the arrays, their description, the settings and their marks


def test_a_half_made_folder_is_passed_over(tmp_path: Path) -> None:
    folder, like = _states(tmp_path)
    (folder / "7").mkdir()
    said: list[str] = []
    with Checkpoints(folder) as checkpoints:
        found = checkpoints.restore_newest(like, said.append)
    assert found is not None
    assert int(found[0].step) == 2
    assert "checkpoints/7 is damaged" in said[0]


def test_without_a_whole_checkpoint_a_run_never_begins_anew(data: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    runs.train(_config(data, steps=20), workdir, say=lambda _: None)
    for meta in (workdir / "checkpoints").rglob("meta/metadata"):
        os.truncate(meta, 10)
    for _ in range(2):  # nor does the second attempt
        with raises_user_error("has no checkpoint that is whole", "give another workdir"):
            runs.train(_config(data), workdir, say=lambda _: None)


def test_a_run_goes_on_from_the_last_whole_checkpoint(
    data: Path, whole: dict[str, Any], tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    runs.train(_config(data, steps=30), workdir, say=lambda _: None)
    for path in (workdir / "checkpoints/30/state").rglob("*"):
        if path.is_file():
            _flip(path, path.stat().st_size // 2)
    said: list[str] = []
    runs.train(_config(data), workdir, say=said.append)
    assert any("checkpoints/30 is damaged" in line for line in said)
    assert "going on from step 20 of 40" in said
    assert _left(workdir) == whole


def test_a_full_disk_stops_it_with_the_last_good_checkpoint_intact(
    data: Path, whole: dict[str, Any], tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    runs.train(_config(data, steps=20), workdir, say=lambda _: None)
    # As on a full disk, whatever makes a file larger than 3 KiB fails.
    limited = ["sh", "-c", 'ulimit -f 3; exec "$@"', "sh", *_command(data, workdir)]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest_step() == 20
    runs.train(_config(data), workdir, say=lambda _: None)
    assert _left(workdir) == whole


# ---- numbers ----


def test_a_loss_that_is_not_finite_names_its_clips_and_saves_nothing(
    data: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    config = _config(data, steps=20)
    runs.train(config, workdir, say=lambda _: None)
    # Finite, and yet too much for float32 once squared.
    clips = random_clips(num_clips=40, dtype="float32")
    wild = np.array(clips.embeddings)
    wild[7] = 3e38
    mla.pack([dataclasses.replace(clips, embeddings=wild)], tmp_path / "wild")
    wild_config = dataclasses.replace(
        config, data=dataclasses.replace(config.data, train=str(tmp_path / "wild"))
    )
    with raises_user_error("of step", "is not finite", "its batch was clip", "not_finite.json"):
        runs.train(wild_config, tmp_path / "wild run", say=lambda _: None)
    told = files.read_json(tmp_path / "wild run/not_finite.json")
    assert len(told["clips"]) == 8
    name = clips.video_ids[7].decode()
    assert {"row": 7, "video_id": name} in told["clips"]
    assert not (tmp_path / "wild run/results.json").exists()
    steps = [int(p.name) for p in (tmp_path / "wild run/checkpoints").glob("[0-9]*")]
    assert all(step < told["step"] for step in steps)


def test_gradients_are_clipped_by_their_norm() -> None:
    config = mla.OptimConfig(clip_norm=0.5, learning_rate=1.0, b1=0.0, epsilon=1e6)
    gradient = {"a": jnp.asarray([3.0, 4.0])}
    optimizer = make_optimizer(config)
    moves, _ = optimizer.update(gradient, optimizer.init(gradient))
    plain = make_optimizer(dataclasses.replace(config, clip_norm=0.0))
    expected, _ = plain.update({"a": jnp.asarray([0.3, 0.4])}, plain.init(gradient))
    np.testing.assert_allclose(moves["a"], expected["a"], rtol=1e-5)
    assert float(optax.tree.norm(moves)) > 0
