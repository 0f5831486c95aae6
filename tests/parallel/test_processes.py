"""Several real processes, with collectives between processors, make the run of one."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mla_jax.commands.distributed import free_port
from mla_jax.parallel import processes
from mla_jax.parallel.signals import EXIT_TO_BE_CONTINUED
from mla_jax.runs.folder import RunFolder
from tests.support.helpers import raises_user_error
from tests.support.programs import children_of
from tests.support.programs import run as run_program
from tests.support.small_runs import (
    RECIPE,
    ROOT,
    STEPS,
    left_by,
    run_config,
    train_command,
    train_quietly,
    wait_until,
)


# Each process has one device of its own, whatever the tests' own processes have. No compilation cache: on
# processors its keys differ between processes and only the first writes, so that one would wait for the
# others to compile, and Gloo waits for 30 seconds at most.
def environment() -> dict[str, str]:
    found = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    found["XLA_FLAGS"] += " --xla_force_host_platform_device_count=1"
    return found


def start(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def train(run_data: Path, workdir: Path, processes: int, *more: str) -> str:
    """Trains to the end, and returns what was said."""
    distributed = [f"--distributed=local:{processes}"] if processes > 1 else []
    process = start(train_command(run_data, workdir, STEPS, *distributed, *more))
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert out.startswith(f"step {STEPS} (last step) on eval: mAP ")
    assert out.count("\n") == 1, "the main process speaks alone"
    return err


def require_equal_to_rounding(left: dict[str, Any], expected: dict[str, Any]) -> None:
    assert left["steps"] == expected["steps"]
    for mine, theirs in zip(left["metrics"], expected["metrics"], strict=True):
        assert mine.keys() == theirs.keys()
        assert mine["step"] == theirs["step"]
        for name, value in mine.items():
            np.testing.assert_allclose(
                value, theirs[name], rtol=1e-3, atol=2e-2 if "_" in name else 0
            )
    first, same = left["metrics"][0], expected["metrics"][0]
    np.testing.assert_allclose(first["loss"], same["loss"], rtol=1e-5)


@pytest.mark.parametrize(
    ("processes", "placement", "recipe"),
    [
        pytest.param(2, "device", {}, marks=pytest.mark.slow),
        pytest.param(4, "device", RECIPE, marks=pytest.mark.slow),
        pytest.param(4, "host", {}, marks=pytest.mark.slow),
    ],
)
def test_several_processes_make_the_run_of_one(
    run_data: Path,
    whole_run: dict[str, Any],
    tmp_path: Path,
    processes: int,
    placement: str,
    recipe: dict[str, Any],
) -> None:
    """8 clips a batch and 40 eval clips, of which each has its share; the hosts send each its own part."""
    flags = [f"--config.data.placement={placement}"] + [
        f"--config.{section}.{name}={value}"
        for section, fields in recipe.items()
        for name, value in fields.items()
    ]
    said = train(run_data, tmp_path / "run", processes, *flags)
    assert f"{processes} devices of {processes} processes" in said
    if recipe:
        train_quietly(run_config(run_data, recipe), tmp_path / "one")
    expected = left_by(tmp_path / "one") if recipe else whole_run
    require_equal_to_rounding(left_by(tmp_path / "run"), expected)


@pytest.mark.slow
def test_one_is_killed_and_all_go_on_to_the_bits_of_a_run_left_alone(
    run_data: Path, whole_run: dict[str, Any], tmp_path: Path
) -> None:
    train(run_data, tmp_path / "left_alone", 2)
    alone = left_by(tmp_path / "left_alone")
    require_equal_to_rounding(alone, whole_run)
    workdir = tmp_path / "run"
    with start(train_command(run_data, workdir, STEPS, "--distributed=local:2")) as process:
        # Whole: Orbax gives it this name in the end. Two more are to be saved before the last step.
        wait_until((workdir / "checkpoints" / "10").is_dir, process)
        os.kill(children_of(process.pid)[1], signal.SIGKILL)
        killed = time.monotonic()
        assert process.wait(timeout=30) == EXIT_TO_BE_CONTINUED
        assert time.monotonic() - killed < 10
        assert process.stderr is not None
        last = process.stderr.read().splitlines()[-1]
    assert last.startswith("error: process 1 of 2 was ended by SIGKILL")
    assert RunFolder(workdir).metrics()[-1]["step"] < STEPS
    assert "going on from step" in train(run_data, workdir, 2)
    assert left_by(workdir) == alone


@pytest.mark.slow
def test_a_signal_stops_all_at_one_step_and_one_process_goes_on(
    run_data: Path, whole_run: dict[str, Any], tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    with start(train_command(run_data, workdir, STEPS, "--distributed=local:2")) as process:
        wait_until(lambda: bool(RunFolder(workdir).metrics()), process)
        process.terminate()
        assert process.wait(timeout=60) == EXIT_TO_BE_CONTINUED
        assert process.stderr is not None
        said = process.stderr.read().splitlines()
    assert "which is saved" in said[-1], said
    for told in ("stopping: ", "which is saved"):
        assert sum(told in line for line in said) == 1, said
    assert "going on from step" in train(run_data, workdir, 1)
    require_equal_to_rounding(left_by(workdir), whole_run)


@pytest.mark.slow
def test_a_mistake_is_said_once(run_data: Path, tmp_path: Path) -> None:
    command = train_command(run_data, tmp_path / "run", STEPS, "--distributed=local:2")
    others = [flag for flag in command if not flag.startswith("--config.data.eval=")]
    process = start([*others, f"--config.data.eval={tmp_path}/nowhere"])
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    errors = [line for line in err.splitlines() if "error" in line]
    assert len(errors) == 2, err
    assert "nowhere" in errors[0]
    assert "process 0 of 2 failed with exit code 2" in errors[1]
    assert not (tmp_path / "run").exists()


PLACE = """
import jax
from mla_jax.parallel import processes
place = processes.take_place_in_cluster(60)
print(*place, jax.config.values['jax_cuda_visible_devices'], jax.process_count())
"""


@pytest.mark.slow
def test_a_cluster_tells_a_process_its_place_and_is_not_joined() -> None:
    """As Open MPI tells it."""
    told = {
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911",
    }
    asked = [
        subprocess.Popen(
            [sys.executable, "-c", PLACE],
            cwd=ROOT,
            env={
                **environment(),
                **told,
                "OMPI_COMM_WORLD_RANK": str(i),
                "OMPI_COMM_WORLD_LOCAL_RANK": str(i),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    assert [process.communicate(timeout=120)[0] for process in asked] == [
        f"{i} 2 {i} 1\n" for i in range(2)
    ]


PEERS = """
import sys
import numpy as np
from mla_jax.errors import UserError
from mla_jax.parallel import processes

