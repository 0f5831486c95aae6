"""How the output layer weighs the levels."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mla_jax.errors import UserError
from mla_jax.report.figures.style import (
    COLOURS,
    SMALL,
    legend_below,
    new_figure,
    plain_text,
    tidy,
)

_HATCHES = ("", "///", "...", "xx", "\\\\\\", "++", "oo")


def level_weights(
    shares: np.ndarray,
    class_names: Sequence[str],
    level_names: Sequence[str],
    *,
    what: str = "share of the weights",
    classes_per_level: int = 5,
) -> Figure:
    """At the left how the classes' shares are spread, at the right the classes that favour a level most.

    Args:
      shares: [num_levels, num_classes] from `mla_jax.explain.levels`; classes that are NaN
        are left out.
      class_names: [num_classes].
      level_names: [num_levels], in the order of the shares.
      what: what the shares are of, for the axes.
      classes_per_level: how many classes are named for each level.

    Raises:
      UserError: the names are not as many as the shares, or no class has any.
    """
    if shares.shape != (len(level_names), len(class_names)):
        raise UserError(
            f"shares {list(shares.shape)} do not fit {len(level_names)} levels and {len(class_names)} "
            "classes"
        )
    defined = np.flatnonzero(~np.isnan(shares).any(axis=0))
    if not len(defined):
        raise UserError("there is nothing to draw: no class has a weight on any level")
    chosen = favourites(shares, classes_per_level)
    height = 1.5 + 0.25 * max(len(chosen), 6)
    figure = new_figure(6.8, height)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.2])
    _spread(left, shares[:, defined], level_names)
    left.set_xlabel(what)
    places = np.arange(len(chosen))[::-1]
    start = np.zeros(len(chosen))
    for level, name in enumerate(level_names):
        width = shares[level, chosen]
        right.barh(
            places,
            width,
            left=start,
            height=0.75,
            color=COLOURS[level % len(COLOURS)],
            hatch=_HATCHES[level % len(_HATCHES)],
            edgecolor="white",
            label=plain_text(name, 40),
        )
        start = start + width
    right.axvline(1 / len(level_names), color="black", linewidth=1, linestyle=":")
    right.set_yticks(places, [plain_text(class_names[k], 24) for k in chosen])
    right.set_xlim(0, 1)
    right.set_xlabel(what)
    tidy(right, grid="x")
    right.tick_params(axis="y", left=False)
    right.spines["left"].set_visible(False)
    legend_below(figure, right, columns=3)
    return figure


def favourites(shares: np.ndarray, classes_per_level: int) -> list[int]:
    """The classes that give each level the largest share, level by level; each class once."""
    chosen: list[int] = []
    for level in shares:
        ranked = [int(k) for k in np.argsort(-level, kind="stable") if not np.isnan(level[k])]
        chosen += [k for k in ranked if k not in chosen][:classes_per_level]
    return chosen


def _spread(axes: Axes, shares: np.ndarray, level_names: Sequence[str]) -> None:
    """A box for each level: half of the classes are in it, nine of ten within its whiskers."""
    boxes = axes.boxplot(
        list(shares[::-1]),
        orientation="horizontal",
        whis=(5, 95),
        widths=0.5,
        showfliers=False,
        patch_artist=True,
        medianprops={"color": "black", "linewidth": 2},
    )
    for i, box in enumerate(boxes["boxes"]):
        level = len(level_names) - 1 - i
        box.set(facecolor=COLOURS[level % len(COLOURS)], hatch=_HATCHES[level % len(_HATCHES)])
        box.set_edgecolor("white" if box.get_hatch() else "black")
    axes.set_yticks(
        range(1, len(level_names) + 1), [plain_text(name, 24) for name in level_names[::-1]]
    )
    axes.axvline(1 / len(level_names), color="black", linewidth=1, linestyle=":")
    axes.set_title("all classes: median, half, nine of ten", fontsize=SMALL)
    tidy(axes, grid="x")
    axes.tick_params(axis="y", left=False)
    axes.spines["left"].set_visible(False)
