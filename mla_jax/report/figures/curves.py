"""Curves: training as it went, and precision against recall."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mla_jax.errors import UserError
from mla_jax.report.figures.style import (
    SMALL,
    legend_below,
    line_style,
    new_figure,
    plain_text,
    tidy,
)

_SETS = {"eval_mAP": "eval", "validation_mAP": "held-out training clips"}
_POINTS = 200


def training_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Loss and mAP by step of one or several runs.

    The mAP is that of the eval clips; of the held-out training clips where a run has no other.

    Args:
      runs: by name, the entries of metrics.jsonl (`mla_jax.runs.folder.RunFolder.metrics`).

    Raises:
      UserError: there are no entries.
    """
    if not any(runs.values()):
        raise UserError("there is nothing to draw: no run has logged its training yet")
    figure = new_figure(6.8, 3.0 + 0.22 * ((len(runs) + 1) // 2))
    left, right = figure.subplots(1, 2)
    shown = set()
    for i, (name, log) in enumerate(runs.items()):
        style = line_style(i) | {"markersize": 4, "linewidth": 1.5, "label": plain_text(name, 40)}
        loss = [(r["step"], r["loss"]) for r in log if r.get("loss") is not None]
        left.plot(*_columns(loss), **style | {"marker": ""})
        key = next((k for k in _SETS if any(k in r for r in log)), None)
        if key:
            points = [(r["step"], r[key]) for r in log if r.get(key) is not None]
            right.plot(*_columns(points), **style)
            shown.add(_SETS[key])
    left.set_ylabel("training loss")
    left.set_yscale("log")
    left.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    left.yaxis.set_minor_formatter(NullFormatter())
    right.set_ylabel(f"mAP ({' or '.join(sorted(shown))})" if shown else "mAP")
    right.set_ylim(bottom=0)
    if not shown:
        right.text(0.5, 0.5, "not evaluated", ha="center", transform=right.transAxes)
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        tidy(axes)
    legend_below(figure, right if shown else left)
    return figure


def _columns(points: Sequence[tuple[float, float]]) -> np.ndarray:
    return np.array(points, float).reshape(-1, 2).T


def precision_recall_points(
    scores: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision at every distinct score of one class, from the highest down.

    Those of scikit-learn's `precision_recall_curve`, in the other order and without the point that it
    adds at recall 0.

    Args:
      scores: [num_clips].
      labels: [num_clips] bool, at least one of them True.

    Returns:
      (recall, precision), both [number of distinct scores] float64.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_group = np.append(np.diff(scores[order]) != 0, True)
    found = np.cumsum(labels[order])[last_of_group]
    drawn = np.flatnonzero(last_of_group) + 1
    return found / found[-1], found / drawn


def precision_recall(
    class_names: Sequence[str],
    labels: np.ndarray,
    scores: Mapping[str, np.ndarray],
    known: np.ndarray | None = None,
) -> Figure:
    """Precision against recall of some classes, a panel each, by model.

    A curve is drawn through at most 200 of its points, evenly spaced in recall.

    Args:
      class_names: of the C classes.
      labels: [num_clips, C] bool; a class without positives gets a panel that says so.
      scores: by model, [num_clips, C].
      known: [num_clips, C] bool, which labels are known; a class is shown on those clips. None: all.
    """
    C = len(class_names)
    columns = min(3, C)
    rows = -(-C // columns)
    below = 0.22 * ((len(scores) + 1) // 2) if len(scores) > 1 else 0.0
    figure = new_figure(6.8, 2.3 * rows + below + 0.2)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for c, axes in enumerate(panels.flat):
        if c >= C:
            axes.set_visible(False)
            continue
        rows_of_class = slice(None) if known is None else known[:, c]
        of_class = labels[rows_of_class, c]
        positives = int(of_class.sum())
        axes.set_title(f"{plain_text(class_names[c], 26)} ({positives:,})", fontsize=SMALL)
        for i, (name, values) in enumerate(scores.items()):
            if not positives:
                axes.text(0.5, 0.5, "no positives", ha="center", transform=axes.transAxes)
                break
            recall, precision = _thinned(
                *precision_recall_points(values[rows_of_class, c], of_class)
            )
            style = line_style(i) | {"marker": "", "linewidth": 1.4}
            axes.plot(recall, precision, label=plain_text(name, 40), **style)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        tidy(axes)
        if c % columns == 0:
            axes.set_ylabel("precision")
        if c + columns >= C:
            axes.set_xlabel("recall")
            axes.xaxis.set_tick_params(labelbottom=True)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    drawn = next((a for a in panels.flat if a.get_legend_handles_labels()[1]), panels.flat[0])
    legend_below(figure, drawn)
    return figure


def _thinned(recall: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points where recall rises, at most `_POINTS` of them."""
    rises = np.flatnonzero(np.diff(recall, prepend=0.0) > 0)
    if len(rises) > _POINTS:
        rises = rises[np.linspace(0, len(rises) - 1, _POINTS).astype(int)]
    return recall[rises], precision[rises]
