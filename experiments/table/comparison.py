"""A table of models that were trained alike: scores over seeds, and which differences are real."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from experiments.table import claims, paper
from mla_jax.commands.markdown import markdown_table
from mla_jax.config import Config
from mla_jax.errors import UserError
from mla_jax.evaluation.over_seeds import Certain, SeedScores, difference, mean_over_seeds
from mla_jax.evaluation.summaries import choose_classes
from mla_jax.storage import files

SCORES = ("mAP", "AUC", "d_prime")
BY_VALIDATION = "best validation mAP"
NUM_FIGURE_ROWS = 9  # as many as can be told apart in the picture

Row = dict[str, Any]


def row_of(name: str, config: Config, results: Sequence[dict[str, Any]]) -> Row:
    """A row of the table.

    Args:
      name: its name.
      config: its settings.
      results: of each seed, what `mla_jax.runs.seeds.train_row` returns.
    """
    settings = config.without_paths()
    del settings["train"]["seed"]
    first = results[0]
    parts = [first, *([first["last"]] if all("last" in r for r in results) else [])]
    return {
        "name": name,
        "config": settings,
        "parameters": first["parameters"],
        "clips": first["clips"],
        "steps": [r["steps_trained"] for r in results],
        "step_chosen_by": first.get("step_chosen_by"),
        "chosen_steps": [r.get("step", r["steps_trained"]) for r in results],
        "device": first["device"],
        "processor": first.get("processor"),
        "versions": first["versions"],
        "seeds": [r["seed"] for r in results],
        "seeds_together": first["seeds_together"],
        "seconds": [r["seconds"] for r in results],
        **_spreads(results),
        "last": _spreads([r["last"] for r in results]) if len(parts) > 1 else None,
        "average": {
            "evaluations": np.mean([len(r["average"]["steps_averaged"]) for r in results]),
            **_spreads([r["average"] for r in results]),
        },
        "stated": stated._asdict() if (stated := paper.stated(name)) else None,
        "scores": _seed_scores(results),
        "average_scores": _seed_scores([r["average"] for r in results]),
        "classes": first["classes"],
        "class_average_precision": np.mean(
            np.array([[c["average_precision"] for c in r["classes"]] for r in results], float),
            axis=0,
        ),
        "halves": np.array([r["halves"] for r in results if r.get("halves")], float),
    }


def _seed_scores(results: Sequence[dict[str, Any]]) -> SeedScores | None:
    if any("bootstrap_mAP" not in r for r in results):
        return None
    return SeedScores(
        np.array([r["mAP"] for r in results]), np.array([r["bootstrap_mAP"] for r in results])
    )


def _spreads(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {score: _spread([r[score] for r in results]) for score in SCORES}


def _spread(values: list[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (0 of a single value) and the values themselves.

    Values that are infinite, or not defined, have such a mean, and no deviation.
    """
    if not np.isfinite(values).all():
        spread = float("nan")
    else:
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "spread": spread, "values": values}


_NOT_IN_FILES = ("classes", "scores", "average_scores", "halves")


def table_of(
    rows: Iterable[Row],
    figure_classes: Sequence[str] = (),
    figure_rows: Sequence[str] = (),
    order: Sequence[str] = (),
) -> dict[str, Any]:
    """The table as plain values: rows, the differences of all pairs, claims, and what its picture shows.

    Args:
      rows: from `row_of`.
      figure_classes: the picture's classes, as `choose_classes` takes them; empty: those that the paper
        names, where the data have them all.
      figure_rows: names of the picture's rows; empty: the first nine.
      order: names of rows in the order of the table; others come behind them.

    Raises:
      UserError: there is no such class.
    """
    place = {name: i for i, name in enumerate(order)}
    rows = sorted(rows, key=lambda row: place.get(row["name"], len(place)))
    classes = rows[0]["classes"]
    shown = figure_classes_of(
        [c["name"] for c in classes], [c["num_train_clips"] for c in classes], figure_classes
    )
    made: dict[str, Any] = {
        "rows": [
            {
                **{k: v for k, v in row.items() if k not in _NOT_IN_FILES},
                "mAP_interval": mean_over_seeds(row["scores"])[1:3],
                "class_average_precision": [
                    float(row["class_average_precision"][k]) for k in shown
                ],
            }
            for row in rows
        ],
        "differences": [difference_of(a, b) for i, a in enumerate(rows) for b in rows[i + 1 :]],
        "figure_rows": [
            row["name"] for row in rows if not figure_rows or row["name"] in figure_rows
        ][:NUM_FIGURE_ROWS],
        "figure_classes": [
            {key: classes[k][key] for key in ("index", "name", "num_train_clips")} for k in shown
        ],
        "by_class": claims.gains_by_class({row["name"]: row["halves"] for row in rows}),
    }
    made["claims"] = claims.judge(made)
    return made


def figure_classes_of(
    names: Sequence[str], counts: Sequence[int] | np.ndarray, chosen: Sequence[str]
) -> list[int]:
    """Indices of the picture's classes: the chosen ones, else the paper's, else nine by frequency."""
    if not chosen and set(paper.FIGURE_CLASSES) <= set(names):
        chosen = list(paper.FIGURE_CLASSES)
    return choose_classes(names, counts, chosen)


