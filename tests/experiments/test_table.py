"""The table of models, and its figure, of the results of runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mla_jax as mla
from experiments.table import comparison, figure
from tests.support.helpers import raises_user_error

COUNTS = (40, 7, 90, 3)


def results_of(seed: int, mAP: float, noise: float = 0.0) -> dict[str, Any]:
    """As `mla_jax.runs.seeds.train_row` returns them; `noise` is that of the resamples."""
    rng = np.random.default_rng(seed)
    resampled = mAP + 0.01 * np.random.default_rng(9).normal(size=200)
    scores = {"mAP": mAP, "AUC": 0.9, "d_prime": 1.8}
    return {
        **scores,
        "average": scores | {"steps_averaged": [2, 4, 6]},
        "bootstrap_mAP": (resampled + noise * rng.normal(size=200)).tolist(),
        "parameters": 72,
        "clips": {"train": 80, "eval": 40},
        "steps_trained": 6,
        "device": {"platform": "cpu", "kind": "cpu", "count": 1},
        "versions": {"jax": "0"},
        "seed": seed,
        "seeds_together": 1,
        "seconds": 1.5,
        "classes": [
            {
                "index": k,
                "name": f"Sound {k}",
                "num_train_clips": count,
                "average_precision": 0.1 * (k + 1),
            }
            for k, count in enumerate(COUNTS)
        ],
    }


ROWS = [
    comparison.row_of(name, mla.Config(), [results_of(s, mAP + 0.02 * s, noise) for s in (0, 1)], s)
    for name, mAP, noise, s in (
        ("best", 0.5, 0.0, (0.36, 0.97, 2.66)),
        ("worse", 0.4, 0.0, None),
        ("close", 0.49, 1.0, None),
    )
]


def test_the_table_has_means_spreads_and_real_differences() -> None:
    made = comparison.table_of(ROWS)
    best = made["rows"][0]
    assert best["mAP"]["mean"] == pytest.approx(0.51)
    assert best["mAP"]["spread"] == pytest.approx(0.02 / np.sqrt(2))
    low, high = best["mAP_interval"]
    assert low < best["mAP"]["mean"] < high
    real = {(d["a"], d["b"]): d["real"] for d in made["differences"]}
    assert real == {("best", "worse"): True, ("best", "close"): False, ("worse", "close"): False}
    assert "train" not in best["config"]["data"]
    text = comparison.markdown(made)
    assert "0.360 / 0.970 / 2.660" in text
    assert "0.510 ± 0.014" in text
    cells = [[c.strip() for c in line.split("|")] for line in text.splitlines()]
    alike = cells[0].index("same mAP as")
    assert [line[alike] for line in cells[2:]] == ["3", "3", "1, 2"]


def test_the_figures_classes_are_spread_over_the_frequencies() -> None:
    shown = comparison.table_of(ROWS)["figure_classes"]
    assert [c["num_train_clips"] for c in shown] == sorted(COUNTS, reverse=True)
    chosen = comparison.table_of(ROWS, ["2", "Sound 0"])["figure_classes"]
    assert [c["index"] for c in chosen] == [2, 0]
    with raises_user_error("no class 'Theremin'"):
        comparison.table_of(ROWS, ["Theremin"])


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    made = comparison.table_of(ROWS, figure_rows=["worse", "best"])
    assert made["figure_rows"] == ["best", "worse"]
    figure.class_precision_by_model(made, tmp_path / "figure3.png")
    assert (tmp_path / "figure3.png").read_bytes().startswith(b"\x89PNG")
