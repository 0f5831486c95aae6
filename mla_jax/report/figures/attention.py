"""Where in a clip the model hears what: maps of classes by time."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from mla_jax.errors import UserError
from mla_jax.explain.maps import ClipMap
from mla_jax.report.figures.style import (
    COLOURS,
    SHADES,
    SIGNED_SHADES,
    SMALL,
    new_figure,
    plain_text,
)

LABEL_MARK = "●"
"""Stands before the names of the classes that are the clip's labels."""

_SOUND_INCHES = 0.6
_UNITS = {"probability": "probability", "weight": "weight", "signed": "of the logit"}


def attention_map(
    maps: Mapping[str, ClipMap],
    class_names: Sequence[str],
    is_label: Sequence[bool],
    *,
    probabilities: np.ndarray | None = None,
    events: np.ndarray | None = None,
    seconds: float | None = None,
    log_mel: np.ndarray | None = None,
    frame_seconds: float = 0.01,
) -> Figure:
    """Maps of a clip side by side: classes down, time across; darker is higher.

    Each map has its own scale, shown in the bar under it: that of probabilities goes to 1, that of weights
    to the largest; signed numbers are white at 0, orange above and purple below.

    Args:
      maps: by title, each of [rows, time].
      class_names: of the rows.
      is_label: [rows] which of them the clip is labelled with: a dot and bold type.
      probabilities: [rows] the clip's, written behind the names.
      events: [rows, time] bool, what truly sounds when, if it is known: framed.
      seconds: from one segment to the next; None: time is in segments, and no sound is drawn.
      log_mel: [bands, frames] the clip's sound, if it is known: drawn above the maps, on the same time.
      frame_seconds: from one frame to the next.

    Raises:
      UserError: the shapes do not fit together.
    """
    rows = len(class_names)
    time = next(iter(maps.values())).values.shape[1] if maps else 0
    for what, shape in [
        *((f"the map {title!r}", one.values.shape) for title, one in maps.items()),
        *([("events", events.shape)] if events is not None else []),
    ]:
        if shape != (rows, time) or len(is_label) != rows:
            raise UserError(
                f"{what} has shape {list(shape)}; {rows} classes by {time} segments are to be drawn"
            )
    unit = 1.0 if seconds is None else seconds
    below = 0.25 if events is not None else 0.0
    above = 0.0 if log_mel is None or seconds is None else _SOUND_INCHES
    height = 1.05 + 0.27 * rows + below
    figure = new_figure(2.4 + 1.75 * len(maps), height + above)
    heights = [above, height] if above else [height]
    grid = figure.subplots(
        len(heights), len(maps), sharey="row", squeeze=False, height_ratios=heights
    )
    panels = grid[-1]
    if above and log_mel is not None:
        for axes in grid[0]:
            _draw_sound(axes, log_mel, frame_seconds, time * unit)
    for axes, (title, one) in zip(panels, maps.items(), strict=True):
        _draw(figure, axes, one, time * unit)
        axes.set_xlabel("segments" if seconds is None else "seconds", fontsize=SMALL)
        if events is not None:
            _frame(axes, events, unit, COLOURS[-1 if one.kind == "signed" else 1])
        top = grid[0][list(maps).index(title)]
        top.set_title(plain_text(title), fontsize=SMALL)
    panels[0].set_yticks(range(rows), _row_names(class_names, is_label, probabilities))
    for text, labelled in zip(panels[0].get_yticklabels(), is_label, strict=True):
        text.set_fontweight("bold" if labelled else "normal")
    if events is not None:
        _explain(figure)
    return figure


def _draw(figure: Figure, axes: Axes, one: ClipMap, length: float) -> None:
    """A map, `length` units of time long, with its bar of colour."""
    rows = len(one.values)
    top = 1.0 if one.kind == "probability" else max(float(np.abs(one.values).max(initial=0)), 1e-9)
    low = -top if one.kind == "signed" else 0.0
    image = axes.imshow(
        one.values,
        cmap=SIGNED_SHADES if one.kind == "signed" else SHADES,
        vmin=low,
        vmax=top,
        aspect="auto",
        interpolation="nearest",
        extent=(0.0, length, rows - 0.5, -0.5),
    )
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(labelsize=SMALL, left=False)
    axes.hlines(np.arange(rows - 1) + 0.5, 0, length, color="white", linewidth=2)
    axes.spines[:].set_color("0.7")
    ends = [f"{end:.2g}".replace("-", "\N{MINUS SIGN}") for end in (low, top)]
    ticks = [low, (low + top) / 2, top]
    bar = figure.colorbar(image, ax=axes, location="bottom", aspect=14, ticks=ticks, pad=0.03)
    bar.ax.set_xticklabels([ends[0], _UNITS[one.kind], ends[1]])
    first, _, last = bar.ax.get_xticklabels()
    first.set_horizontalalignment("left")  # inside, away from the neighbour's
    last.set_horizontalalignment("right")
    bar.ax.tick_params(labelsize=SMALL, length=0)
    bar.outline.set_visible(False)


def _draw_sound(axes: Axes, log_mel: np.ndarray, frame_seconds: float, length: float) -> None:
    """A spectrogram, dark where it is loud."""
    bands, frames = log_mel.shape
    axes.imshow(
        log_mel,
        cmap="Greys",
        aspect="auto",
        origin="lower",
        extent=(0.0, frames * frame_seconds, 0.0, float(bands)),
    )
    axes.set_xlim(0.0, length)
    axes.set_xticks([])
    axes.set_yticks([bands / 2], ["sound, low to high"])
    axes.tick_params(labelsize=SMALL, left=False)
    axes.spines[:].set_color("0.7")


def _row_names(
    class_names: Sequence[str], is_label: Sequence[bool], probabilities: np.ndarray | None
) -> list[str]:
    names = []
    for i, name in enumerate(class_names):
        shown = f"{LABEL_MARK} {plain_text(name, 24)}" if is_label[i] else plain_text(name, 26)
        names.append(shown if probabilities is None else f"{shown}  {probabilities[i]:.2f}")
    return names


def _explain(figure: Figure) -> None:
    """Says under the maps what a dot and a frame mean."""
    frame = Rectangle((0, 0), 1, 1, fill=False, edgecolor=COLOURS[1], linewidth=1.8)
    figure.legend(
        [frame],
        [f"truly sounds      {LABEL_MARK} label of the clip"],
        loc="outside lower left",
        frameon=False,
        fontsize=SMALL,
    )


def _frame(axes: Axes, events: np.ndarray, unit: float, colour: str) -> None:
    """A frame around every stretch of time in which a class sounds."""
    for row, sounds in enumerate(events):
        edges = np.flatnonzero(np.diff(sounds.astype(int), prepend=0, append=0)).reshape(-1, 2)
        for start, end in edges:
            axes.add_patch(
                Rectangle(
                    (start * unit, row - 0.42),
                    (end - start) * unit,
                    0.84,
                    fill=False,
                    edgecolor=colour,
                    linewidth=1.8,
                )
            )
