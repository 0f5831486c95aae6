"""A table of models that were trained alike: figures over seeds, and which differences are real."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mla_jax.config import Config
from mla_jax.errors import UserError
from mla_jax.evaluation.bootstrap import interval
from mla_jax.evaluation.report import markdown_table

FIGURES = ("mAP", "AUC", "d_prime")
NUM_FIGURE_CLASSES, NUM_FIGURE_ROWS = 9, 7

Row = dict[str, Any]


def row_of(
    name: str,
    config: Config,
    results: Sequence[dict[str, Any]],
    stated: tuple[float, float | None, float | None] | None = None,
) -> Row:
    """A row, of the results of its seeds.

    Args:
      name: the row's.
      config: its setting; paths are left out of what is kept.
      results: what `mla_jax.rows.train_row` returns.
      stated: mAP, AUC and d-prime that an article states, if it does; None where it is not known.
    """
    settings = config.to_dict()
    del settings["train"]["seed"]
    for path in ("train", "eval", "class_list"):
        del settings["data"][path]
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
        **{figure: _spread([r[figure] for r in results]) for figure in FIGURES},
        "average": {
            "evaluations": len(results[0]["average"]["steps_averaged"]),
            **{figure: _spread([r["average"][figure] for r in results]) for figure in FIGURES},
        },
        "stated": dict(zip(FIGURES, stated, strict=True)) if stated else None,
        "bootstrap_mAP": np.mean([r["bootstrap_mAP"] for r in results], axis=0),
        "classes": results[0]["classes"],
        "class_average_precision": np.mean(
            [[_number(c["average_precision"]) for c in r["classes"]] for r in results], axis=0
        ),
    }


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _spread(values: list[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (0 of a single value) and the values themselves."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "spread": spread, "values": values}


def table_of(
    rows: Sequence[Row], figure_classes: Sequence[str] = (), figure_rows: Sequence[str] = ()
) -> dict[str, Any]:
    """The table as plain values: rows, the differences of all pairs, and what its figure shows.

    Args:
      rows: from `row_of`.
      figure_classes: as `choose_classes` takes them.
      figure_rows: names of rows, of which those that are there are shown; empty: the first seven, as many
        as can be told apart.

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


def choose_classes(
    names: Sequence[str], num_train_clips: Sequence[int] | np.ndarray, chosen: Sequence[str] = ()
) -> list[int]:
    """Indices of the classes that the figure shows.

    Args:
      names, num_train_clips: of every class, in index order.
      chosen: display names or indices; empty: nine from the most to the least frequent, by even factors.

    Raises:
      UserError: there is no such class.
    """
    if not chosen:
        frequency = np.log(np.maximum(num_train_clips, 1))
        shown: list[int] = []
        for aim in np.linspace(frequency.max(), frequency.min(), NUM_FIGURE_CLASSES):
            left = [k for k in range(len(names)) if k not in shown]
            shown += sorted(left, key=lambda k: abs(frequency[k] - aim))[:1]
        return sorted(shown, key=lambda k: -frequency[k])
    indices = {str(k): k for k in range(len(names))} | {name: k for k, name in enumerate(names)}
    for name in chosen:
        if name not in indices:
            raise UserError(
                f"there is no class {name!r}; give display names or indices of the class list"
            )
    return [indices[name] for name in chosen]


LEGEND = """mAP, AUC and d-prime at the last step; ± is the sample standard deviation over seeds.
averaged: of the mean of all evaluations' probabilities. stated: by the articles, of two million clips.
same mAP as: the rows whose difference in mAP has 0 in its 95 % interval, in a paired bootstrap over the eval
clips, which says nothing of other seeds; -: none. seconds: of a seed, evaluations included."""


def markdown(table: dict[str, Any]) -> str:
    """The table in Markdown.

    `averaged` is of the mean of all evaluations' probabilities; `same mAP as` numbers the rows whose
    difference in mAP has 0 in its 95 % interval, clips being resampled but not the training.
    """
    rows = table["rows"]
    number = {row["name"]: i for i, row in enumerate(rows, 1)}
    alike: dict[str, list[int]] = {row["name"]: [] for row in rows}
    for pair in table["differences"]:
        if not pair["real"]:
            alike[pair["a"]].append(number[pair["b"]])
            alike[pair["b"]].append(number[pair["a"]])
    lines = []
    for row in rows:
        lines.append(
            {
                "#": number[row["name"]],
                "row": row["name"],
                **{_TITLES[f]: _show(row[f]) for f in FIGURES},
                "averaged mAP / AUC / d-prime": " / ".join(
                    _show(row["average"][f]) for f in FIGURES
                ),
                "stated, on 2 million clips": _stated(row["stated"]),
                "same mAP as": ", ".join(map(str, sorted(alike[row["name"]]))) or None,
                "clips": f"{row['clips']['train']:,}",
                "steps": f"{row['steps']:,}",
                "seeds": len(row["seeds"]),
                "seconds": f"{np.mean(row['seconds']):,.0f}",
            }
        )
    return markdown_table(lines)


_TITLES = {"mAP": "mAP", "AUC": "AUC", "d_prime": "d-prime"}


def _show(figure: dict[str, Any]) -> str:
    shown = f"{figure['mean']:.3f}"
    if len(figure["values"]) > 1:
        shown += f" ± {figure['spread']:.3f}"
    return shown


def _stated(figures: dict[str, float | None] | None) -> str | None:
    if figures is None:
        return None
    return " / ".join("-" if value is None else f"{value:.3f}" for value in figures.values())
