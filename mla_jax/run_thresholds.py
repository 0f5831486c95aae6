"""The thresholds of a run: chosen on its validation split, kept beside its checkpoints."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from mla_jax import files, paths
from mla_jax.errors import UserError
from mla_jax.evaluation.thresholds import choose_thresholds, f1_scores
from mla_jax.run_data import RunData
from mla_jax.trained import TrainedModel

THRESHOLDS_FILE = "thresholds.json"


def choose_for_run(workdir: str | Path, step: int = 0) -> np.ndarray:
    """Chooses a threshold for each class on the run's validation split, and writes `thresholds.json`.

    The file says of which step the thresholds are, the number of validation clips, the mean of the classes'
    F1, and for each class its threshold (null: never reported), its F1 on these clips, on which it
    was chosen and so flatters, and its number of positives.

    Args:
      workdir: the run.
      step: which checkpoint; 0: the best by validation.

    Returns:
      [num_classes] float64; infinity for a class without positives in validation.

    Raises:
      UserError: there is no such run, it has no validation split, its data cannot be read, or the file
        cannot be written.
    """
    return _choose(workdir, TrainedModel.open(workdir, step))


def thresholds_of(workdir: str | Path, trained: TrainedModel) -> np.ndarray:
    """The thresholds that the run has for this model; chosen now if it has none of this step.

    Returns:
      [num_classes] float64, as `choose_for_run`.

    Raises:
      UserError: the file is damaged, or as `choose_for_run`.
    """
    path = paths.as_path(workdir) / THRESHOLDS_FILE
    if path.exists():
        said = files.read_json(path)
        try:
            found = np.array(
                [math.inf if c["threshold"] is None else c["threshold"] for c in said["classes"]],
                np.float64,
            )
            mids = tuple(c["mid"] for c in said["classes"])
            step = said["step"]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} is damaged: it holds no thresholds; remove it, and they are chosen again"
            ) from error
        if step == trained.step and mids == trained.classes.mids:
            return found
    return _choose(workdir, trained)


def _choose(workdir: str | Path, trained: TrainedModel) -> np.ndarray:
    config = trained.config
    if not config.data.validation_fraction:
        raise UserError(
            f"{workdir} has no validation split to choose thresholds on; give a number instead, or train "
            "with --config.data.validation_fraction=0.05"
        )
    data = dataclasses.replace(config.data, eval="")  # which decides nothing
    validation = RunData.open(dataclasses.replace(config, data=data)).validation
    assert validation is not None
    labels = validation.multi_hot()
    probs = trained.predict(validation)
    thresholds = choose_thresholds(probs, labels)
    f1 = f1_scores(probs, labels, thresholds)
    positives = labels.sum(axis=0)
    path = paths.as_path(workdir) / THRESHOLDS_FILE
    result: dict[str, Any] = {
        "chosen_on": "validation",
        "maximises": "F1 of each class",
        "step": trained.step,
        "num_clips": len(validation),
        "macro_F1": float(np.nanmean(f1)),
        "classes": [
            {
                "index": k,
                "mid": trained.classes.mids[k],
                "name": trained.classes.names[k],
                "threshold": float(thresholds[k]),
                "F1": float(f1[k]),
                "num_positives": int(positives[k]),
            }
            for k in range(len(thresholds))
        ],
    }
    files.write_json(path, result)
    logging.info("%s: thresholds chosen on %d validation clips", path, len(validation))
    return thresholds
