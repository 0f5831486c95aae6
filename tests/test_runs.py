"""A run in a folder, without the command line: what it refuses, and what may change."""

import dataclasses
from pathlib import Path

import pytest

import mla_jax as mla
from mla_jax import runs
from mla_jax.run_data import RunData
from mla_jax.training.metrics_log import read_metrics
from tests.helpers import random_clips

NAMES = tuple(f"class {k}" for k in range(7))
MIDS = tuple(f"/m/{k}" for k in range(7))


def _config(folder: Path, **train: int) -> mla.Config:
    return mla.Config.from_dict(
        {
            "model": {"hidden_units": 8},
            "data": {"train": str(folder / "train"), "eval": str(folder / "eval"), "batch_size": 8},
            "train": {"steps": 4, "log_every": 2, "eval_every": 2, "checkpoint_every": 2, **train},
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, split in enumerate(("train", "eval")):
        classes = mla.ClassList(MIDS, NAMES)
        mla.pack([random_clips(num_clips=30, seed=seed)], tmp_path / split, classes=classes)
    return tmp_path


def test_an_eval_set_of_other_classes_is_refused(folder: Path) -> None:
    other = mla.ClassList(MIDS[::-1], NAMES[::-1])
    (folder / "eval/class_labels_indices.csv").write_text(other.to_csv())
    with pytest.raises(mla.UserError, match=r"beside .*eval is not the one in use"):
        RunData.open(_config(folder))


def test_an_eval_set_of_another_encoder_is_refused(folder: Path) -> None:
    mla.pack([random_clips(features=9)], folder / "wide")
    config = _config(folder)
    data = dataclasses.replace(config.data, eval=str(folder / "wide"))
    with pytest.raises(mla.UserError, match="has 9 features a segment"):
        RunData.open(dataclasses.replace(config, data=data))


def test_a_run_that_diverged_before_a_checkpoint_can_be_mended(folder: Path) -> None:
    config = _config(folder)
    wild = dataclasses.replace(config, optim=mla.OptimConfig(learning_rate=1e38))
    with pytest.raises(mla.UserError, match="is not finite"):
        runs.train(wild, folder / "run", say=lambda _: None)
    assert runs.train(config, folder / "run", say=lambda _: None)["step"] == 4


def test_what_may_change_and_what_may_not(folder: Path) -> None:
    runs.train(_config(folder), folder / "run", say=lambda _: None)
    longer = _config(folder, steps=8, log_every=3, eval_every=0, checkpoint_every=5)
    assert runs.train(longer, folder / "run", say=lambda _: None)["step"] == 8
    steps = [r["step"] for r in read_metrics(folder / "run/metrics.jsonl")]
    assert steps == [2, 4, 5, 6, 8]
    with pytest.raises(mla.UserError, match=r"train.seed \(was 0, now 1\)"):
        runs.train(_config(folder, seed=1), folder / "run", say=lambda _: None)


def test_a_run_without_eval_split_says_so(folder: Path) -> None:
    config = _config(folder)
    alone = dataclasses.replace(config, data=dataclasses.replace(config.data, eval=""))
    results = runs.train(alone, folder / "run", say=lambda _: None)
    assert results["evaluated_on"] is None
    assert "mAP" not in results
    assert results["step"] == 4
