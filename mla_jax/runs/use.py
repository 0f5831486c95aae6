"""Using what runs have trained: opening it by name, be it one model or an average, and evaluating it."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from mla_jax.data.clips import ClipSet
from mla_jax.data.skipped import Skipped
from mla_jax.evaluation import metrics, summaries
from mla_jax.progress import Progress
from mla_jax.recordings.encoder_files import DEFAULT as DEFAULT_FILES
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.runs.averaged import AveragedModel, members_of
from mla_jax.runs.environment import environment
from mla_jax.runs.fingerprint import fingerprint, of_weights
from mla_jax.runs.folder import list_skipped, require_output
from mla_jax.runs.names import workdirs_of
from mla_jax.runs.seen import seen_in_training
from mla_jax.runs.tagging_model import TaggingModel
from mla_jax.runs.trained import restore
from mla_jax.runs.when import WhenOptions, judge_when
from mla_jax.storage import files


def open_model(
    workdir: str | Path,
    step: int = 0,
    *,
    average_from: int = 0,
    allow_other_embeddings: bool = False,
    encoder_files: EncoderFiles = DEFAULT_FILES,
) -> TaggingModel:
    """Opens what a run has trained, or the average of several checkpoints or runs as one model.

    Args:
      workdir: the run; several as "A,B,C" are averaged.
      step: which checkpoint of each; 0: the best by validation, or without validation the newest.
      average_from: if given, all checkpoints from this step on are averaged, of each run.
      allow_other_embeddings: whether embeddings that differ in meaning, of clips or of the runs, are used all
        the same.
      encoder_files: of the encoder, for sound.

    Returns:
      A `TrainedModel`; of several an `AveragedModel`.

    Raises:
      UserError: there is no such run or checkpoint, one is damaged, or the runs are of other classes or
        embeddings.
    """
    found = [
        dataclasses.replace(
            one, allow_other_embeddings=allow_other_embeddings, encoder_files=encoder_files
        )
        for run in workdirs_of(workdir)
        for one in restore(run, step, average_from)
    ]
    return found[0] if len(found) == 1 else AveragedModel.of(found)


def weights_of(model: TaggingModel) -> dict[str, str]:
    """Which weights a model has, of each checkpoint that it is made of; one may be there twice."""
    return {
        f"{place}: {one.name}, step {one.step}": of_weights(one.variables)
        for place, one in enumerate(members_of(model), start=1)
    }


def open_to_score(
    workdir: str | Path,
    data: str,
    *,
    bad_records: str,
    labels: str,
    **opening: Any,
) -> tuple[TaggingModel, ClipSet, list[Skipped]]:
    """A model, the clips that it is scored on, and the records left out; a warning if it was trained on some.

    Args:
      workdir, data, bad_records, labels: as `evaluate`.
      **opening: what else `open_model` takes.

    Raises:
      UserError: as `evaluate`.
    """
    model = open_model(workdir, **opening)
    skipped: list[Skipped] = []
    clips = model.open_clips(data, bad_records=bad_records, labels=labels, skipped=skipped)
    for sentence in seen_in_training(model, data, clips):
        logging.warning("%s", sentence)
    return model, clips, skipped


def evaluate(
    workdir: str | Path,
    data: str,
    *,
    step: int = 0,
    average_from: int = 0,
    bad_records: str = "",
    allow_other_embeddings: bool = False,
    labels: str = "",
    when: WhenOptions | None = None,
    encoder_files: EncoderFiles = DEFAULT_FILES,
    output: str | Path = "",
    show: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Evaluates a run on data: one checkpoint, or the average of the probabilities of several, or of runs.

    Args:
      workdir, step, average_from: as `open_model`.
      data: a packed folder, records, an HDF5 or .npz file, or sound, if the run knows its encoder.
      bad_records: "error" or "skip"; "" for that of the (first) run.
      allow_other_embeddings: whether data whose embeddings differ in meaning are used all the same.
      labels: a CSV file of labels, for sound and for recordings in files of their own; "" for `labels.csv`
        beside the recordings.
      when: strong labels of some of the clips, by which segment scores are judged.
      encoder_files: of the encoder, for sound.
      output: if given, a JSON file to write the results to; records that were left out are listed beside it.
      show: takes the results before they are written, so that a full disk loses none.

    Returns:
      The scores mAP, AUC, d_prime, ...; skipped_records; what was averaged as `models`, each a workdir and a
      step, and their steps as `steps_averaged`, the last as `step`; the classes' scores, ...; with `when`
      what `mla_jax.runs.when.judge_when` returns, as `when`.

    Raises:
      UserError: a run or the data cannot be used, or the output cannot be written.
    """
    if output:
        require_output(output, [data, labels, *(when.files if when else ())])
    model, clips, skipped = open_to_score(
        workdir,
        data,
        bad_records=bad_records,
        labels=labels,
        step=step,
        average_from=average_from,
        allow_other_embeddings=allow_other_embeddings,
        encoder_files=encoder_files,
    )
    # First, so that a fault in the strong labels is said at once.
    judged = {"when": judge_when(model, clips, when)} if when else {}
    progress = Progress("predict", len(clips), "clips")
    probs = model.predict(clips, progress.update)
    progress.close()
    results = evaluation_of(model, workdir, data, clips, probs, skipped) | judged
    show(results)
    if output:
        write_results(output, results, skipped)
    return results


def evaluation_of(
    model: TaggingModel,
    workdir: str | Path,
    data: str,
    clips: ClipSet,
    probs: np.ndarray,
    skipped: Sequence[Skipped],
) -> dict[str, Any]:
    """What `evaluate` returns, of a model's probabilities of clips, [clips, classes]."""
    scores = metrics.evaluate(probs, clips.multi_hot(), clips.label_mask)
    members = members_of(model)
    return {
        **summaries.summarize(scores),
        "skipped_records": len(skipped),
        "fingerprints": {"eval": fingerprint(clips)},
        "step": members[-1].step,
        "steps_averaged": [one.step for one in members],
        "models": [{"workdir": one.name, "step": one.step} for one in members],
        "workdir": str(workdir),
        "data": data,
        **environment(),
        "classes": summaries.per_class(scores, model.classes.mids, model.classes.names),
    }


def write_results(output: str | Path, results: dict[str, Any], skipped: Sequence[Skipped]) -> None:
    """Writes what `evaluate` returned, and beside it what was left out.

    Raises:
      UserError: it cannot be written.
    """
    files.write_json(output, results)
    list_skipped(output, skipped)
