"""Gathers what finished runs left, and evaluates them: makes the `Report` that `page` renders."""

import dataclasses
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.data import data_classes
from mla_jax.data.class_list import ClassList, one_list
from mla_jax.data.clips import ClipSet
from mla_jax.data.segment_seconds import known_segment_seconds
from mla_jax.data.skipped import Skipped
from mla_jax.errors import UserError
from mla_jax.evaluation.bootstrap import clip_counts
from mla_jax.evaluation.summaries import choose_classes
from mla_jax.explain.certain import CertainSegment, most_certain
from mla_jax.explain.examples import ExampleClip, example_clips, with_run
from mla_jax.localization.truth import read_truth
from mla_jax.progress import Progress
from mla_jax.recordings.encoder_files import DEFAULT as DEFAULT_FILES
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.recordings.inputs import names_sound
from mla_jax.report.contents import EvalData, Report, ReportRun
from mla_jax.report.sound import ClipSound, Sounds
from mla_jax.runs.fingerprint import may_be_same_eval
from mla_jax.runs.names import run_names
from mla_jax.runs.seen import seen_in_training
from mla_jax.runs.tagging_model import require_models_alike
from mla_jax.storage import paths


def gather(
    workdirs: Sequence[str | Path],
    data: str = "",
    *,
    classes: Sequence[str] = (),
    events: str | Path = "",
    sounds: str = "",
    segment_seconds: float | None = None,
    allow_other_embeddings: bool = False,
    labels: str = "",
    encoder_files: EncoderFiles = DEFAULT_FILES,
) -> Report:
    """What a report of some runs shows.

    Args:
      workdirs: the runs' folders, in the report's order; "A,B,C" is the average of several, as one model.
      data: what to evaluate on; empty: the runs' own `data.eval`, if it is still there.
      classes: names or indices of those with precision-recall curves; empty: nine, frequent to rare.
      events: strong labels of these clips, if there are any: a file as `read_strong_labels` takes it.
      sounds: the recordings that the clips are of, if they are at hand: those of the examples are drawn and
        can be heard; empty: `data`, if that is sound.
      segment_seconds: from one segment to the next, where neither data nor runs say; needed with events.
      allow_other_embeddings: whether runs and data whose embeddings differ in meaning are used all the same.
      labels: a CSV file of labels, for sound and for recordings in files of their own; empty: `labels.csv`
        beside the recordings.
      encoder_files: of the encoder, for sound.

    Raises:
      UserError: a run or the data cannot be used.
    """
    today = datetime.datetime.now().astimezone().date()
    names = run_names(workdirs)
    runs = [
        ReportRun.open(
            n,
            w,
            allow_other_embeddings=allow_other_embeddings,
            encoder_files=encoder_files,
        )
        for n, w in zip(names, workdirs, strict=True)
    ]
    require_models_alike({run.name: run.trained for run in runs if run.trained is not None})
    notes = [note for run in runs for note in _what_is_missing(run)]
    all_classes = _shared_classes(runs)
    path, clips = _open_data(
        runs, data, all_classes, notes, segment_seconds=segment_seconds, labels=labels
    )
    chosen = choose_classes(all_classes.names, _frequency(runs, clips, len(all_classes)), classes)
    if clips is None:
        if events:
            notes.append(f"{events} is not used: it is about the eval clips.")
        if sounds:
            notes.append(f"{sounds} is not used: there are no example clips.")
        if labels:
            notes.append(f"{labels} is not used: it is about the eval clips.")
        if segment_seconds is not None:
            notes.append("segment_seconds is not used: it is about the eval clips.")
        notes += [
            f"{run.name} has no results without the eval data." for run in runs if run.members
        ]
        runs = _only_comparable([run.with_results() for run in runs])
        apart = tuple(_on_other_clips(runs))
        if apart:
            notes.append(
                f"{', '.join(apart)}: not scored on the same clips as the runs before, so the figures "
                "cannot be compared."
            )
        return Report(runs, all_classes, None, [], notes, written=today, apart=apart)
    known = (run.trained.embedding for run in runs if run.trained is not None)
    seconds = known_segment_seconds(clips.embedding, *known, stated=segment_seconds)
    truth = None
    if events:
        truth, left_out = read_truth(events, all_classes, clips, seconds)
        notes += left_out
    counts = clip_counts(len(clips))
    eval_data = EvalData(path, clips, clips.multi_hot(), counts, chosen, truth, seconds)
    for run in runs:
        if run.trained is not None:
            seen = seen_in_training(run.trained, path, clips)
            notes += [f"{run.name}: {sentence}." for sentence in seen]
    runs, examples, certain = _evaluate(runs, eval_data)
    notes += [note for run in runs for note in _compare_with_results(run, path)]
    sounds = sounds or (path if names_sound(path) else "")
    heard = _sounds_of(examples, sounds, notes) if sounds else ()
    return Report(runs, all_classes, eval_data, examples, notes, heard, today, certain)


def _sounds_of(
    examples: Sequence[ExampleClip], sounds: str, notes: list[str]
) -> tuple[ClipSound | None, ...]:
    """The sound of each example, and a note where some have none."""
    files = Sounds(sounds)
    heard = []
    for example in examples:
        segments = next(iter(example.maps.values())).values.shape[1]
        seconds = segments * (example.segment_seconds or 1.0)
        heard.append(files.of_clip(example.video_id, example.start_time, seconds))
    if missing := sum(sound is None for sound in heard):
        notes.append(
            f"Of {missing} example clips there is no recording in {sounds} that can be read."
        )
    return tuple(heard)


