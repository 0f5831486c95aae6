"""Settings and pictures for TensorBoard, beside the scalars that a run writes as it goes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.errors import UserError

_SUFFIX = ".report"


def add_to_board(
    folder: str | Path, texts: Mapping[str, str], images: Mapping[str, np.ndarray], step: int
) -> None:
    """Writes one event file; one that was written so before is replaced.

    Args:
      folder: a run's `tensorboard/`.
      texts: by tag, Markdown.
      images: by tag, [height, width, 3] uint8.
      step: which step they are of.

    Raises:
      UserError: the folder cannot be written.
    """
    # Imported here: it costs half a second.
    from tensorboardX import SummaryWriter

    folder = Path(folder)
    try:
        for old in folder.glob(f"*{_SUFFIX}"):
            old.unlink()
        with SummaryWriter(str(folder), filename_suffix=_SUFFIX) as board:
            for tag, text in texts.items():
                board.add_text(tag, text, step)
            for tag, pixels in images.items():
                board.add_image(tag, pixels, step, dataformats="HWC")
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error


def settings_as_markdown(settings: Mapping[str, Any]) -> str:
    """The settings as a Markdown table, a row each."""
    lines = ["| setting | value |", "| --- | --- |"]
    for name, value in settings.items():
        shown = str(value).replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {name} | `{shown}` |" if shown else f"| {name} | |")
    return "\n".join(lines)
