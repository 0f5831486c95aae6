"""A run whose checkpoints, disk or numbers are bad goes on from what is whole, or says one line."""

import dataclasses
import os
import shutil
import subprocess
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
from mla_jax.training.checkpoints import Checkpoints, checksum
from mla_jax.training.state import TrainState, init_state, make_optimizer
from tests.helpers import raises_user_error, random_clips
from tests.small_runs import ROOT, left_by, run_config, train_command

# Orbax leaves coroutines behind when a restore fails, which are noticed in whatever test comes then.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


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


def test_without_a_whole_checkpoint_a_run_never_begins_anew(run_data: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    runs.train(run_config(run_data, steps=20), workdir, say=lambda _: None)
    for meta in (workdir / "checkpoints").rglob("meta/metadata"):
        os.truncate(meta, 10)
    for _ in range(2):  # nor does the second attempt
        with raises_user_error("has no checkpoint that is whole", "give another workdir"):
            runs.train(run_config(run_data), workdir, say=lambda _: None)


def test_a_run_goes_on_from_the_last_whole_checkpoint(
    run_data: Path, whole_run: dict[str, Any], tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    runs.train(run_config(run_data, steps=30), workdir, say=lambda _: None)
    for path in (workdir / "checkpoints/30/state").rglob("*"):
        if path.is_file():
            _flip(path, path.stat().st_size // 2)
    said: list[str] = []
    runs.train(run_config(run_data), workdir, say=said.append)
    assert any("checkpoints/30 is damaged" in line for line in said)
    assert "going on from step 20 of 40" in said
    assert left_by(workdir) == whole_run


def test_a_full_disk_stops_it_with_the_last_good_checkpoint_intact(
    run_data: Path, whole_run: dict[str, Any], tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    runs.train(run_config(run_data, steps=20), workdir, say=lambda _: None)
    # As on a full disk, whatever makes a file larger than 3 KiB fails.
    limited = ["sh", "-c", 'ulimit -f 3; exec "$@"', "sh", *train_command(run_data, workdir)]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest_step() == 20
    runs.train(run_config(run_data), workdir, say=lambda _: None)
    assert left_by(workdir) == whole_run


# ---- numbers ----


def test_a_loss_that_is_not_finite_names_its_clips_and_saves_nothing(
    run_data: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    config = run_config(run_data, steps=20)
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


def test_what_uses_a_damaged_checkpoint_names_the_others(run_data: Path, tmp_path: Path) -> None:
    """A finished run is not looked into again by training, so its use has to say what to do."""
    workdir = tmp_path / "run"
    runs.train(run_config(run_data, steps=20), workdir, say=lambda _: None)
    for path in (workdir / "checkpoints/20/state").rglob("*"):
        if path.is_file():
            _flip(path, path.stat().st_size // 2)
    with raises_user_error(
        "checkpoints/20 is damaged", "choose another with --step, there are [10]"
    ):
        mla.TrainedModel.open(workdir)
    assert mla.TrainedModel.open(workdir, step=10).step == 10
