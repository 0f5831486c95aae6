"""A table of models that were trained alike: scores over seeds, and which differences are real."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mla_jax.commands.markdown import markdown_table
from mla_jax.config import Config
from mla_jax.evaluation.bootstrap import interval
from mla_jax.evaluation.summaries import choose_classes
from mla_jax.storage import files

SCORES = ("mAP", "AUC", "d_prime")
NUM_FIGURE_ROWS = 7  # as many as can be told apart in the picture

Row = dict[str, Any]


def row_of(
    name: str,
    config: Config,
    results: Sequence[dict[str, Any]],
    stated: tuple[float, float | None, float | None] | None = None,
) -> Row:
    """A row of the table.

    Args:
      name: its name.
      config: its settings.
      results: of each seed, what `mla_jax.runs.seeds.train_row` returns.
      stated: mAP, AUC and d-prime that an article states, each None if unknown; None without an article.
    """
    settings = config.without_paths()
    del settings["train"]["seed"]
    return {
        "name": name,
        "config": settings,
        "parameters": results[0]["parameters"],
        "clips": results[0]["clips"],
        "steps": results[0]["steps_trained"],
        "device": results[0]["device"],
        "versions": results[0]["versions"],
        "seeds": [r["seed"] for r in results],
        "seeds_together": results[0]["seeds_together"],
        "seconds": [r["seconds"] for r in results],
        **{score: _spread([r[score] for r in results]) for score in SCORES},
        "average": {
            "evaluations": len(results[0]["average"]["steps_averaged"]),
            **{score: _spread([r["average"][score] for r in results]) for score in SCORES},
        },
        "stated": dict(zip(SCORES, stated, strict=True)) if stated else None,
        "bootstrap_mAP": np.mean([r["bootstrap_mAP"] for r in results], axis=0),
        "classes": results[0]["classes"],
        "class_average_precision": np.mean(
            np.array([[c["average_precision"] for c in r["classes"]] for r in results], float),
            axis=0,
        ),
    }


def _spread(values: list[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (0 of a single value) and the values themselves.

    Values that are infinite, or not defined, have such a mean, and no deviation.
    """
    if not np.isfinite(values).all():
        spread = float("nan")
    else:
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "spread": spread, "values": values}


def table_of(
    rows: Sequence[Row], figure_classes: Sequence[str] = (), figure_rows: Sequence[str] = ()
) -> dict[str, Any]:
    """The table as plain values: rows, the differences of all pairs, and what its picture shows.

    Args:
      rows: from `row_of`.
      figure_classes: the picture's classes, as `choose_classes` takes them.
      figure_rows: names of the picture's rows; empty: the first seven.

    Raises:
      UserError: there is no such class.
    """
    classes = rows[0]["classes"]
    shown = choose_classes(
        [c["name"] for c in classes], [c["num_train_clips"] for c in classes], figure_classes
    )
    return {
        "rows": [
            {
                **{k: v for k, v in row.items() if k not in ("classes", "bootstrap_mAP")},
                "mAP_interval": interval(row["bootstrap_mAP"], row["mAP"]["mean"]),
                "class_average_precision": [
                    float(row["class_average_precision"][k]) for k in shown
                ],
            }
            for row in rows
        ],
        "differences": [_difference(a, b) for i, a in enumerate(rows) for b in rows[i + 1 :]],
        "figure_rows": [
            row["name"] for row in rows if not figure_rows or row["name"] in figure_rows
        ][:NUM_FIGURE_ROWS],
        "figure_classes": [
            {key: classes[k][key] for key in ("index", "name", "num_train_clips")} for k in shown
        ],
    }


def _difference(a: Row, b: Row) -> dict[str, Any]:
    difference = a["mAP"]["mean"] - b["mAP"]["mean"]
    low, high = interval(a["bootstrap_mAP"] - b["bootstrap_mAP"], difference)
    return {
        "a": a["name"],
        "b": b["name"],
        "mAP": difference,
        "low": low,
        "high": high,
        "real": not low <= 0 <= high,
    }


LEGEND = """mAP, AUC and d-prime at the last step; ± is the sample standard deviation over seeds.
averaged: of the mean of all evaluations' probabilities. stated: by the articles, of two million clips.
same mAP as: the rows whose difference in mAP has 0 in its 95 % interval, in a paired bootstrap over the eval
clips, which says nothing of other seeds; -: none. seconds: of a seed, evaluations included."""


def markdown(table: dict[str, Any]) -> str:
    """The table in Markdown; `LEGEND` explains its columns."""
    rows = table["rows"]
    number = {row["name"]: i for i, row in enumerate(rows, 1)}
    alike: dict[str, list[int]] = {row["name"]: [] for row in rows}
    for pair in table["differences"]:
        if not pair["real"]:
            alike[pair["a"]].append(number[pair["b"]])
            alike[pair["b"]].append(number[pair["a"]])
    return markdown_table(
        [
            {
                "#": number[row["name"]],
                "row": row["name"],
                **{score.replace("_", "-"): _show(row[score]) for score in SCORES},
                "averaged mAP / AUC / d-prime": " / ".join(
                    _show(row["average"][s]) for s in SCORES
                ),
                "stated, on 2 million clips": _stated(row["stated"]),
                "same mAP as": ", ".join(map(str, sorted(alike[row["name"]]))) or None,
                "clips": f"{row['clips']['train']:,}",
                "steps": f"{row['steps']:,}",
                "seeds": len(row["seeds"]),
                "seconds": f"{np.mean(row['seconds']):,.0f}",
            }
            for row in rows
        ]
    )


def _show(score: dict[str, Any]) -> str:
    shown, spread = f"{files.number(score['mean']):.3f}", files.number(score["spread"])
    if len(score["values"]) > 1 and not np.isnan(spread):
        shown += f" ± {spread:.3f}"
    return shown


def _stated(scores: dict[str, float | None] | None) -> str | None:
    if scores is None:
        return None
    return " / ".join("-" if value is None else f"{value:.3f}" for value in scores.values())
