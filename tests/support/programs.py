"""Runs the command-line programs in processes of their own that need not import JAX and TensorFlow first.

Importing takes seconds, and most commands of the tests less than that. So one process imports what the
programs import, does nothing else, and forks for every command. The fork runs the program as `python -m`
does, with its own arguments, environment, output and exit code; the libraries are the same, only read
before. What is about starting, signals or memory starts a Python of its own instead.

    python -m tests.support.programs socket       is that process; it ends with its standard input
"""

import atexit
import contextlib
import functools
import gc
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
_SECONDS = 300  # the longest that a command may take
_one_at_a_time = threading.Lock()


def run(program: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """`python -m experiments.<program> <flags>`, on one device."""
    with _one_at_a_time:
        forking = _start()
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as connection:
        out, err = Path(folder, "stdout"), Path(folder, "stderr")
        asked = {
            "module": f"experiments.{program}",
            "flags": flags,
            "environment": one_device(),
            "stdout": str(out),
            "stderr": str(err),
        }
        connection.settimeout(_SECONDS + 10)
        connection.connect(forking)
        connection.sendall(json.dumps(asked).encode() + b"\n")
        answer = connection.makefile().readline()
        said = [path.read_text(encoding="utf-8") for path in (out, err)]
    assert answer, "the process that forks is not there any more"
    return subprocess.CompletedProcess([program, *flags], int(answer), *said)


def ok(program: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """`run`, which must end well."""
    done = run(program, *flags)
    assert done.returncode == 0, done.stderr
    return done


def python(
    *arguments: object, timeout: float = _SECONDS, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python <arguments>` in the project's folder, a new process, with variables added."""
    command = [sys.executable, *map(str, arguments)]
    env = os.environ | environment
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout
    )


def one_device() -> dict[str, str]:
    """The environment of the tests, without their several devices: users have one processor."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    kept = [flag for flag in flags if "host_platform_device_count" not in flag]
    return {**os.environ, "XLA_FLAGS": " ".join(kept)}


def children_of(parent: int) -> list[int]:
    """The ids of the processes that a process has started."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def compiling() -> dict[str, str]:
    """Of the environment, what says how to compile, and where compiled programs are found."""
    return {
        name: value for name, value in one_device().items() if name.startswith(("JAX_", "XLA_"))
    }


@functools.cache
def _start() -> str:
    """Starts the process that forks, once, for as long as this one lives. Returns its socket."""
    folder = tempfile.mkdtemp(prefix="mla_jax-programs-")
    command = [sys.executable, "-m", "tests.support.programs", f"{folder}/socket"]
    with Path(folder, "stderr").open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n", Path(folder, "stderr").read_text()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(process.communicate)  # first: it ends with its input
    return f"{folder}/socket"


# ---- the process that forks ----


def _import_what_programs_do() -> None:
    import matplotlib.pyplot  # noqa: F401

    from mla_jax.data.formats import tfrecords  # noqa: F401
    from mla_jax.report import (  # noqa: F401
        page,
        tensorboard,
        write,
    )


def _next_request(path: str) -> dict[str, Any]:
    """Waits and forks; returns in each fork, with what it is to do."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listening, sys.stdin], [], [])
            if sys.stdin in ready:
                _forget_the_finished()
                os._exit(0)
            connection, _ = listening.accept()
            if os.fork() == 0:
                break
            connection.close()
            _forget_the_finished()
    asked: dict[str, Any] = json.loads(connection.makefile().readline())
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection.sendall(f"{code}\n".encode())
        os._exit(0)
    connection.close()
    return asked


def _forget_the_finished() -> None:
    """Waits for the forks that have ended, so that they do not stay in the list of processes."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become(asked: dict[str, Any]) -> None:
    """Runs the program to its end, which is that of this process."""
    signal.alarm(_SECONDS)
    os.environ.clear()
    os.environ.update(asked["environment"])
    for number, target, how in (
        (0, os.devnull, os.O_RDONLY),
        (1, asked["stdout"], os.O_WRONLY | os.O_CREAT),
        (2, asked["stderr"], os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(target, how)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = [asked["module"], *asked["flags"]]
    try:
        runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
        _exit_code.append(0)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            _exit_code.append(end.code or 0)
        raise


_exit_code: list[int] = []


def _leave_the_memory() -> None:
    """Ends a fork before Python takes apart all that was imported, which is slower than most programs.

    The first to be registered runs last, when threads and all else that waits for the end have ended. What
    ends in another way than by an exit code is left to Python.
    """
    if _exit_code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_exit_code[0])


if __name__ == "__main__":
    atexit.register(_leave_the_memory)
    _import_what_programs_do()
    gc.freeze()  # else every fork looks through all of it again, at its end at the latest
    _become(_next_request(sys.argv[1]))
