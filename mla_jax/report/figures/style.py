"""What all pictures share: colours, sizes, and how a figure becomes a file.

Figures are made without pyplot, so that nothing is shown, kept or set for the rest of the process.
"""

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mla_jax.errors import UserError
from mla_jax.storage.files import replacing

# Okabe and Ito's colours, which the colour-blind tell apart too; shapes and dashes tell them apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vP*X"
DASHES = ("-", "--", "-.", ":")
# From white to dark, even in lightness: reads the same in grey.
SHADES = "Blues"
SIGNED_SHADES = "PuOr_r"

SMALL, NORMAL = 9, 10
"""Font sizes in points; nothing is smaller than the first."""

# Two drawings of the same figure are the same bytes.
_SVG: Any = {"svg.hashsalt": "mla_jax", "svg.fonttype": "path"}


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """An empty figure of this size in inches, laid out so that nothing overlaps."""
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def line_style(i: int) -> dict[str, Any]:
    """Colour, dash and marker of the `i`-th of several; those of the first 28 all differ."""
    return {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": DASHES[(i // len(COLOURS)) % len(DASHES)],
        "marker": MARKERS[i % len(MARKERS)],
    }


def tidy(axes: Axes, *, grid: str = "both") -> None:
    """A light grid behind the data, no frame, small numbers."""
    axes.grid(axis=grid, color="0.9", linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL, colors="0.25")
    axes.xaxis.label.set_fontsize(NORMAL)
    axes.yaxis.label.set_fontsize(NORMAL)


def legend_below(figure: Figure, axes: Axes, columns: int = 2) -> None:
    """One legend for all of a figure, under it; none for a single entry."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(
            handles,
            [plain_text(label) for label in labels],
            loc="outside lower center",
            ncols=min(columns, len(labels)),
            frameon=False,
            fontsize=SMALL,
        )


def plain_text(text: str, width: int = 0) -> str:
    """Text that matplotlib draws as it is: it would read what stands between dollars as a formula.

    Control characters become spaces; text longer than `width` characters is cut, if that is given.
    """
    text = "".join(c if c.isprintable() else " " for c in text)
    if width and len(text) > width:
        text = text[: width - 1] + "…"
    return text.replace("$", r"\$")


def to_svg(figure: Figure) -> str:
    """The figure as an SVG document without fonts or a date: equal figures give equal text."""
    file = io.StringIO()
    with mpl.rc_context(_SVG):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def to_pixels(figure: Figure, dpi: int = 100) -> np.ndarray:
    """The figure as [height, width, 3] uint8."""
    canvas = FigureCanvasAgg(figure)
    before = figure.dpi
    figure.set_dpi(dpi)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
    figure.set_dpi(before)
    return pixels


def shades_of(values: np.ndarray) -> list[str]:
    """The colour of each number from 0 to 1, as #rrggbb: dark is high."""
    return [to_hex(colour) for colour in mpl.colormaps[SHADES](np.clip(values, 0, 1))]


def require_format(path: str | Path) -> str:
    """The format of a picture of this name; "png" of one without an ending.

    Raises:
      UserError: the ending is none of a format.
    """
    kind = Path(path).suffix.removeprefix(".").lower() or "png"
    if kind not in FigureCanvasAgg.get_supported_filetypes():
        raise UserError(f"{path} has an ending of no picture; give a .png, .svg or .pdf file")
    return kind


def save(figure: Figure, path: str | Path, dpi: int = 150) -> None:
    """Writes the figure, in the format that the name ends in; the file appears when it is complete.

    Raises:
      UserError: it cannot be written there.
    """
    kind = require_format(path)
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
    with mpl.rc_context(_SVG), replacing(path, binary=True) as file:
        figure.savefig(file, format=kind, dpi=dpi, metadata=metadata)
