"""A threshold for each class, chosen on a run's validation clips when its training ends."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from mla_jax.data.class_list import ClassList
from mla_jax.errors import UserError
from mla_jax.evaluation.thresholds import choose_thresholds, f1_scores
from mla_jax.runs.averaged import members_of
from mla_jax.runs.data import RunData
from mla_jax.runs.fingerprint import require_same
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.tagging_model import TaggingModel
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


def thresholds_of(workdir: str | Path, trained: TaggingModel) -> np.ndarray:
    """The thresholds that the run has for this model; if it has none of its step, they are chosen again.

    Those of an average are chosen on the clips that all of its models have for validation. Nothing is
    written. Returns and raises what `choose_for_run` does, and a UserError if the file is damaged, or the
    models of an average have other clips for validation.
    """
    kept = kept_thresholds(workdir, trained) if isinstance(trained, TrainedModel) else None
    if kept is not None:
        return kept
    steps = ", ".join(str(one.step) for one in members_of(trained))
    logging.info("%s has no thresholds of step %s: choosing them", workdir, steps)
    return _values(_choose_again(workdir, trained))


def kept_thresholds(workdir: str | Path, trained: TrainedModel) -> np.ndarray | None:
    """The thresholds in the run's file, [num_classes] float64; None if there are none of this model's step.

    Raises:
      UserError: the file is damaged, or of other classes.
    """
    kept = read_thresholds(RunFolder(workdir), trained.classes)
    return _values(kept) if kept and kept["step"] == trained.step else None


def read_thresholds(run: RunFolder, classes: ClassList) -> dict[str, Any] | None:
    """What a run's thresholds.json holds, as `choose` makes it; None if there is none.

    Raises:
      UserError: the file is damaged, or of other classes.
    """
    path = run.thresholds_file
    if not path.exists():
        return None
    kept: dict[str, Any] = files.read_json(path)
    try:
        _ = _values(kept), kept["step"], kept["chosen_on"], kept["num_clips"]
        theirs = ClassList(
            tuple(c["mid"] for c in kept["classes"]), tuple(c["name"] for c in kept["classes"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged: it holds no thresholds; remove it, and they are chosen again"
        ) from error
    classes.require_same(theirs, str(path))
    return kept


def _values(chosen: dict[str, Any]) -> np.ndarray:
    found = [c["threshold"] for c in chosen["classes"]]
    # In files of older versions null is infinity.
    return np.array([math.inf if value is None else value for value in found], np.float64)


def _choose_again(workdir: str | Path, trained: TaggingModel) -> dict[str, Any]:
    """Opens the validation clips of a run again, or those of all runs of an average, to choose on them."""
    members = members_of(trained)
    for one in members:
        if not one.data_settings.validation_fraction:
            raise UserError(
                f"{one.name or workdir} has no validation split to choose thresholds on; give a number "
                "instead, or train with --config.data.validation_fraction=0.05"
            )
    _require_same_validation(members)
    config = next((one.config for one in members if one.config.data.train), None)
    if config is None:
        raise UserError(
            f"{workdir} does not say where its validation clips are, so no thresholds can be chosen on them; "
            "give a number instead"
        )
    data = dataclasses.replace(config.data, eval="")  # which decides nothing
    opened = RunData.open(dataclasses.replace(config, data=data))
    trained.classes.require_same(opened.classes, f"the class list of {data.train}, as it is now,")
    for one in members:
        require_same(one.made_with, opened.sets(), one.name or workdir, ("train", "validation"))
    validation = opened.validation
    assert validation is not None
    return choose(
        trained.predict(validation),
        validation.multi_hot(),
        trained.classes,
        members[-1].step,
        validation.label_mask,
    )


def _require_same_validation(members: Sequence[TrainedModel]) -> None:
    """Checks that no model of an average was trained on what another is validated on, as far as they say."""
    first = members[0]
    for one in members[1:]:
        ours, theirs = (m.made_with.get("fingerprints", {}) for m in (first, one))
        if any(ours.get(name) != theirs.get(name) for name in ("train", "validation")):
            raise UserError(
                f"{first.name} and {one.name} were trained or validated on other clips, so there are none to "
                "choose the thresholds of their average on; give a number instead"
            )
