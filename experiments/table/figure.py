"""The pictures of tables: average precision by class and model, and learning curves."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.table import curve as curve_lib
from experiments.table import paper
from mla_jax.report.figures import style


def class_precision_by_model(table: dict[str, Any], path: str | Path) -> None:
    """Draws the average precision of some classes by model, as in the paper's Figure 3.

    A line is a class: at the left relative to its lowest model, at the right absolute. What the paper states
    of a class and a model is a hollow mark at the right.

    Args:
      table: from `experiments.table.comparison.table_of`.
      path: of the PNG file to write; none is written before one of the picture's rows is there.
    """
    classes = table["figure_classes"]
    rows = [row for row in table["rows"] if row["name"] in table["figure_rows"]]
    if not rows:
        return  # none of them is trained yet
    precision = np.array([row["class_average_precision"] for row in rows], float)
    figure = style.new_figure(
        11, 1.6 + 0.42 * len(classes) + 0.22 * (len(rows) // 3), layout="none"
    )
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(classes))[::-1]
    # Models of a line stand one above the other, so that equal ones do not hide each other.
    offsets = np.linspace(0.3, -0.3, len(rows)) if len(rows) > 1 else [0.0]
    lowest = np.fmin.reduce(precision, axis=0)  # NaN where no model has one
    with_paper = False
    for i, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
        points = style.line_style(i) | {"linestyle": "none", "markersize": 5, "clip_on": False}
        left.plot(100 * (precision[i] / lowest - 1), places + offset, **points)
        right.plot(precision[i], places + offset, label=row["name"], **points)
        architecture = row["name"].partition(":")[2]
        for place, of_class in zip(places, classes, strict=True):
            if stated := paper.FIGURE_POINTS.get((of_class["name"], architecture)):
                with_paper = True
                right.plot(stated, place + offset, **points | {"fillstyle": "none"})
    left.set_yticks(places, [f"{c['name']} ({c['num_train_clips']:,})" for c in classes])
    left.set_xlabel("gain over the lowest model, % of its average precision")
    right.set_xlabel(f"average precision{'; hollow: stated by the paper' if with_paper else ''}")
    right.set_xlim(0, 1)
    for axes in (left, right):
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
        axes.tick_params(left=False)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_ylim(-0.6, len(classes) - 0.4)
        for line in places[:-1] - 0.5:
            axes.axhline(line, color="0.85", linewidth=0.6)
    handles, labels = right.get_legend_handles_labels()
    columns = min(4, len(rows))
    figure.legend(handles, labels, loc="lower center", ncols=columns, frameon=False, fontsize=9)
    figure.suptitle("Average precision by class (training clips) and model", fontsize=11)
    figure.tight_layout(rect=(0, 0.05 * (1 + (len(rows) - 1) // columns), 1, 1))
    style.save(figure, path)


def learning_curve(curve: dict[str, Any], path: str | Path) -> None:
    """Draws mAP by the number of training clips, with intervals, and the laws beyond the last point.

    Args:
      curve: from `experiments.table.curve.curve_of`.
      path: of the PNG file to write.
    """
    points = curve["rows"]
    clips = np.array([point["clips"] for point in points], float)
    scores = np.array([point["mAP"] for point in points], float)
    ends = np.array([[point["low"], point["high"]] for point in points], float)
    figure = style.new_figure(7, 4.5)
    axes = figure.subplots()
    widths = np.abs(ends.T - scores)
    axes.errorbar(clips, scores, yerr=widths, color="black", fmt="o", capsize=3, label="trained")
    for i, (name, found) in enumerate(curve["laws"].items()):
        to = float(curve["extrapolated_to"])
        along = np.geomspace(clips.min(), to, 100)
        line: dict[str, Any] = {"color": style.COLOURS[i], "linestyle": style.DASHES[i + 1]}
        fitted = curve_lib.extrapolate(curve_lib.LAWS[name], clips, scores, along)
        axes.plot(along, fitted, label=f"{name} law, extrapolated", **line)
        end, low, high = (float(found[key]) for key in ("mAP", "low", "high"))
        axes.errorbar([to], [end], yerr=[[end - low], [high - end]], capsize=3, color=line["color"])
    axes.set_xscale("log")
    axes.set_xlabel("training clips")
    axes.set_ylabel("mAP on eval")
    axes.set_title(style.plain_text(curve["row"], 80), fontsize=style.NORMAL)
    style.tidy(axes)
    style.legend_below(figure, axes, columns=3)
    style.save(figure, path)
