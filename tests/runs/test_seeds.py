"""Rows of a table: several seeds, resumed and averaged."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
)
from mla_jax.progress import silent
from mla_jax.runs import trained, use
from mla_jax.runs.checkpoints import Checkpoints
from mla_jax.runs.convergence import end_of, scored
from mla_jax.runs.data import RunData
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.seeds import train_row
from mla_jax.storage import files
from tests.support.helpers import raises_user_error
from tests.support.small_runs import RECIPE, SMALL, train_quietly, without_seconds

CONFIG = Config(
    model=ModelConfig(**SMALL),
    data=DataConfig(batch_size=16),
    augment=AugmentConfig(**RECIPE["augment"]),
    optim=OptimConfig(**RECIPE["optim"]),
    train=TrainConfig(steps=6, eval_every=2, checkpoint_every=2, log_every=3),
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The setting, with generated data packed where it says."""
    folder = tmp_path_factory.mktemp("data")
    paths = {}
    for split, clips in (("train", 80), ("eval", 40)):
        small = mla.SyntheticConfig(num_clips=clips, num_classes=4, num_features=16)
        made = mla.synthetic_clips(small, split)
        mla.pack([made.clips], folder / split, classes=made.classes)
        paths[split] = str(folder / split)
    return dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, **paths))


def _train(config: Config, seeds: list[int], folder: Path, **options: Any) -> list[dict[str, Any]]:
    return train_row(config, seeds, folder, RunData.open(config), **{"say": silent} | options)


def results_of(row: Path, seed: int) -> dict[str, Any]:
    results = RunFolder(row / f"seed{seed}").results()
    assert results is not None
    return results


class StoppedError(Exception):
    """What `stop_at` ends a training by."""


def stop_at(step: int) -> Callable[[str], None]:
    """For `say`: the training ends when it tells of this step."""

    def say(line: str) -> None:
        if f"step {step}," in line:
            raise StoppedError

    return say


