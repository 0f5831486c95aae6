"""The command that brings AudioSet's release, run as a user runs it, stopped, and used wrongly."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mla_jax.download import release
from mla_jax.download.release import LISTS
from tests.file_server import File, Server, serving
from tests.releases import ARCHIVE, PATH, Release, archive_of, assert_brought, make_release

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture
def server(made: Release, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        made.serve(server)
        yield server


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "experiments.download_audioset", *flags]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_command_brings_everything_and_then_nothing(
    server: Server, made: Release, tmp_path: Path
) -> None:
    flags = [f"--output={tmp_path}/a", f"--base_url={server.url}/", "--retries=1"]
    first = run(*flags)
    assert first.returncode == 0, first.stderr
    assert_brought(tmp_path / "a", made)
    assert first.stdout.count("the same video ids") == 3
    assert "features.tar.gz" in first.stderr
    again = run(*flags)
    assert (again.returncode, again.stdout) == (0, first.stdout)
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


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.001)


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
    done = run(*flags)
    assert done.returncode == 0, done.stderr
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
    done = run(*flags)
    assert done.returncode == 0, done.stderr
    assert server.log == []
    assert_brought(tmp_path / "a", made)


WRONG = {
    "no output": ([], "give --output"),
    "stray word": (["--output={w}", "somewhere"], "'somewhere' is not a flag"),
    "misspelt": (["--output={w}", "--regoin=us"], "regoin"),
    "region": (["--output={w}", "--region=mars"], "mars"),
    "only": (["--output={w}", "--only=audio"], "audio"),
    "retries": (["--output={w}", "--retries=-1"], "retries"),
    "no address": (["--output={w}", "--base_url=mirror"], "base_url='mirror' is no address"),
    "another protocol": (["--output={w}", "--base_url=ftp://x"], "is no address"),
    "no server": (["--output={w}", "--base_url=http://127.0.0.1:9"], "gave up after 1 try"),
    "no such host": (["--output={w}", "--base_url=http://no.such.host.invalid"], "gave up after"),
    "not there": (["--output={w}", "--base_url={s}/elsewhere"], "HTTP 404"),
    "a file": (["--output={f}/file", "--base_url={s}"], "File exists"),
    "below a file": (["--output={f}/file/a", "--base_url={s}"], "Not a directory"),
    "no room": (["--output={w}", "--base_url={s}", "--region=eu"], "make room"),
    "wrong bytes": (["--output={w}", "--base_url={s}", "--region=asia"], "did not arrive"),
    "trouble": (["--output={w}", "--base_url={s}/broken"], "HTTP 503"),
}


def test_wrong_uses_get_one_line_and_leave_nothing(server: Server, tmp_path: Path) -> None:
    name = f"csv/{release.FILE_NAME}"
    good = server.files[f"{PATH}/{name}"]
    server.files[f"{PATH.replace('us', 'eu', 1)}/{name}"] = File(good.content, length=10**17)
    server.files[f"{PATH.replace('us', 'asia', 1)}/{name}"] = File(good.content, hashed=b"x")
    server.files[f"/broken{PATH}/{name}"] = File(good.content, statuses=[503] * 9)
    (tmp_path / "file").touch()

    def try_it(name: str) -> subprocess.CompletedProcess[str]:
        arguments = (a.format(w=tmp_path / name, f=tmp_path, s=server.url) for a in WRONG[name][0])
        return run("--retries=0", *arguments)

    with ThreadPoolExecutor(2) as pool:
        for name, done in zip(WRONG, pool.map(try_it, WRONG), strict=True):
            assert done.returncode == 2, (name, done.stderr)
            lines = done.stderr.strip().splitlines()
            assert [line for line in lines if line.startswith("error: ")] == lines[-1:], name
            assert WRONG[name][1] in lines[-1], (name, lines[-1])
            assert "Traceback" not in done.stderr, name
            assert done.stdout == "", name
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_help_names_the_flags() -> None:
    done = run("--help")
    for flag in ("--output", "--region", "--only", "keep_archive", "--base_url", "--retries"):
        assert flag in done.stdout
    assert "python -m experiments.download_audioset --output=" in done.stdout
