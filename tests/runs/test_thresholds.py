"""The thresholds of a run: chosen when training ends, read when they are used."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.data.splits import hold_out
from mla_jax.evaluation.thresholds import choose_thresholds, f1_scores
from mla_jax.runs.checkpoints import Checkpoints
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.thresholds import choose_for_run, thresholds_of
from mla_jax.storage import files
from mla_jax.training.state import init_state
from tests.support.helpers import raises_user_error
from tests.support.small_runs import run_config, train_quietly


@pytest.fixture
def run(run_data: Path, tmp_path: Path) -> RunFolder:
    config = run_config(run_data, steps=20)
    data = dataclasses.replace(config.data, validation_fraction=0.4)
    train_quietly(dataclasses.replace(config, data=data), tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_they_are_chosen_when_training_ends_and_then_read(run: RunFolder, run_data: Path) -> None:
    model = mla.TrainedModel.open(run.path)
    _, validation = hold_out(mla.open_packed(run_data / "train"), 0.4)
    assert validation is not None
    labels, probs = validation.multi_hot(), model.predict(validation)
    chosen = choose_thresholds(probs, labels)
    kept = files.read_json(run.thresholds_file)
    assert kept["step"] == model.step
    assert kept["num_clips"] == len(validation)
    assert kept["macro_F1"] == pytest.approx(np.nanmean(f1_scores(probs, labels, chosen)))
    for k, entry in enumerate(kept["classes"]):
        named = (entry["index"], entry["mid"], entry["name"])
        assert named == (k, model.classes.mids[k], model.classes.names[k])
        # Another program scored these clips, within the run: the last bits may differ.
        expected = pytest.approx(chosen[k], rel=1e-6) if np.isfinite(chosen[k]) else None
        assert entry["threshold"] == expected
        assert entry["num_positives"] == labels[:, k].sum()
    np.testing.assert_allclose(thresholds_of(run.path, model), chosen, rtol=1e-6)

    # They are what is used, as long as they are of this checkpoint; null is never reported.
    for entry in kept["classes"]:
        entry["threshold"] = None if entry["index"] else 0.0
    files.write_json(run.thresholds_file, kept)
    assert thresholds_of(run.path, model).tolist() == [0.0] + [math.inf] * 6
    other = kept | {"step": 999}
    files.write_json(run.thresholds_file, other)
    np.testing.assert_allclose(thresholds_of(run.path, model), chosen, rtol=1e-6)
    assert files.read_json(run.thresholds_file) == other, "reading does not write"
    files.write_json(run.thresholds_file, {"step": model.step})
    with raises_user_error("thresholds.json is damaged", "remove it"):
        thresholds_of(run.path, model)
    np.testing.assert_allclose(choose_for_run(run.path), chosen, rtol=1e-6)
    assert files.read_json(run.thresholds_file)["step"] == model.step


def test_without_validation_there_are_none(run: RunFolder, tmp_path: Path) -> None:
    model = mla.TrainedModel.open(run.path)
    data = dataclasses.replace(model.config.data, validation_fraction=0.0)
    meta = {
        "config": dataclasses.replace(model.config, data=data).to_dict(),
        "classes": dataclasses.asdict(model.classes),
        "num_features": 4,
    }
    with Checkpoints(tmp_path / "other/checkpoints") as checkpoints:
        checkpoints.save(init_state(model.variables, model.config.optim), meta)
    other = mla.TrainedModel.open(tmp_path / "other")
    with raises_user_error("has no validation split", "give a number"):
        thresholds_of(tmp_path / "other", other)
    assert other.max_segments == 10, "a checkpoint that does not say has that of its settings"
