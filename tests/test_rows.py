"""Rows of a table: several seeds, resumed, averaged; and the table and the figure made of them."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import mla_jax as mla
from mla_jax import files, rows, runs, trained
from mla_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from mla_jax.evaluation import plots, table
from mla_jax.run_data import RunData
from tests.helpers import raises_user_error

CONFIG = Config(
    model=ModelConfig(architecture="1-A", hidden_units=8),
    data=DataConfig(batch_size=16),
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
    options.setdefault("say", lambda _: None)
    return rows.train_row(config, seeds, folder, RunData.open(config), **options)


def _figures(results: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in results.items() if k != "seconds"}


@pytest.fixture(scope="module")
def row(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished row of two seeds, trained one after the other."""
    folder = tmp_path_factory.mktemp("table") / "row"
    _train(config, [0, 1], folder)
    return folder


def test_a_seed_is_a_finished_run_like_any_other(config: Config, row: Path, tmp_path: Path) -> None:
    alone = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=1))
    expected = runs.train(alone, tmp_path / "run", say=lambda _: None)
    results = files.read_json(row / "seed1" / "results.json")
    extra = {"average", "bootstrap_mAP", "seeds_together"}
    assert {k: v for k, v in _figures(results).items() if k not in extra} == _figures(
        files.plain(expected)
    )
    ours, theirs = (trained.TrainedModel.open(w) for w in (row / "seed1", tmp_path / "run"))
    assert ours.config == theirs.config
    jax.tree.map(np.testing.assert_array_equal, ours.variables, theirs.variables)
    # The average is that of `evaluate --average_from` over the checkpoints of all evaluations.
    average = trained.evaluate(tmp_path / "run", config.data.eval, average_from=1)
    assert results["average"]["steps_averaged"] == average["steps_averaged"] == [2, 4, 6]
    assert results["average"]["mAP"] == pytest.approx(average["mAP"], rel=1e-6)
    assert results["average"]["mAP"] != results["mAP"]
    assert not (row / ".training").exists()


def test_seeds_that_train_together_are_the_seeds_alone(
    config: Config, row: Path, tmp_path: Path
) -> None:
    together = _train(config, [0, 1], tmp_path / "row", together=2)
    for seed, results in enumerate(together):
        alone = files.read_json(row / f"seed{seed}" / "results.json")
        assert results["mAP"] == pytest.approx(alone["mAP"], abs=1e-3)
        assert results["seeds_together"] == 2
        one, two = (
            trained.TrainedModel.open(f / f"seed{seed}").variables for f in (row, tmp_path / "row")
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), one, two)
    assert together[0]["mAP"] != together[1]["mAP"]


@pytest.mark.parametrize("together", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_row_goes_on_where_it_stopped(config: Config, tmp_path: Path, together: int) -> None:
    class StoppedError(Exception):
        pass

    def stop_at_step_4(line: str) -> None:
        if "step 4:" in line:
            raise StoppedError

    whole = _train(config, [0, 1], tmp_path / "whole", together=together)
    with pytest.raises(StoppedError):
        _train(config, [0, 1], tmp_path / "cut", together=together, say=stop_at_step_4)
    said: list[str] = []
    cut = _train(config, [0, 1], tmp_path / "cut", together=together, say=said.append)
    assert any("going on from step 2" in line for line in said)
    assert [_figures(r) for r in cut] == [_figures(r) for r in whole]


def test_a_finished_row_is_not_trained_again(
    config: Config, row: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(row, tmp_path / "row")
    monkeypatch.setattr(rows, "fit", lambda *_, **__: pytest.fail("trained again"))
    before = (tmp_path / "row/seed0/results.json").read_text()
    assert len(_train(config, [1, 0], tmp_path / "row")) == 2
    assert (tmp_path / "row/seed0/results.json").read_text() == before
    other = dataclasses.replace(config, optim=mla.OptimConfig(learning_rate=0.1))
    with raises_user_error("seed0 holds a run with other settings"):
        _train(other, [0], tmp_path / "row")
    with raises_user_error("data.eval"):
        rows.train_row(config, [0], tmp_path, dataclasses.replace(RunData.open(config), eval=None))


def _rows(config: Config, row: Path) -> list[table.Row]:
    results = [files.read_json(row / f"seed{s}" / "results.json") for s in (0, 1)]
    worse = [
        {**r, "mAP": r["mAP"] - 0.1, "bootstrap_mAP": [x - 0.1 for x in r["bootstrap_mAP"]]}
        for r in results
    ]
    rng = np.random.default_rng(0)
    close = [
        {**r, "bootstrap_mAP": [x + rng.normal() for x in r["bootstrap_mAP"]]} for r in results
    ]
    stated = (0.36, 0.97, 2.66)
    named = {"best": (results, stated), "worse": (worse, None), "close": (close, None)}
    return [table.row_of(name, config, r, s) for name, (r, s) in named.items()]


def test_the_table_has_means_spreads_and_real_differences(config: Config, row: Path) -> None:
    made = table.table_of(_rows(config, row))
    best = made["rows"][0]
    values = [files.read_json(row / f"seed{s}" / "results.json")["mAP"] for s in (0, 1)]
    assert best["mAP"]["mean"] == pytest.approx(np.mean(values))
    assert best["mAP"]["spread"] == pytest.approx(abs(values[0] - values[1]) / np.sqrt(2))
    low, high = best["mAP_interval"]
    assert low < best["mAP"]["mean"] < high
    real = {(d["a"], d["b"]): d["real"] for d in made["differences"]}
    assert real == {("best", "worse"): True, ("best", "close"): False, ("worse", "close"): False}
    assert "train" not in best["config"]["data"]
    text = table.markdown(made)
    assert "0.360 / 0.970 / 2.660" in text
    assert f"{best['mAP']['mean']:.3f} ± {best['mAP']['spread']:.3f}" in text
    cells = [[c.strip() for c in line.split("|")] for line in text.splitlines()]
    alike = cells[0].index("same mAP as")
    assert [line[alike] for line in cells[2:]] == ["3", "3", "1, 2"]


def test_the_figures_classes_are_spread_over_the_frequencies(config: Config, row: Path) -> None:
    made = _rows(config, row)
    counts = [c["num_train_clips"] for c in table.table_of(made)["figure_classes"]]
    assert len(counts) == 4
    assert counts == sorted(counts, reverse=True)
    chosen = table.table_of(made, ["2", made[0]["classes"][0]["name"]])["figure_classes"]
    assert [c["index"] for c in chosen] == [2, 0]
    with raises_user_error("no class 'Theremin'"):
        table.table_of(made, ["Theremin"])


def test_the_figure_is_drawn(config: Config, row: Path, tmp_path: Path) -> None:
    made = table.table_of(_rows(config, row), figure_rows=["worse", "best"])
    assert made["figure_rows"] == ["best", "worse"]
    plots.class_precision_by_model(made, tmp_path / "figure3.png")
    assert (tmp_path / "figure3.png").read_bytes().startswith(b"\x89PNG")
