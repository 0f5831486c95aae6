"""A threshold for each class, chosen on a run's validation clips when its training ends."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from mla_jax.data.class_list import ClassList
from mla_jax.errors import UserError
from mla_jax.evaluation.thresholds import choose_thresholds, f1_scores
from mla_jax.runs.data import RunData
from mla_jax.runs.fingerprint import require_same
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.trained import TrainedModel
from mla_jax.storage import files


def choose(
    probs: np.ndarray,
    labels: np.ndarray,
    classes: ClassList,
    step: int,
    known: np.ndarray | None = None,
) -> dict[str, Any]:
    """Chooses the thresholds with the largest F1 on the validation clips.

    Args:
      probs, labels: [clips, classes].
      classes: the classes.
      step: of the checkpoint that the probabilities are of.
      known: [clips, classes] bool, which labels are known; None: all.

    Returns:
      What thresholds.json holds. A threshold of infinity (1e999 in JSON) is never reached. F1 flatters, as it
      is of the clips that the thresholds were chosen on.
    """
    thresholds = choose_thresholds(probs, labels, known)
    f1, positives = f1_scores(probs, labels, thresholds, known), labels.sum(axis=0)
    return {
        "chosen_on": "validation",
        "maximises": "F1 of each class",
        "step": step,
        "num_clips": len(labels),
        "macro_F1": float(np.nanmean(f1)) if positives.any() else math.nan,
        "classes": [
            {
                "index": k,
                "mid": classes.mids[k],
                "name": classes.names[k],
                "threshold": float(thresholds[k]),
                "F1": float(f1[k]),
                "num_positives": int(positives[k]),
            }
            for k in range(len(thresholds))
        ],
    }


def choose_for_run(workdir: str | Path, step: int = 0) -> np.ndarray:
    """Chooses the thresholds of a trained run again, and writes its thresholds.json.

    Training does so for the step that it chooses; this is for other steps, and runs of older versions.

    Args:
      workdir: the run.
      step: which checkpoint; 0: the best by validation.

    Returns:
      [num_classes] float64; infinity for a class without positives in validation.

    Raises:
      UserError: there is no such run, it has no validation split, its data cannot be read, or the file
        cannot be written.
    """
    chosen = _choose_again(workdir, TrainedModel.open(workdir, step))
    path = RunFolder(workdir).thresholds_file
    files.write_json(path, chosen)
    logging.info("%s: thresholds chosen on %d validation clips", path, chosen["num_clips"])
    return _values(chosen)


def thresholds_of(workdir: str | Path, trained: TrainedModel) -> np.ndarray:
    """The thresholds that the run has for this model; if it has none of its step, they are chosen again.

    Nothing is written. Returns and raises what `choose_for_run` does, and a UserError if the file is damaged.
    """
    path = RunFolder(workdir).thresholds_file
    if path.exists():
        kept = files.read_json(path)
        try:
            values, step = _values(kept), kept["step"]
            classes = ClassList(
                tuple(c["mid"] for c in kept["classes"]), tuple(c["name"] for c in kept["classes"])
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} is damaged: it holds no thresholds; remove it, and they are chosen again"
            ) from error
        if step == trained.step:
            trained.classes.require_same(classes, str(path))
            return values
    logging.info("%s has no thresholds of step %d: choosing them", workdir, trained.step)
    return _values(_choose_again(workdir, trained))


def _values(chosen: dict[str, Any]) -> np.ndarray:
    found = [c["threshold"] for c in chosen["classes"]]
    # In files of older versions null is infinity.
    return np.array([math.inf if value is None else value for value in found], np.float64)


def _choose_again(workdir: str | Path, trained: TrainedModel) -> dict[str, Any]:
    """Opens the validation clips of a run again to choose on them."""
    config = trained.config
    if not config.data.validation_fraction:
        raise UserError(
            f"{workdir} has no validation split to choose thresholds on; give a number instead, or train "
            "with --config.data.validation_fraction=0.05"
        )
    data = dataclasses.replace(config.data, eval="")  # which decides nothing
    opened = RunData.open(dataclasses.replace(config, data=data))
    trained.classes.require_same(opened.classes, f"the class list of {data.train}, as it is now,")
    require_same(trained.made_with, opened.sets(), workdir, ("train", "validation"))
    validation = opened.validation
    assert validation is not None
    return choose(
        trained.predict(validation),
        validation.multi_hot(),
        trained.classes,
        trained.step,
        validation.label_mask,
    )
