"""The tables of a report, as what the page's template takes: captions, headings, cells as text."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mla_jax.evaluation.bootstrap import interval
from mla_jax.evaluation.report_data import Report, ReportRun

Table = dict[str, Any]

NOTHING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


def _table(
    caption: str, head: list[str], rows: list[list[str]], words: Sequence[str] = ()
) -> Table:
    """Of headings and rows of text; columns are numbers, set to the right, but the first and `words`."""
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
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}f}"


def _span(low_high: tuple[float, float] | None, sign: str = "") -> str:
    if low_high is None:
        return NOTHING
    low, high = low_high
    return f"{low:{sign}.3f} to {high:{sign}.3f}"


def results(report: Report) -> Table:
    """A row a run: its figures, with the interval of the mAP."""
    rows = []
    for run in report.runs:
        f = run.figures
        rows.append(
            [
                run.name,
                number(f.get("mAP")),
                _span(run.mean_interval()),
                number(f.get("AUC")),
                number(f.get("d_prime")),
                number(run.step or None),
                str(run.facts.get("step_chosen_by") or NOTHING),
                number(f.get("num_clips")),
            ]
        )
    head = ["run", "mAP", "95 % interval", "AUC", "d-prime", "step", "step chosen by", "clips"]
    return _table("Means over classes", head, rows, ("step chosen by",))


def results_note(report: Report) -> str:
    """What the figures are of, and how sure they are."""
    sizes = {len(run.resampled) for run in report.runs if run.resampled is not None}
    text = "mAP is mean average precision, AUC the area under the ROC curve, d-prime that AUC as a distance."
    if sizes:
        text += (
            f" The interval holds the mAP of 95 % of {max(sizes)} resamples of the clips, set about the "
            "figure: what other clips would say of this trained model, not what other seeds would."
        )
    if report.data:
        text += f" Evaluated on {report.data}."
    return text


def segments(report: Report) -> Table | None:
    """A row a run: how well it tells when classes sound; None where no strong labels were given."""
    columns = {
        "macro AP": "macro_average_precision",
        "macro AUC": "macro_auc",
        "micro AP": "micro_average_precision",
        "macro F1": "macro_f1",
        "error rate": "error_rate",
        "clips": "num_clips",
        "seconds": "num_segments",
    }
    rows = [
        [run.name, *(number(run.segment_figures[name]) for name in columns.values())]
        for run in report.runs
        if run.segment_figures
    ]
    return _table("By seconds, from strong labels", ["run", *columns], rows) if rows else None


def comparison(report: Report) -> Table | None:
    """A row a pair of runs that were scored on the same resamples."""
    rows = []
    scored = [run for run in report.runs if run.resampled is not None]
    for i, a in enumerate(scored):
        for b in scored[i + 1 :]:
            difference = a.figures["mAP"] - b.figures["mAP"]
            assert a.resampled is not None
            assert b.resampled is not None
            low, high = interval(a.resampled - b.resampled, difference)
            verdict = "not told apart"
            if not low <= 0 <= high:
                verdict = f"{a.name if difference > 0 else b.name} is ahead"
            rows.append(
                [
                    f"{a.name} {_MINUS} {b.name}",
                    f"{difference:+.3f}",
                    _span((low, high), "+"),
                    verdict,
                ]
            )
    if not rows:
        return None
    head = ["runs", "difference in mAP", "95 % interval", "verdict"]
    return _table("Differences in mAP", head, rows, ("verdict",))


def facts(report: Report) -> Table:
    """A column a run: the model, the data, how long, and on what."""
    lines = {
        "architecture": lambda r: r.settings["model.architecture"],
        "pooling": lambda r: r.settings["model.pooling"],
        "parameters": lambda r: number(r.facts.get("parameters")),
        "trained on": lambda r: r.settings["data.train"] or NOTHING,
        "training clips": lambda r: number(r.facts.get("clips", {}).get("train")),
        "held-out clips": lambda r: number(r.facts.get("clips", {}).get("validation")),
        "steps trained": lambda r: number(r.facts.get("steps_trained")),
        "clips a step": lambda r: number(r.settings["data.batch_size"]),
        "seed": lambda r: str(r.settings["train.seed"]),
        "minutes, evaluations included": lambda r: number(_minutes(r), 1),
        "device": _device,
        "versions": _versions,
    }
    rows = [[name, *(str(show(run)) for run in report.runs)] for name, show in lines.items()]
    head = ["", *(run.name for run in report.runs)]
    return _table("Models and data", head, rows, head)


def _minutes(run: ReportRun) -> float | None:
    seconds = run.facts.get("seconds")
    return None if seconds is None else seconds / 60


def _device(run: ReportRun) -> str:
    device = run.facts.get("device")
    return f"{device['count']} x {device['kind']}" if device else NOTHING


def _versions(run: ReportRun) -> str:
    versions = run.facts.get("versions") or {}
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or NOTHING


def settings(report: Report, *, only_differing: bool = False) -> Table | None:
    """A column a run; None where nothing differs and only that is asked for."""
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
    return _table(caption, head, rows, head)


def _setting(value: Any) -> str:
    return NOTHING if value is None or value == "" else str(value)


def classes(report: Report) -> Table | None:
    """The table that can be sorted and searched; None where no run was evaluated.

    A heading has the `kind` n (numbers; `falling` where the largest comes first) and the `sort` that the rows
    stand in. A cell has its `text`, and the `value` to sort by, empty where there is none.
    """
    runs = [run for run in report.runs if run.average_precision is not None]
    if not runs:
        return None
    columns: list[tuple[str, np.ndarray, str]] = []
    trained = next((r.num_train_clips for r in runs if r.num_train_clips is not None), None)
    if trained is not None:
        columns.append(("training clips", trained, ",.0f"))
    if runs[0].num_positives is not None:
        columns.append(("eval clips", runs[0].num_positives, ",.0f"))
    several = len(runs) > 1
    first = len(columns)
    for run in runs:
        assert run.average_precision is not None
        label = run.name if several else "average precision"
        columns.append((label, run.average_precision, ".3f"))
    if not several and runs[0].auc is not None:
        columns.append(("AUC", runs[0].auc, ".3f"))
    if len(runs) == 2:
        columns.append(("difference", columns[first][1] - columns[first + 1][1], "+.3f"))
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
            "name": report.class_names[k],
            "id": report.class_ids[k],
            "cells": [_cell(values[k], form) for _, values, form in columns],
        }
        for k in order
    ]
    caption = "average precision by run" if several else "average precision and AUC"
    if len(runs) == 2:
        caption += f"; difference is {runs[0].name} minus {runs[1].name}"
    return {"caption": caption, "head": head, "rows": rows}


def _cell(value: Any, form: str) -> dict[str, str]:
    value = float(value)
    if math.isnan(value):
        return {"text": NOTHING, "value": ""}
    text = f"{value:{form}}".replace("-", _MINUS)
    if float(text.replace(",", "").replace(_MINUS, "-")) == 0:  # not -0.000
        text = f"{0.0:{form.lstrip('+')}}"
    return {"text": text, "value": f"{value:.6g}"}