def _what_is_missing(run: ReportRun) -> list[str]:
    unfinished = [one for one in run.alone() if not one.results]
    notes = [f"{one.name} has no results.json: it is not finished." for one in unfinished]
    if run.trained is None:
        notes.append(f"{run.name} has no checkpoint: it is not evaluated here.")
    return notes


def _shared_classes(runs: Sequence[ReportRun]) -> ClassList:
    """The class list of all runs: the first that says which the classes are, if one does."""
    known = {run.name: run.classes for run in runs if run.classes is not None}
    if not known:
        raise UserError(
            f"{runs[0].path} has neither a checkpoint nor results of classes: train it for longer"
        )
    return one_list(known)


def _open_data(
    runs: Sequence[ReportRun],
    data: str,
    classes: ClassList,
    notes: list[str],
    **options: Any,
) -> tuple[str, ClipSet | None]:
    """The clips to evaluate on, and where they lie; None, and a note, where there are none.

    Args:
      runs: those that are evaluated.
      data: where the clips are, if that is given.
      classes: of the runs.
      notes: what is said to a person.
      options: as `TaggingModel.open_clips` takes them.
    """
    named = {data} if data else {one.config.data.eval for run in runs for one in run.alone()}
    path = next(iter(named))
    opener = next((run.trained for run in runs if run.trained is not None), None)
    why = ""
    if len(named) > 1:
        why = "The runs name different eval data"
    elif not path:
        why = "The runs name no eval data"
    elif not data and not _is_there(path):
        why = f"The eval data, {path}, is not there"
    elif opener is None:
        why = "No run has a checkpoint"
    if why or opener is None:
        notes.append(
            f"{why}, so intervals, precision-recall curves and example clips are left out where "
            "results.json does not have them; give the eval data with --data."
        )
        return "", None
    data_classes.require_same_classes(path, classes)
    skipped: list[Skipped] = []
    clips = opener.open_clips(path, skipped=skipped, **options)
    if skipped:
        notes.append(f"{len(skipped):,} bad records of {path} are left out.")
    return path, clips


def _is_there(path: str) -> bool:
    """Whether eval data that a run names are there; of a bucket that cannot be used too, they are not."""
    try:
        return paths.as_path(path).exists()
    except UserError:
        return False


def _frequency(runs: Sequence[ReportRun], clips: ClipSet | None, num_classes: int) -> np.ndarray:
    """What classes are chosen by: training clips if a run says how many, else eval clips."""
    for run in runs:
        if run.num_train_clips is not None:
            return run.num_train_clips
    return np.zeros(num_classes) if clips is None else clips.class_counts()


def _evaluate(
    runs: Sequence[ReportRun], data: EvalData
) -> tuple[list[ReportRun], list[ExampleClip], dict[int, list[CertainSegment]]]:
    """The runs with their evaluations, where they have a checkpoint; and clips and segments of the first."""
    evaluated: list[ReportRun] = []
    examples: list[ExampleClip] = []
    certain: dict[int, list[CertainSegment]] = {}
    for run in runs:
        if run.trained is None:
            evaluated.append(run)
            continue
        progress = Progress(f"predict with {run.name}", len(data.clips), "clips")
        probs = run.trained.predict(data.clips, progress.update)
        progress.close()
        evaluated.append(run.with_evaluation(probs, data))
        if run is runs[0]:
            examples = example_clips(
                run.trained,
                data.clips,
                probs,
                data.labels,
                data.truth,
                segment_seconds=data.segment_seconds,
            )
            certain = most_certain(run.trained, data.clips, probs, data.chosen, data.truth)
        examples = with_run(examples, run.name, run.trained, data.clips, probs)
    return evaluated, examples, certain


def _on_other_clips(runs: Sequence[ReportRun]) -> list[str]:
    """The runs whose results are known to be of other clips than those of the first that has any."""
    scored = [run for run in runs if run.metrics is not None]
    return [run.name for run in scored if not _of_same_clips(run, scored[0])]


def _of_same_clips(one: ReportRun, other: ReportRun) -> bool:
    """Whether results may be of the same clips, as far as they say."""
    splits = (run.results.get("evaluated_on") for run in (one, other))
    return len(set(splits)) == 1 and may_be_same_eval(one.results, other.results)


def _only_comparable(runs: list[ReportRun]) -> list[ReportRun]:
    """Without the resamples of runs that were evaluated on other clips than the first that has any."""

    def clips_of(run: ReportRun) -> tuple[Any, ...]:
        results = run.results
        resamples = len(results["bootstrap_mAP"])
        return run.config.data.eval, results["num_clips"], resamples

    first = next((run for run in runs if run.resampled is not None), None)

    def is_like_first(run: ReportRun) -> bool:
        assert first is not None, "this run has resamples, so there is a first"
        return _of_same_clips(run, first) and clips_of(run) == clips_of(first)

    return [
        run
        if run.resampled is None or is_like_first(run)
        else dataclasses.replace(run, resampled=None)
        for run in runs
    ]


def _compare_with_results(run: ReportRun, path: str) -> list[str]:
    """A note where results.json states another mAP of the same clips."""
    results, metrics = run.results, run.metrics
    same = results.get("evaluated_on") == "eval" and run.config.data.eval == path
    stated = results.get("mAP")
    if metrics is None or not same or stated is None or results.get("step") != run.step:
        return []
    if np.isclose(stated, metrics.mAP, rtol=0, atol=1e-4, equal_nan=True):
        return []
    return [
        f"results.json of {run.name} states an mAP of {stated:.4f} on {path}; these clips give "
        f"{metrics.mAP:.4f}: the data, the versions or the device are others now."
    ]