number, count, port = map(int, sys.argv[1:])
processes.join(f"127.0.0.1:{port}", count, number, join_seconds=60)
assert processes.number() == number and processes.several()
assert processes.smallest(5 + number) == 5
assert processes.anywhere(number == 1)
assert not processes.anywhere(False)
assert processes.from_main(lambda: {"who": number, "é": [1, None]}) == {"who": 0, "é": [1, None]}
assert processes.on_main(lambda: number) == (0 if number == 0 else None)

def fails(who):
    if number in who:
        raise UserError(f"I am {number}")
    return number

assert processes.together(lambda: fails(())) == number
for who in ((0,), (1,), (0, 1)):
    try:
        processes.together(lambda: fails(who))
    except processes.PeerFailedError as error:
        assert number != min(who) and str(error).startswith(f"process {min(who)} of {count}"), error
    except UserError as error:
        assert number == min(who), error
    else:
        raise AssertionError("nobody failed")
processes.require_same("the settings", b"same")
try:
    processes.require_same("the settings", b"other" if number == 1 else b"same")
except UserError as error:
    assert ("the settings of process 1" in str(error)) == (number == 1), error
else:
    raise AssertionError("not noticed")
for total in (101, 40, 3, 2, 1):
    values = np.random.default_rng(0).normal(size=(total, 3))
    whole = processes.gather_shares(values[processes.own_share(total)].astype(np.float32), total)
    np.testing.assert_array_equal(whole, values.astype(np.float32))
print("well")
"""


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_what_processes_tell_each_other(count: int) -> None:
    arguments = [str(count), str(free_port())]
    peers = [start([sys.executable, "-c", PEERS, str(i), *arguments]) for i in range(count)]
    for peer in peers:
        out, err = peer.communicate(timeout=120)
        assert out.endswith("well\n"), err


@pytest.mark.slow
def test_processes_that_do_not_come_are_named(run_data: Path, tmp_path: Path) -> None:
    where = [f"--distributed=127.0.0.1:{free_port()}", "--num_processes=2", "--process_id=0"]
    process = start(train_command(run_data, tmp_path, STEPS, *where, "--join_seconds=2"))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    (line,) = err.splitlines()
    assert line.startswith("error: process 0 of 2 did not find the others at 127.0.0.1:")
    assert "within 2 s" in line


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--distributed=local:0"], "local:N starts N processes"),
        (["--distributed=somewhere"], "must be off, auto, HOST:PORT or local:N"),
        (["--distributed=host:1"], "--distributed=host:1 needs how many processes there are"),
        (["--distributed=host:99999"], "a port being a number from 1 to 65535"),
        (["--num_processes=2"], "go with --distributed=HOST:PORT"),
        (["--distributed=auto", "--process_id=1"], "go with --distributed=HOST:PORT"),
    ],
)
def test_flags_that_say_nothing_clear(tmp_path: Path, flags: list[str], message: str) -> None:
    done = run_program("train", f"--workdir={tmp_path}/run", *flags)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_in_use_is_said_in_a_line() -> None:
    """JAX's server would crash there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with raises_user_error(f"port {port} of this machine cannot be used", "--distributed"):
            processes.join(f"127.0.0.1:{port}", 2, 0)
