"""The table of models, and its figure, of the results of runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mla_jax as mla
from experiments.table import claims, comparison, figure, paper
from tests.support.helpers import raises_user_error

COUNTS = (40, 7, 90, 3)
# Made before rows had validation clips.
OLD = Path(__file__).with_name("table1_made_before.json")


def results_of(seed: int, mAP: float, noise: float = 0.0) -> dict[str, Any]:
    """As `mla_jax.runs.seeds.train_row` returns them; `noise` is that of the resamples."""
    rng = np.random.default_rng(seed)
    resampled = mAP + 0.01 * np.random.default_rng(9).normal(size=200)
    scores = {"mAP": mAP, "AUC": 0.9, "d_prime": 1.8}
    return {
        **scores,
        "average": scores
        | {"steps_averaged": [2, 4, 6], "bootstrap_mAP": (resampled + 0.001).tolist()},
        "last": {"step": 6, "mAP": mAP - 0.01, "AUC": 0.8, "d_prime": 1.2},
        "step": 4,
        "step_chosen_by": "best validation mAP",
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
    comparison.row_of(name, mla.Config(), [results_of(s, mAP + 1e-4 * s, noise) for s in (0, 1)])
    for name, mAP, noise in (
        ("yu2018:2-A-1-A", 0.5, 0.0),
        ("worse", 0.4, 0.0),
        ("close", 0.499, 1.0),
    )
]


def columns(text: str) -> dict[str, list[str]]:
    """The cells of a Markdown table, by the name of their column."""
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines()]
    return {name: [line[i] for line in lines[2:]] for i, name in enumerate(lines[0])}


def test_the_table_has_means_spreads_and_real_differences() -> None:
    made = comparison.table_of(ROWS)
    best = made["rows"][0]
    assert best["mAP"]["mean"] == pytest.approx(0.50005)
    assert best["mAP"]["spread"] == pytest.approx(1e-4 / np.sqrt(2))
    low, high = best["mAP_interval"]
    assert low < best["mAP"]["mean"] < high
    real = {(d["a"], d["b"]): d["real"] for d in made["differences"]}
    first = "yu2018:2-A-1-A"
    assert real == {(first, "worse"): True, (first, "close"): False, ("worse", "close"): False}
    assert all(d["over_seeds"] for d in made["differences"])
    assert "train" not in best["config"]["data"]
    table = columns(comparison.markdown(made))
    assert table["stated, on 2 million clips"] == ["0.360 / 0.970 / 2.660", "-", "-"]
    assert table["by validation: mAP / AUC / d-prime"][0].startswith("0.500 ± 0.000 / 0.900")
    assert table["last step"][0].startswith("0.490 ± 0.000 / 0.800")
    assert table["chosen step"] == ["4"] * 3
    assert table["same mAP as"] == ["3", "3", "1, 2"]


def test_a_file_made_before_there_was_validation_is_shown() -> None:
    """Its scores are of the last step, and what it does not have is not there."""
    made = json.loads(OLD.read_text(encoding="utf-8"))
    table = columns(comparison.markdown(made))
    assert table["last step"][0] == "0.254 / 0.951 / 2.339"
    assert table["stated, on 2 million clips"][5] == "0.311 / 0.957 / 2.430"
    assert not {"by validation: mAP / AUC / d-prime", "chosen step"} & table.keys()
    verdicts = {c["claim"][:2]: c["verdict"] for c in claims.judge(made)}
    assert verdicts == {
        "1a": claims.CANNOT_TELL,
        "1b": claims.DOES_NOT,
        "2.": claims.HOLDS,
        "3.": claims.CANNOT_TELL,
    }
    assert "one seed" in claims.markdown(made)


def test_the_figures_classes_are_spread_over_the_frequencies() -> None:
    shown = comparison.table_of(ROWS)["figure_classes"]
    assert [c["num_train_clips"] for c in shown] == sorted(COUNTS, reverse=True)
    chosen = comparison.table_of(ROWS, ["2", "Sound 0"])["figure_classes"]
    assert [c["index"] for c in chosen] == [2, 0]
    with raises_user_error("no class 'Theremin'"):
        comparison.table_of(ROWS, ["Theremin"])


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    made = comparison.table_of(ROWS, figure_rows=["worse", "yu2018:2-A-1-A"])
    assert made["figure_rows"] == ["yu2018:2-A-1-A", "worse"]
    figure.class_precision_by_model(made, tmp_path / "figure3.png")
    assert (tmp_path / "figure3.png").read_bytes().startswith(b"\x89PNG")


def test_no_figure_is_drawn_before_one_of_its_rows_is_trained(tmp_path: Path) -> None:
    made = comparison.table_of(ROWS, figure_rows=["yu2018:9-A"])
    figure.class_precision_by_model(made, tmp_path / "figure3.png")
    assert not list(tmp_path.iterdir())


def test_the_figure_shows_the_papers_classes_where_the_data_have_them() -> None:
    names = ["Bell", *reversed(paper.FIGURE_CLASSES), "Music"]
    shown = comparison.figure_classes_of(names, range(1, 11), ())
    assert [names[k] for k in shown] == list(paper.FIGURE_CLASSES)
    assert {name for name, _ in paper.FIGURE_POINTS} <= set(names)
    fewer = comparison.figure_classes_of(names[:5], range(1, 6), ())
    assert [names[k] for k in fewer] == names[:5][::-1]


def test_the_classes_are_shown_with_what_the_paper_says() -> None:
    results = results_of(0, 0.5)
    results["classes"][2]["name"] = "Speech"
    rows = [comparison.row_of(f"yu2018:{a}", mla.Config(), [results]) for a in ("3-A", "9-A")]
    made = comparison.table_of(rows)
    table = columns(comparison.figure_table(made))
    speech = table["class"].index("Speech")
    assert "5-A-4-A 0.730, 9-A 0.690" in table["the paper"][speech]
    assert table["best"][speech] == "yu2018:3-A 0.300"
    stated = [row["stated"] and row["stated"]["mAP"] for row in made["rows"]]
    assert stated == [0.336, 0.305]
