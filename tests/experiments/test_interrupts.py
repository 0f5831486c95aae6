"""Ctrl-C ends a command with one line and 130, whatever it is doing: real processes, without JAX."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import ROOT

SLOW = """
import sys, time
print("here", flush=True)
try:
    time.sleep(60)
except BaseException:
    pass  # as Python does with what is raised in the callbacks of an import
print("went on", flush=True)
"""


def interrupted(program: str, folder: Path) -> tuple[int, str, str]:
    """The exit code and the output of a program that gets SIGINT once it has said that it is there."""
    (folder / "slow_import.py").write_text(SLOW)
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path[:0] = [{str(folder)!r}, {str(ROOT)!r}]\n{program}",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "here\n"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    return child.returncode, out, err


@pytest.mark.parametrize("begun", ["leave_at_once", "leave_at_once, interrupt_work"])
def test_in_an_import_it_ends_at_once(begun: str, tmp_path: Path) -> None:
    program = f"""
from mla_jax.commands.interrupts import interrupt_work, leave_at_once
for begin in ({begun},): begin()
import slow_import
"""
    assert interrupted(program, tmp_path) == (130, "", "interrupted\n")


def test_at_work_it_is_an_exception(tmp_path: Path) -> None:
    program = """
from mla_jax.commands.interrupts import interrupt_work, leave_at_once
leave_at_once(); interrupt_work()
import time
try:
    print("here", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("tidied up")
"""
    assert interrupted(program, tmp_path) == (0, "tidied up\n", "")


def test_where_it_is_ignored_it_stays_ignored(tmp_path: Path) -> None:
    """As by nohup, and by a shell behind `&`."""
    program = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from mla_jax.commands.interrupts import interrupt_work, leave_at_once
leave_at_once(); interrupt_work()
import time
print("here", flush=True)
time.sleep(1)
print("done")
"""
    assert interrupted(program, tmp_path) == (0, "done\n", "")