@pytest.fixture(scope="module")
def row(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished row of two seeds, trained one after the other."""
    folder = tmp_path_factory.mktemp("table") / "row"
    _train(config, [0, 1], folder)
    return folder


def test_a_seed_is_a_finished_run_like_any_other(config: Config, row: Path, tmp_path: Path) -> None:
    alone = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=1))
    expected = without_seconds(files.plain(train_quietly(alone, tmp_path / "run")))
    results = results_of(row, 1)
    assert {name: results[name] for name in expected} == expected
    assert results.keys() - expected.keys() == {
        "seconds",
        "average",
        "bootstrap_mAP",
        "seeds_together",
        "last",
        "halves",
    }
    assert results["last"] == {"step": 6} | {k: results[k] for k in ("mAP", "AUC", "d_prime")}
    ours, theirs = (trained.TrainedModel.open(w) for w in (row / "seed1", tmp_path / "run"))
    assert ours.config == theirs.config
    jax.tree.map(np.testing.assert_array_equal, ours.variables, theirs.variables)
    # The average is that of `evaluate --average_from` over the checkpoints of all evaluations.
    average = use.evaluate(tmp_path / "run", config.data.eval, average_from=1)
    assert results["average"]["steps_averaged"] == average["steps_averaged"] == [2, 4, 6]
    assert results["average"]["mAP"] == pytest.approx(average["mAP"], rel=1e-6)
    assert results["average"]["mAP"] != results["mAP"]
    assert not (row / ".training").exists()


@pytest.mark.slow
def test_seeds_that_train_together_are_the_seeds_alone(
    config: Config, row: Path, tmp_path: Path
) -> None:
    together = _train(config, [0, 1], tmp_path / "row", together=2)
    for seed, results in enumerate(together):
        alone = results_of(row, seed)
        assert results["mAP"] == pytest.approx(alone["mAP"], abs=1e-3)
        assert results["seeds_together"] == 2
        one, two = (
            trained.TrainedModel.open(f / f"seed{seed}").variables for f in (row, tmp_path / "row")
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), one, two)
    assert together[0]["mAP"] != together[1]["mAP"]


@pytest.mark.slow
def test_each_seed_has_its_own_best_step_and_its_own_end(config: Config, tmp_path: Path) -> None:
    """As alone, whichever seeds it trains with; the scores are those of the checkpoint that is kept."""
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, validation_fraction=0.3),
        optim=mla.OptimConfig(learning_rate=0.3),
        train=dataclasses.replace(config.train, steps=40, patience=1),
    )
    row = tmp_path / "row"
    both = _train(config, [0, 1], row, together=2)
    for results in both:
        run = RunFolder(row / f"seed{results['seed']}")
        scores = scored(run.metrics())
        end = end_of(scores, 1)
        assert end == results["steps_trained"] < 40
        assert results["ended_by"] == "patience"
        counted = [(score, step) for step, score in scores if step <= end]
        assert results["step"] == max(counted)[1]
        assert results["step_chosen_by"] == "best validation mAP"
        assert results["average"]["steps_averaged"] == [step for _, step in counted]
        assert results["last"]["step"] == end
        kept = use.evaluate(run.path, config.data.eval)
        assert (kept["step"], kept["mAP"]) == (results["step"], pytest.approx(results["mAP"]))
        first, second = results["halves"]
        assert np.nanmean(first) != np.nanmean(second)
    assert both[0]["steps_trained"] != both[1]["steps_trained"]


@pytest.mark.slow
@pytest.mark.parametrize("together", [1, 2])
def test_a_row_goes_on_where_it_stopped(config: Config, tmp_path: Path, together: int) -> None:
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, validation_fraction=0.3),
        train=dataclasses.replace(config.train, patience=2),
    )
    whole = _train(config, [0, 1], tmp_path / "whole", together=together)
    with pytest.raises(StoppedError):
        _train(config, [0, 1], tmp_path / "cut", together=together, say=stop_at(4))
    said: list[str] = []
    cut = _train(config, [0, 1], tmp_path / "cut", together=together, say=said.append)
    assert any("going on from step 2" in line for line in said)
    assert [without_seconds(r) for r in cut] == [without_seconds(r) for r in whole]


@pytest.mark.slow
def test_a_row_that_is_begun_anew_leaves_what_was_kept_of_it(
    config: Config, tmp_path: Path
) -> None:
    """As where it is trained with other seeds together, which begins it from the first step."""
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, validation_fraction=0.3),
        train=dataclasses.replace(config.train, steps=20),
    )
    row = tmp_path / "row"
    with pytest.raises(StoppedError):
        _train(config, [0, 1], row, together=2, say=stop_at(18))
    with Checkpoints(row / "seed0/checkpoints", read_only=True) as kept:
        assert kept.steps()[-1] > config.train.eval_every  # what stood in the way
    both = _train(config, [0, 1], row, together=1)
    assert [results["steps_trained"] for results in both] == [20, 20]
    whole = _train(config, [0, 1], tmp_path / "whole", together=1)
    assert both[0]["mAP"] == whole[0]["mAP"]


@pytest.mark.slow
def test_a_row_that_is_begun_anew_and_then_as_before_goes_on_from_neither(
    config: Config, tmp_path: Path
) -> None:
    """Seeds in training together lose their state when one of them is begun anew alone."""
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, validation_fraction=0.3),
        train=dataclasses.replace(config.train, steps=16),
    )
    row = tmp_path / "row"
    said: list[str] = []
    with pytest.raises(StoppedError):
        _train(config, [0, 1], row, together=2, say=stop_at(12))
    with pytest.raises(StoppedError):
        _train(config, [1], row, say=stop_at(4))
    both = _train(config, [0, 1], row, together=2, say=said.append)
    assert not any("going on" in line for line in said)
    whole = _train(config, [0, 1], tmp_path / "whole", together=2)
    assert [one["step"] for one in both] == [one["step"] for one in whole]
    assert [one["mAP"] for one in both] == [one["mAP"] for one in whole]
    assert not (row / ".training").exists()


def test_a_finished_row_is_not_trained_again(config: Config, row: Path, tmp_path: Path) -> None:
    shutil.copytree(row, tmp_path / "row")
    said: list[str] = []
    again = _train(config, [1, 0], tmp_path / "row", say=said.append)
    assert again == [results_of(row, 1), results_of(row, 0)]
    assert said == [f"{tmp_path}/row is finished"]
    other = dataclasses.replace(config, optim=mla.OptimConfig(learning_rate=0.1))
    with raises_user_error("seed0 holds a run with other settings"):
        _train(other, [0], tmp_path / "row")
    data = RunData.open(config)
    for name in ("train", "eval"):
        changed = dataclasses.replace(data, **{name: getattr(data, name)[:-1]})
        with raises_user_error(f"seed0: the {name} clips have changed since it was made"):
            train_row(config, [0], tmp_path / "row", changed)
    with raises_user_error("data.eval"):
        train_row(config, [0], tmp_path, dataclasses.replace(RunData.open(config), eval=None))
