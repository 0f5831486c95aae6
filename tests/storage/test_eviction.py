"""Copies of what is in buckets make room: the least recently used first, none that is in use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mla_jax.storage import cache, eviction, files
from tests.support.helpers import raises_user_error
from tests.support.small_runs import ROOT


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that may hold 1,000 bytes."""
    monkeypatch.setenv("MLA_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLA_JAX_CACHE_GB", "1e-6")
    (tmp_path / "cache/encoders").mkdir(parents=True)
    (tmp_path / "cache/encoders/weights.npz").write_bytes(bytes(5000))
    return tmp_path / "cache"


def make_copy(root: Path, name: str, size: int, used: float) -> Path:
    folder = root / f"{name}-{name.encode().hex():0>20}"
    (folder / "within").mkdir(parents=True)
    (folder / "within/data").write_bytes(bytes(size))
    eviction.lock_of(folder).touch()
    os.utime(eviction.lock_of(folder), (used, used))
    return folder


def names_in(root: Path) -> list[str]:
    return sorted(p.name.partition("-")[0] for p in root.iterdir() if p.suffix != ".lock")


def test_the_least_recently_used_go_first_and_no_more_than_must(root: Path) -> None:
    for i, name in enumerate(("new", "old", "older", "oldest")):
        make_copy(root, name, 250, used=4000.0 - i)
    for coming, left in ((0, 4), (1, 3), (500, 2), (501, 1)):
        eviction.make_room(root, coming)
        assert names_in(root) == sorted(["encoders", "new", "old", "older", "oldest"][: left + 1])


USER = """
import sys
from pathlib import Path
from mla_jax.storage import eviction, locks
locks.share(eviction.lock_of(Path(sys.argv[1])))
print("has it", flush=True)
sys.stdin.read()
"""


def test_what_a_process_uses_stays_until_it_ends(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = make_copy(root, "old", 900, used=1.0)
    make_copy(root, "new", 50, used=2.0)
    command = [sys.executable, "-c", USER, str(old)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == "has it\n"
        eviction.make_room(root, 500)
        assert names_in(root) == ["encoders", "old"]
        assert "more than the 1.0 kB that they may" in caplog.text
        user.kill()
    eviction.make_room(root, 500)
    assert names_in(root) == ["encoders"]


def test_what_a_killed_process_half_removed_goes(root: Path) -> None:
    old = make_copy(root, "old", 10, used=1.0)
    old.rename(root / f".{old.name}.evicted")
    eviction.make_room(root, 0)
    assert names_in(root) == ["encoders"]


@pytest.mark.parametrize("told", ["many", "-1", "nan"])
def test_the_bound_is_a_number(told: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLA_JAX_CACHE_GB", told)
    with raises_user_error(f"MLA_JAX_CACHE_GB={told} is not valid", "0 or more"):
        eviction.make_room(root, 0)


def test_a_copy_that_is_fetched_takes_the_place_of_others(bucket: str, root: Path) -> None:
    old, new = make_copy(root, "old", 300, used=1.0), make_copy(root, "new", 300, used=2.0)
    for name in ("a", "b"):
        files.write_text(f"{bucket}/{name}", name * 500)
    first = Path(cache.local_copy(f"{bucket}/a").path)
    assert (first.exists(), old.exists(), new.exists()) == (True, False, True)
    second = Path(cache.local_copy(f"{bucket}/b").path)
    assert (first.exists(), second.exists(), new.exists()) == (True, True, False)
    # Both are in use by this process.
    files.write_text(f"{bucket}/c", "c")
    assert Path(cache.local_copy(f"{bucket}/c").path).read_text() == "c"
    assert first.read_text() == "a" * 500