def difference_of(a: Row, b: Row) -> dict[str, Any]:
    """How much higher the mAP of row a is than that of row b, also of the averages if both have them."""
    made = {"a": a["name"], "b": b["name"], **_plain(difference(a["scores"], b["scores"]))}
    if a["average_scores"] and b["average_scores"]:
        made["average"] = _plain(difference(a["average_scores"], b["average_scores"]))
    return made


def _plain(found: Certain) -> dict[str, Any]:
    return {
        "mAP": found.estimate,
        "low": found.low,
        "high": found.high,
        "real": found.real,
        "over_seeds": found.over_seeds,
    }


LEGEND = """by validation: mAP, AUC and d-prime at the step of the best validation mAP; last step: at the
last; ± is the sample standard deviation over seeds. averaged: of the mean of all evaluations' probabilities.
stated: by the articles, of two million clips. same mAP as: the rows whose difference in mAP (by validation,
else at the last step) has 0 in its 95 % interval, paired over the eval clips, and over seeds where both rows
have several; -: none. steps: trained, until no better validation mAP came, or to the last. seconds: of
a seed, evaluations included. How the claims are judged, experiments/table/claims.py says."""


def markdown(table: dict[str, Any]) -> str:
    """The table in Markdown, without the columns that no row fills; `LEGEND` explains them."""
    rows = table["rows"]
    number = {row["name"]: i for i, row in enumerate(rows, 1)}
    alike: dict[str, list[int]] = {row["name"]: [] for row in rows}
    for pair in table["differences"]:
        if not pair["real"]:
            alike[pair["a"]].append(number[pair["b"]])
            alike[pair["b"]].append(number[pair["a"]])
    lines = []
    for row in rows:
        by_validation = row if row.get("step_chosen_by") == BY_VALIDATION else None
        # Older files have no `last`: their scores are of the last step.
        last = row.get("last") or (None if by_validation else row)
        lines.append(
            {
                "#": number[row["name"]],
                "row": row["name"],
                "by validation: mAP / AUC / d-prime": _all_scores(by_validation),
                "averaged, the paper's rule": _all_scores(row["average"]),
                "last step": _all_scores(last),
                "stated, on 2 million clips": _stated(row["name"]),
                "same mAP as": ", ".join(map(str, sorted(alike[row["name"]]))) or None,
                "clips": f"{row['clips']['train']:,}",
                "chosen step": f"{np.mean(row['chosen_steps']):,.0f}" if by_validation else None,
                "steps": f"{np.mean(row['steps']):,.0f}",
                "seeds": len(row["seeds"]),
                "seconds": f"{np.mean(row['seconds']):,.0f}",
                "on": hardware(row),
            }
        )
    filled = [name for name in lines[0] if any(line[name] is not None for line in lines)]
    return markdown_table([{name: line[name] for name in filled} for line in lines])


def hardware(row: Row) -> str | None:
    """What a row was trained on, in a few words; None where its file does not say."""
    device, processor = row["device"], row.get("processor")
    if device["platform"] != "cpu":
        count = f"{device['count']} x " if device["count"] > 1 else ""
        return f"{count}{device['kind']}"
    return f"{processor['cores']} cores, {processor['name']}" if processor else None


def _all_scores(scores: dict[str, Any] | None) -> str | None:
    return " / ".join(_show(scores[score]) for score in SCORES) if scores else None


def _show(score: dict[str, Any]) -> str:
    shown, spread = f"{files.number(score['mean']):.3f}", files.number(score["spread"])
    if len(score["values"]) > 1 and not np.isnan(spread):
        shown += f" ± {spread:.3f}"
    return shown


def _stated(row: str) -> str | None:
    stated = paper.stated(row)
    return f"{stated.mAP:.3f} / {stated.AUC:.3f} / {stated.d_prime:.3f}" if stated else None


def figure_table(table: dict[str, Any]) -> str:
    """The classes of the picture: our lowest and best row of each, and what the paper's text says."""
    rows = [row for row in table["rows"] if row["name"] in table["figure_rows"]]
    lines = []
    for k, of_class in enumerate(table["figure_classes"]):
        scores = {row["name"]: files.number(row["class_average_precision"][k]) for row in rows}
        known = {name: ap for name, ap in scores.items() if not np.isnan(ap)}
        low, high = (f(known, key=lambda n: known[n]) if known else None for f in (min, max))
        lines.append(
            {
                "class": of_class["name"],
                "training clips": f"{of_class['num_train_clips']:,}",
                "lowest": f"{low} {known[low]:.3f}" if low else None,
                "best": f"{high} {known[high]:.3f}" if high else None,
                "the paper": paper.FIGURE_CLASSES.get(of_class["name"]),
            }
        )
    return markdown_table(lines)


def texts(table: dict[str, Any]) -> dict[str, str]:
    """The table, the verdicts and the figure's classes in Markdown, by the name of their markers."""
    return {
        "table1": markdown(table),
        "table1 claims": claims.markdown(table),
        "table1 classes": figure_table(table),
    }


def require_rows(wanted: Sequence[str], rows: Sequence[str], flag: str) -> None:
    """Checks that rows which a flag names are among those of the table.

    Raises:
      UserError: one is not.
    """
    for name in wanted:
        if name not in rows:
            raise UserError(f"--{flag}: there is no row {name!r}; the rows are {', '.join(rows)}")
