"""The command that brings AudioSet's release, run as a user runs it, stopped, and used wrongly."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mla_jax.audioset.release import LISTS
from tests.support.file_server import File, Server
from tests.support.helpers import wait_for
from tests.support.programs import ROOT, ok, run
from tests.support.releases import ARCHIVE, Release, archive_of, assert_brought

pytestmark = pytest.mark.usefixtures("served")


def test_the_command_brings_everything_and_then_nothing(
    server: Server, made: Release, tmp_path: Path
) -> None:
    flags = [f"--output={tmp_path}/a", f"--base_url={server.url}/", "--retries=1"]
    first = ok("download_audioset", *flags)
    assert_brought(tmp_path / "a", made)
    assert first.stdout.count("the same video ids") == 3
    assert "features.tar.gz" in first.stderr
    again = ok("download_audioset", *flags)
    assert again.stdout == first.stdout
    assert again.stderr.count("here already") == 5


# Where the tests run in the background, processes are born deaf to SIGINT; on a terminal they are not.
INTERRUPTIBLE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("experiments.download_audioset", run_name="__main__", alter_sys=True)
"""


@contextlib.contextmanager
def started(*flags: str) -> Iterator[subprocess.Popen[str]]:
    """The command, running; killed at the end of the block if it still does."""
    program = [sys.executable, "-c", INTERRUPTIBLE, *flags]
    with subprocess.Popen(program, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_stopped_goes_on(
    server: Server, made: Release, tmp_path: Path, number: signal.Signals
) -> None:
    file = server.files[ARCHIVE]
    file.content += bytes(200_000)  # zeros behind a gzip are allowed
    file.pause = 100_000
    flags = [f"--output={tmp_path}/a", f"--base_url={server.url}"]
    part = tmp_path / "a/features.tar.gz.part"
    with started(*flags) as process:
        assert server.paused.wait(60)
        wait_for(lambda: part.exists() and part.stat().st_size >= 80_000)
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        assert told.strip().splitlines()[-2:] == [
            "what has arrived is kept: the same command goes on from there",
            "interrupted",
        ]
    have = part.stat().st_size
    assert have >= 80_000
    assert not (tmp_path / "a/bal_train").exists()
    server.log.clear()
    done = ok("download_audioset", *flags)
    assert server.log == [(ARCHIVE, f"bytes={have}-", 206)]
    assert "going on from" in done.stderr
    assert_brought(tmp_path / "a", made)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_stopped_while_it_unpacks_begins_that_anew(
    server: Server, made: Release, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "large").mkdir()
    for split in LISTS:
        (tmp_path / "large" / split).symlink_to(made.folder / split)
    (tmp_path / "large/more").mkdir()
    for i in range(1000):  # which take some time, and are left behind
        (tmp_path / f"large/more/{i}").touch()
    server.files[ARCHIVE] = File(archive_of(tmp_path / "large", [*LISTS, "more"]))
    flags = [f"--output={tmp_path}/a", f"--base_url={server.url}"]
    with started(*flags) as process:
        wait_for((tmp_path / "a/.unpacking/audioset_v1_embeddings/more").exists)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert not any((tmp_path / "a" / split).exists() for split in LISTS)
    assert (tmp_path / "a/.unpacking").exists() == (number == signal.SIGKILL)
    server.log.clear()
    ok("download_audioset", *flags)
    assert server.log == []
    assert_brought(tmp_path / "a", made)


def test_a_wrong_use_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    done = run("download_audioset", f"--output={tmp_path}/new", "--base_url=mirror")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: base_url='mirror' is no address")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
