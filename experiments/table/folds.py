"""Models evaluated on folds: each is trained on all folds but one, and tried on that one."""

import csv
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax import presets
from mla_jax.commands import console
from mla_jax.commands.markdown import markdown_table
from mla_jax.config import Config, DataConfig, TrainConfig
from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.packing import pack
from mla_jax.data.sources import is_packed
from mla_jax.errors import UserError
from mla_jax.evaluation.metrics import evaluate
from mla_jax.runs.train import train
from mla_jax.runs.trained import TrainedModel


def read_folds(path: Path) -> dict[str, int]:
    """The fold of each clip, by its path.

    Raises:
      UserError: the file has no columns path and fold.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        return {row["path"]: int(row["fold"]) for row in rows}
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is no list of clips with path, label and fold: {error}") from error


def evaluate_folds(
    clips: ClipSet, classes: ClassList, fold_of: np.ndarray, model: str, steps: int, workdir: Path
) -> dict[str, Any]:
    """Trains a model for each fold; a run that is finished is not trained again.

    Args:
      clips: all clips, each of one class.
      classes: the classes.
      fold_of: [clips] the fold of each.
      model: an architecture and a pooling, `2-A-1-A:attention`.
      steps: how long each is trained.
      workdir: where packed folds and runs go.

    Returns:
      Top-1 over all clips and by fold, and mAP over all clips.
    """
    probs = np.zeros((len(clips), len(classes)), np.float32)
    for fold in np.unique(fold_of):
        held_out = fold_of == fold
        data = workdir / f"fold-{fold}"
        for path, rows in ((data / "train", ~held_out), (data / "eval", held_out)):
            if not is_packed(path):
                pack([clips[rows]], path, classes=classes)
        run = workdir / model.replace(":", "-") / f"fold-{fold}"
        train(_config(model, steps, data), run, say=console.say)
        probs[held_out] = TrainedModel.open(run).predict(clips[held_out])
    labels = clips.multi_hot()
    right = labels[np.arange(len(clips)), probs.argmax(axis=1)]
    return {
        "model": model,
        "top_1": float(right.mean()),
        "top_1_of_folds": [float(right[fold_of == fold].mean()) for fold in np.unique(fold_of)],
        "mAP": float(evaluate(probs, labels).mAP),
        "clips": len(clips),
    }


def _config(model: str, steps: int, data: Path) -> Config:
    architecture, _, pooling = model.partition(":")
    preset = presets.yu2018_equations()
    chosen = dataclasses.replace(
        preset.model,
        architecture=architecture,
        pooling=pooling or preset.model.pooling,
        hidden_units=256,
    )
    return dataclasses.replace(
        preset,
        model=chosen,
        data=DataConfig(train=str(data / "train"), eval=str(data / "eval"), batch_size=64),
        train=TrainConfig(steps=steps, eval_every=steps, checkpoint_every=steps),
    )


def markdown(results: dict[str, Any]) -> str:
    """The table of a results file."""
    return markdown_table(
        [
            {
                "encoder": row["encoder"],
                "model": row["model"].replace(":", ", "),
                "top-1": row["top_1"],
                "top-1 of the folds": " ".join(f"{top_1:.3f}" for top_1 in row["top_1_of_folds"]),
                "mAP": row["mAP"],
                "clips": row["clips"],
            }
            for row in results["rows"]
        ]
    )
