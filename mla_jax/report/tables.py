"""The tables of a report, as what the page's template takes: captions, headings, cells as text."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mla_jax.evaluation.bootstrap import interval
from mla_jax.report.contents import Report, ReportRun

Table = dict[str, Any]

NOTHING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


def make_table(
    caption: str, head: list[str], rows: list[list[str]], words: Sequence[str] = ()
) -> Table:
    """A table of text; all columns but the first and those in `words` are numbers, set to the right."""
    return {
        "caption": caption,
        "head": [
            {"text": text, "number": i > 0 and text not in words} for i, text in enumerate(head)
        ],
        "rows": rows,
    }


def number(value: Any, digits: int = 3) -> str:
    """A number to read; a dash for what is not there, or not a number."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    if isinstance(value, str):  # several numbers, of an average
        return value
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float) and math.isinf(value):
        return "\N{INFINITY}" if value > 0 else f"{_MINUS}\N{INFINITY}"
    return f"{value:.{digits}f}"


def signed(value: float) -> str:
    """A difference; a dash where it is not a number."""
    return NOTHING if math.isnan(value) else f"{value:+.3f}"


def span_text(low_high: tuple[float, float] | None, sign: str = "") -> str:
    """An interval, in words; a dash for none."""
    if low_high is None or any(map(math.isnan, low_high)):
        return NOTHING
    low, high = low_high
    return f"{low:{sign}.3f} to {high:{sign}.3f}"


def results(report: Report) -> Table:
    """A row for each run: its metrics, with the interval of the mAP."""
    rows = [
        [
            run.name,
            number(run.metrics and run.metrics.mAP),
            span_text(run.interval()),
            number(run.metrics and run.metrics.AUC),
            number(run.metrics and run.metrics.d_prime),
            number(run.step or None),
            str(run.results.get("step_chosen_by") or NOTHING),
            number(run.metrics and run.metrics.num_clips),
        ]
        for run in report.runs
    ]
    head = ["run", "mAP", "95 % interval", "AUC", "d-prime", "step", "chosen by", "clips"]
    return make_table("Means over classes", head, rows, ("chosen by",))


