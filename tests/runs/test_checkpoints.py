"""Checkpoints: which are kept, and what becomes of damaged ones."""

import functools
import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.models.multi_level import init_variables
from mla_jax.models.variables import Variables
from mla_jax.runs.checkpoints import Checkpoints, checksum
from mla_jax.training.state import TrainState, init_state
from tests.support.helpers import raises_user_error
from tests.support.small_runs import left_by, run_config, train_quietly

# Orbax leaves coroutines behind when a restore fails, whose errors nobody takes.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """They end here, and not in whatever test comes then."""
    yield
    gc.collect()


@functools.cache
def fresh_variables(hidden_units: int) -> Variables:
    model = mla.build_model(mla.ModelConfig(architecture="1-A", hidden_units=hidden_units), 3)
    return jax.tree.map(np.asarray, init_variables(model, 0, 5))


def state_of(step: int = 0, hidden_units: int = 300) -> TrainState:
    """A state, of other numbers at every step; a flipped bit in such large arrays is not noticed by Orbax."""
    variables = jax.tree.map(jnp.array, fresh_variables(hidden_units))
    state = init_state(variables, mla.OptimConfig())
    moved: TrainState = jax.tree.map(lambda leaf: leaf + step, state)
    return moved.replace(step=jnp.int32(step))


def save(folder: Path, *steps: int, **scores: float) -> None:
    with Checkpoints(folder) as checkpoints:
        for step in steps:
            checkpoints.save(state_of(step), {"n": step}, **scores)


def test_the_first_checkpoint_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk from which nothing comes back as it was is known at once, not when all is trained."""
    read = []
    restore = Checkpoints.restore

    def count(self: Checkpoints, step: int, like: TrainState) -> TrainState:
        read.append(step)
        return restore(self, step, like)

    monkeypatch.setattr(Checkpoints, "restore", count)
    save(tmp_path / "good", 1, 2, 3)
    assert read == [1]
    # What is saved and what is read have other checksums.
    monkeypatch.setattr("mla_jax.runs.checkpoints.checksum", lambda _: str(len(read)))
    with raises_user_error(
        "is damaged", "was read back is not the same; give a workdir on another"
    ):
        save(tmp_path / "bad", 1)


# ---- which are kept ----


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    scores = {1: 0.2, 2: 0.9, 3: 0.3, 4: 0.4, 5: 0.6, 6: 0.5, 7: 0.1}
    for steps in ((1, 2, 3, 4), (5, 6, 7)):  # interrupted between
        with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
            for step in steps:
                checkpoints.save(state_of(step), {"n": step}, validation_mAP=scores[step])
    with Checkpoints(tmp_path / "c", read_only=True) as checkpoints:
        assert checkpoints.steps() == [2, 6, 7]
        assert checkpoints.best_step() == 2
        assert checkpoints.read_meta(6)["n"] == 6
        with raises_user_error("no checkpoint of step 5; it has [2, 6, 7]"):
            checkpoints.restore(5, state_of())


def test_without_validation_the_newest_are_kept(tmp_path: Path) -> None:
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
        for step in range(1, 5):
            checkpoints.save(state_of(step), {})
    with Checkpoints(tmp_path / "c", read_only=True) as checkpoints:
        assert checkpoints.steps() == [3, 4]
        assert checkpoints.best_step() is None


def test_a_saved_state_may_be_donated_at_once(tmp_path: Path) -> None:
    state = state_of(1)
    kept = jax.tree.map(np.array, state)
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(state, {})
        for leaf in jax.tree.leaves(state):
            leaf.delete()
    with Checkpoints(tmp_path / "c") as checkpoints:
        jax.tree.map(np.testing.assert_array_equal, kept, checkpoints.restore(1, state_of()))


def test_another_models_checkpoint_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "c", 0)
    with (
        Checkpoints(tmp_path / "c") as checkpoints,
        raises_user_error("0 is of another model: its ", " is float32"),
    ):
        checkpoints.restore(0, state_of(hidden_units=6))


# ---- damage ----


def flip(path: Path) -> None:
    """Changes a bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    if content:
        content[len(content) // 2] ^= 4
    path.write_bytes(content)


FAULTS: dict[str, Callable[[Path], None]] = {
    "flip": flip,
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "remove": lambda path: path.unlink(),
}


# A flipped bit is what nobody but the checksum sees; files that are cut or not there are met below too.
@pytest.mark.parametrize(
    "fault",
    ["flip", *(pytest.param(f, marks=pytest.mark.slow) for f in ("cut", "empty", "remove"))],
)
def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, fault: str) -> None:
    """Every file of the newest one in turn: the one before is taken, or nothing that counts was hurt."""
    folder, like = tmp_path / "good", state_of()
    save(folder, 1, 2)
    sums = {step: checksum(state_of(step)) for step in (1, 2)}
    passed_over = 0
    for name in [p.relative_to(folder) for p in (folder / "2").rglob("*") if p.is_file()]:
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(folder, tmp_path / "bad/checkpoints")
        FAULTS[fault](tmp_path / "bad/checkpoints" / name)
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
    save(tmp_path / "checkpoints", 2)
    (tmp_path / "checkpoints/7").mkdir()
    said: list[str] = []
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        found = checkpoints.restore_newest(state_of(), said.append)
    assert found is not None
    assert int(found[0].step) == 2
    assert "checkpoints/7 is damaged" in said[0]


def test_where_none_is_whole_nothing_begins_anew(tmp_path: Path) -> None:
    save(tmp_path / "c", 1, 2)
    for meta in (tmp_path / "c").rglob("meta/metadata"):
        os.truncate(meta, 10)
    for _ in range(2):  # nor does the second attempt
        with (
            Checkpoints(tmp_path / "c") as checkpoints,
            raises_user_error("has no checkpoint that is whole", "give another workdir"),
        ):
            checkpoints.restore_newest(state_of(), lambda _: None)


def test_a_run_goes_on_from_the_last_whole_checkpoint(
    run_data: Path, whole_run: dict[str, Any], tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    train_quietly(run_config(run_data, steps=30), workdir)
    for path in (workdir / "checkpoints/30/state").rglob("*"):
        if path.is_file():
            os.truncate(path, path.stat().st_size // 2)
    # It is finished, so that only its use can say what to do.
    with raises_user_error("checkpoints/30 is damaged", "another with --step, there are [10, 20]"):
        mla.TrainedModel.open(workdir)
    assert mla.TrainedModel.open(workdir, step=10).step == 10
    said: list[str] = []
    train_quietly(run_config(run_data), workdir, say=said.append)
    assert any("checkpoints/30 is damaged" in line for line in said)
    assert "going on from step 20 of 40" in said
    assert left_by(workdir) == whole_run
