"""The picture of a table: average precision by class and model."""

from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.report.figures import style


def class_precision_by_model(table: dict[str, Any], path: str | Path) -> None:
    """Draws the average precision of some classes by model, as in the paper's Figure 3.

    A line is a class, the most frequent in training at the top: at the left relative to its lowest model, at
    the right absolute.

    Args:
      table: from `experiments.table.comparison.table_of`.
      path: of the PNG file to write.
    """
    classes = table["figure_classes"]
    rows = [row for row in table["rows"] if row["name"] in table["figure_rows"]]
    precision = np.array([row["class_average_precision"] for row in rows], float)
    figure = style.new_figure(
        11, 1.6 + 0.42 * len(classes) + 0.22 * (len(rows) // 3), layout="none"
    )
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(classes))[::-1]
    # Models of a line stand one above the other, so that equal ones do not hide each other.
    offsets = np.linspace(0.3, -0.3, len(rows)) if len(rows) > 1 else [0.0]
    lowest = np.fmin.reduce(precision, axis=0)  # NaN where no model has one
    for i, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
        points = style.line_style(i) | {"linestyle": "none", "markersize": 5, "clip_on": False}
        left.plot(100 * (precision[i] / lowest - 1), places + offset, **points)
        right.plot(precision[i], places + offset, label=row["name"], **points)
    left.set_yticks(places, [f"{c['name']} ({c['num_train_clips']:,})" for c in classes])
    left.set_xlabel("gain over the lowest model, % of its average precision")
    right.set_xlabel("average precision")
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