def results_note(report: Report) -> str:
    """What the metrics are of, and how sure they are."""
    sizes = {len(run.resampled) for run in report.runs if run.resampled is not None}
    text = (
        "mAP is mean average precision, AUC the area under the ROC curve, and d-prime sqrt(2) times the "
        "inverse normal CDF of AUC, each the mean over classes."
    )
    if sizes:
        text += (
            f" The interval holds the mAP of 95 % of {max(sizes)} resamples of the clips, set about the "
            "figure. It covers the choice of clips, not of seeds."
        )
    if report.data is not None:
        clips = report.data.clips
        text += (
            f" Evaluated on {report.data.path}: {len(clips):,} clips of up to {clips.max_segments} segments "
            f"of {clips.num_features} features, {clips.embeddings.dtype}."
        )
    return text


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two of a kind that were judged on the same resamples of the clips, by one figure.

    Attributes:
      first, second: their names.
      difference: the first's figure minus the second's.
      span: its 95 % interval.
    """

    first: str
    second: str
    difference: float
    span: tuple[float, float]

    @property
    def verdict(self) -> str:
        """Which one is ahead, in words."""
        return f"{self.ahead} is ahead" if self.ahead else "not told apart"

    @property
    def ahead(self) -> str:
        """The one that is ahead by more than the choice of clips explains; or nothing."""
        low, high = self.span
        if low <= 0 <= high or math.isnan(self.difference):
            return ""
        return self.first if self.difference > 0 else self.second


def pairs(report: Report) -> list[Pair]:
    """Every pair of runs that can be compared."""
    evaluated = [
        (run.name, run.metrics.mAP, run.resampled)
        for run in report.runs
        if run.metrics is not None and run.resampled is not None
    ]
    return [
        Pair(a, b, a_map - b_map, interval(a_resampled - b_resampled, a_map - b_map))
        for (a, a_map, a_resampled), (b, b_map, b_resampled) in itertools.combinations(evaluated, 2)
    ]


def comparison(report: Report) -> Table | None:
    """A row for each pair of runs that were evaluated on the same resamples; None without such pairs."""
    rows = [
        [
            f"{pair.first} {_MINUS} {pair.second}",
            signed(pair.difference),
            span_text(pair.span, "+"),
            pair.verdict,
        ]
        for pair in pairs(report)
    ]
    if not rows:
        return None
    head = ["runs", "difference in mAP", "95 % interval", "verdict"]
    return make_table("Differences in mAP", head, rows, ("verdict",))


def facts(report: Report) -> Table:
    """A column for each run: the model, the data, how long it trained, and on what."""
    lines = {
        "architecture": lambda r: r.settings["model.architecture"],
        "pooling": lambda r: r.settings["model.pooling"],
        "parameters": lambda r: number(r.results.get("parameters")),
        "trained on": lambda r: r.settings["data.train"] or NOTHING,
        "embeddings": lambda r: (r.trained and r.trained.embedding) or NOTHING,
        "training clips": lambda r: number(r.results.get("clips", {}).get("train")),
        "held-out clips": lambda r: number(r.results.get("clips", {}).get("validation")),
        "steps trained": lambda r: number(r.results.get("steps_trained")),
        "clips a step": lambda r: number(r.settings["data.batch_size"]),
        "seed": lambda r: str(r.settings["train.seed"]),
        "minutes, evaluations included": lambda r: number(_minutes(r), 1),
        "device": _device,
        "versions": _versions,
    }
    rows = [[name, *(str(show(run)) for run in report.runs)] for name, show in lines.items()]
    head = ["", *(run.name for run in report.runs)]
    return make_table("Models and data", head, rows, head)


def _minutes(run: ReportRun) -> float | None:
    seconds = run.results.get("seconds")
    return None if seconds is None else seconds / 60


def _device(run: ReportRun) -> str:
    device = run.results.get("device")
    return f"{device['count']} x {device['kind']}" if device else NOTHING


def _versions(run: ReportRun) -> str:
    versions = run.results.get("versions") or {}
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or NOTHING


def settings(report: Report, *, only_differing: bool = False) -> Table | None:
    """A column for each run; with `only_differing` None where no setting differs."""
    names = list(dict.fromkeys(name for run in report.runs for name in run.settings))
    rows = []
    for name in names:
        values = [_setting(run.settings.get(name)) for run in report.runs]
        if not only_differing or len(set(values)) > 1:
            rows.append([name, *values])
    if only_differing and not rows:
        return None
    caption = "Settings that differ" if only_differing else "Settings"
    head = ["setting", *(run.name for run in report.runs)]
    return make_table(caption, head, rows, head)


def _setting(value: Any) -> str:
    return NOTHING if value is None or value == "" else str(value)


def classes(report: Report) -> Table | None:
    """The table that can be sorted and searched; None where no run was evaluated.

    A heading has a `kind`: n for numbers, n falling where a click puts the largest first. Its `sort` says
    how the rows are sorted by it, if they are. A cell has a `text`, and the `value` to sort by, empty where
    there is none.
    """
    metrics = {run.name: run.metrics for run in report.runs if run.metrics is not None}
    if not metrics:
        return None
    names, of_runs = list(metrics), list(metrics.values())
    several = len(names) > 1
    columns: list[tuple[str, np.ndarray, str]] = []
    if report.num_train_clips is not None:
        columns.append(("training clips", report.num_train_clips, ",.0f"))
    columns.append(("eval clips", of_runs[0].num_positives, ",.0f"))
    first = len(columns)
    for name, one in metrics.items():
        label = name if several else "average precision"
        columns.append((label, one.average_precision, ".3f"))
    if not several:
        columns.append(("AUC", of_runs[0].auc, ".3f"))
    if len(names) == 2:
        difference = of_runs[0].average_precision - of_runs[1].average_precision
        columns.append(("difference", difference, "+.3f"))
    order = np.argsort(-columns[first][1], kind="stable")
    head = [
        {"text": "index", "kind": "n", "sort": ""},
        {"text": "class", "kind": "", "sort": ""},
        *({"text": text, "kind": "n falling", "sort": ""} for text, _, _ in columns),
    ]
    head[2 + first]["sort"] = "descending"
    rows = [
        {
            "index": int(k),
            "name": report.classes.shown_names[k],
            "id": report.classes.mids[k],
            "cells": [_cell(values[k], form) for _, values, form in columns],
        }
        for k in order
    ]
    caption = "average precision by run" if several else "average precision and AUC"
    if len(names) == 2:
        caption += f"; difference is {names[0]} minus {names[1]}"
    return {"caption": caption, "head": head, "rows": rows}


def _cell(value: Any, form: str) -> dict[str, str]:
    value = float(value)
    if math.isnan(value):
        return {"text": NOTHING, "value": ""}
    text = f"{value:{form}}".replace("-", _MINUS)
    if float(text.replace(",", "").replace(_MINUS, "-")) == 0:  # not -0.000
        text = f"{0.0:{form.lstrip('+')}}"
    return {"text": text, "value": f"{value:.6g}"}
