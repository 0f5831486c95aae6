"""Settings and pictures for TensorBoard, beside the scalars that a run writes as it goes."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax import paths
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

    folder = paths.as_path(folder)
    try:
        for old in folder.glob(f"*{_SUFFIX}"):
            old.unlink()
        place = _putting(folder) if paths.is_remote(folder) else contextlib.nullcontext(folder)
        with place as local, SummaryWriter(str(local), filename_suffix=_SUFFIX) as board:
            for tag, text in texts.items():
                board.add_text(tag, text, step)
            for tag, pixels in images.items():
                board.add_image(tag, pixels, step, dataformats="HWC")
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error


@contextlib.contextmanager
def _putting(folder: Path) -> Iterator[Path]:
    """A folder on this machine whose files are put into `folder`, in a bucket, when the block ends well."""
    from mla_jax import buckets

    with tempfile.TemporaryDirectory(prefix="mla_jax-board-") as local:
        yield Path(local)
        buckets.put([(file, f"{folder}/{file.name}") for file in Path(local).iterdir()])


def settings_as_markdown(settings: Mapping[str, Any]) -> str:
    """The settings as a Markdown table, a row each."""
    lines = ["| setting | value |", "| --- | --- |"]
    for name, value in settings.items():
        shown = str(value).replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {name} | `{shown}` |" if shown else f"| {name} | |")
    return "\n".join(lines)
