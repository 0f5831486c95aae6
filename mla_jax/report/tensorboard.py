"""Settings and pictures for TensorBoard, beside the scalars that a run writes as it goes."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.errors import UserError
from mla_jax.report.contents import ReportRun
from mla_jax.runs.folder import RunFolder
from mla_jax.storage import paths
from mla_jax.storage.files import output_folder

_SUFFIX = ".report"


def add_to_tensorboard(workdir: str | Path) -> None:
    """Puts a run's settings, as text, and its pictures into its `tensorboard/`.

    The pictures are the training curves and, of a run that was evaluated, those of its classes; without
    matplotlib there are none. What was put there before is replaced.

    Raises:
      UserError: the folder is no run, or cannot be written.
    """
    folder = RunFolder(workdir)
    run = ReportRun.open(folder.path.name, folder.path, restore=False).with_results()
    texts = {"settings": settings_as_markdown(run.settings)}
    images = _images(run) if importlib.util.find_spec("matplotlib") else {}
    step = int(run.log[-1]["step"]) if run.log else run.step
    add_to_board(folder.tensorboard, texts, images, step)


def _images(run: ReportRun) -> dict[str, np.ndarray]:
    """By title, [height, width, 3] uint8."""
    from mla_jax.report.figures import classes, curves, style

    figures = {}
    if run.log:
        figures["training curves"] = curves.training_curves({run.name: run.log})
    if run.metrics is not None and not np.isnan(run.metrics.average_precision).all():
        precision, trained = {run.name: run.metrics.average_precision}, run.num_train_clips
        figures["average precision by class"] = classes.precision_by_rank(precision, trained)
        if trained is not None and (trained > 0).any():
            figures["average precision and frequency"] = classes.precision_by_frequency(
                precision, trained
            )
    return {name: style.to_pixels(figure) for name, figure in figures.items()}


def add_to_board(
    folder: str | Path, texts: Mapping[str, str], images: Mapping[str, np.ndarray], step: int
) -> None:
    """Writes one event file, which replaces an earlier one of this function.

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
        with (
            output_folder(folder) as (local, _),
            SummaryWriter(str(local), filename_suffix=_SUFFIX) as board,
        ):
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
