"""Commands compile in good time; what they compile is kept, in the user's cache alone, never in the way."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from mla_jax.commands.compiled import compile_in_good_time, make_room
from tests.support import programs

Predict = Callable[..., tuple[str, dict[Path, int]]]


@pytest.fixture
def predict(
    whole_workdir: Path, run_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Predict:
    """Starts `predict` with the cache in the test's folder; returns the tags, and what is kept then."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("MLA_JAX_CACHE", str(tmp_path / "cache"))

    def start(*flags: str) -> tuple[str, dict[Path, int]]:
        output = tmp_path / "tags.jsonl"
        where = f"--workdir={whole_workdir}", f"--data={run_data / 'eval'}", f"--output={output}"
        done = programs.ok("predict", *where, *flags)
        assert "warning" not in done.stderr.lower()
        kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("jit_clip_prob*")}
        return output.read_text(), kept

    return start


@pytest.mark.slow
def test_the_second_command_compiles_nothing_and_says_the_same(predict: Predict) -> None:
    tags, kept = predict()
    assert kept
    assert {p.parent.stat().st_mode & 0o777 for p in kept} == {0o700}
    assert predict() == (tags, kept)
    for path in kept:  # as where a process was killed while it wrote
        os.truncate(path, path.stat().st_size // 2)
    assert predict()[0] == tags


@pytest.mark.slow
def test_where_nothing_can_or_may_be_kept_commands_work(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict("--nokeep_compiled")[1] == {}
    (tmp_path / "cache").write_text("no folder")
    assert predict()[1] == {}
    (tmp_path / "cache").unlink()
    monkeypatch.setenv("MLA_JAX_KEEP_COMPILED", "0")
    assert predict()[1] == {}
    monkeypatch.delenv("MLA_JAX_KEEP_COMPILED")
    # Programs are run, so a folder to which others may write is no place to load them from.
    folders = predict()[1].keys()
    for path in folders:
        path.unlink()
        path.parent.chmod(0o777)
    assert predict()[1] == {}


def test_processors_alone_compile_at_the_second_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the user says otherwise; where there may be a GPU or TPU nothing changes."""
    level = "--xla_backend_optimization_level="

    def told(asked: str, platforms: str = "") -> str:
        monkeypatch.setenv("XLA_FLAGS", asked)
        monkeypatch.setenv("JAX_PLATFORMS", platforms)
        compile_in_good_time()
        return os.environ["XLA_FLAGS"]

    assert told("", "cpu") == f"{level}2"
    assert told("--xla_one=1", "cpu") == f"--xla_one=1 {level}2"
    assert told(f"{level}1", "cpu") == f"{level}1"
    has_plugin = any(find_spec(name) for name in ("jax_plugins", "libtpu"))
    assert told("") == ("" if has_plugin else f"{level}2")
    for plugin in ("jax_plugins", "libtpu"):
        (tmp_path / plugin / plugin).mkdir(parents=True)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / plugin)
            assert told("") == ""
            assert told("", "cpu") == f"{level}2"


def test_the_oldest_programs_make_room(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "old", "oldest")):
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    make_room(tmp_path, 30)
    assert len(list(tmp_path.iterdir())) == 3
    make_room(tmp_path, 15)
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
