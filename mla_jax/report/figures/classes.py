"""How well each class is found, and what its frequency has to do with it."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mla_jax.report.figures.style import (
    COLOURS,
    SMALL,
    legend_below,
    line_style,
    new_figure,
    plain_text,
    tidy,
)

_MOST_RUNS = 4  # more hide each other


def precision_by_rank(
    precision: Mapping[str, np.ndarray], num_train_clips: np.ndarray | None = None
) -> Figure:
    """Average precision of every class, sorted by the first run's, above its number of training clips.

    Args:
      precision: by run, [num_classes] average precision, NaN where it is not defined; at most the first
        four runs are drawn, the first as a line, others as points. Classes that are not defined in the
        first are left out.
      num_train_clips: [num_classes]; without it there is no lower panel.
    """
    shown = dict(list(precision.items())[:_MOST_RUNS])
    first = next(iter(shown.values()))
    order = np.argsort(-first, kind="stable")  # NaN goes last
    order = order[: np.count_nonzero(~np.isnan(first))]
    ranks = np.arange(1, len(order) + 1)
    with_clips = num_train_clips is not None
    below = 0.22 * ((len(shown) + 1) // 2) if len(shown) > 1 else 0.0
    figure = new_figure(6.8, (4.4 if with_clips else 3.0) + below)
    panels = figure.subplots(
        2 if with_clips else 1,
        1,
        sharex=True,
        squeeze=False,
        height_ratios=[2, 1][: 1 + with_clips],
    )[:, 0]
    for i, (name, values) in enumerate(shown.items()):
        style = line_style(i) | {"label": plain_text(name, 40), "zorder": 3 - i / 10}
        if i:
            style |= {"linestyle": "none", "markersize": 2.5, "alpha": 0.7}
        else:
            style |= {"marker": "", "linewidth": 2.2}
        panels[0].plot(ranks, values[order], **style)
    panels[0].set_ylabel("average precision")
    panels[0].set_ylim(0, 1)
    if num_train_clips is not None:
        clips = np.maximum(num_train_clips[order], 0.5)  # none at all stands at the foot
        panels[1].plot(ranks, clips, ".", color="0.35", markersize=3)
        panels[1].set_ylabel("training clips")
        _count_axis(panels[1], "y")
    panels[-1].set_xlabel("classes, from the best found to the worst" + _by(shown))
    for axes in panels:
        axes.set_xlim(0, len(order) + 1)
        tidy(axes)
    legend_below(figure, panels[0])
    return figure


def _by(shown: Mapping[str, np.ndarray]) -> str:
    return f" by {plain_text(next(iter(shown)), 30)}" if len(shown) > 1 else ""


def precision_by_frequency(
    precision: Mapping[str, np.ndarray], num_train_clips: np.ndarray
) -> Figure:
    """Average precision of every class against its number of training clips, on a logarithmic axis.

    A point is a class. The line joins the medians of groups of classes whose numbers of clips are within a
    factor of two; groups of fewer than five are left out.

    Args:
      precision: by run, [num_classes], NaN where it is not defined; at most the first four are drawn.
      num_train_clips: [num_classes]; classes without any are left out.
    """
    shown = dict(list(precision.items())[:_MOST_RUNS])
    below = 0.22 * ((len(shown) + 1) // 2) if len(shown) > 1 else 0.0
    figure = new_figure(6.8, 3.4 + below)
    axes = figure.subplots()
    for i, (name, values) in enumerate(shown.items()):
        defined = ~np.isnan(values) & (num_train_clips > 0)
        clips, found = num_train_clips[defined], values[defined]
        style = line_style(i)
        axes.plot(clips, found, style["marker"], color=style["color"], markersize=3, alpha=0.35)
        middles = _medians(clips, found)
        label = plain_text(name, 40)
        axes.plot(*middles, **style, linewidth=2, markersize=5, label=label)
    _count_axis(axes, "x")
    axes.set_xlabel("training clips of the class")
    axes.set_ylabel("average precision")
    axes.set_ylim(0, 1)
    tidy(axes)
    legend_below(figure, axes)
    return figure


def _medians(clips: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The median number of clips, and average precision, of each group; see `precision_by_frequency`."""
    octave = np.floor(np.log2(clips / (clips.min() if len(clips) else 1))).astype(int)
    groups = [np.flatnonzero(octave == o) for o in np.unique(octave)]
    groups = [g for g in groups if len(g) >= 5]
    return (
        np.array([np.median(clips[g]) for g in groups]),
        np.array([np.median(found[g]) for g in groups]),
    )


def _count_axis(axes: Axes, which: str) -> None:
    """Makes an axis, x or y, logarithmic, with whole numbers of clips."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_locator(LogLocator(10, subs=(1.0, 3.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


def intervals(estimates: Mapping[str, tuple[float, float, float]], label: str) -> Figure:
    """A number of each run with its interval, a line each.

    Args:
      estimates: by run, (number, low, high).
      label: what the number is, for the axis.
    """
    longest = max((len(plain_text(name, 36)) for name in estimates), default=0)
    # Fits a phone where the names leave room: who scrolls no further should not miss the best.
    figure = new_figure(min(6.8, 2.6 + 0.075 * longest), 0.9 + 0.32 * len(estimates))
    axes = figure.subplots()
    places = np.arange(len(estimates))[::-1]
    for place, (value, low, high) in zip(places, estimates.values(), strict=True):
        axes.plot([low, high], [place, place], color=COLOURS[0], linewidth=3, solid_capstyle="butt")
        axes.plot(value, place, "o", color="black", markersize=5)
        axes.annotate(
            f"{value:.3f}",
            (high, place),
            (6, 0),
            textcoords="offset points",
            va="center",
            size=SMALL,
        )
    axes.set_yticks(places, [plain_text(name, 36) for name in estimates])
    axes.set_ylim(-0.7, len(estimates) - 0.3)
    axes.margins(x=0.2)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel(label)
    tidy(axes, grid="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", left=False)
    return figure
