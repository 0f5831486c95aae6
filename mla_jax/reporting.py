"""Reports: gathers what finished runs left, and writes it as one HTML file, or for TensorBoard."""

import dataclasses
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax import files, inside, paths, timing
from mla_jax.data.clips import ClipSet
from mla_jax.data.labels import ClassList
from mla_jax.data.skipped import Skipped
from mla_jax.errors import UserError
from mla_jax.evaluation.bootstrap import clip_counts
from mla_jax.evaluation.report_data import ExampleClip, Report, ReportRun
from mla_jax.evaluation.table import choose_classes
from mla_jax.evaluation.tensorboard import add_to_board, settings_as_markdown
from mla_jax.found_run import FoundRun
from mla_jax.rows import NUM_RESAMPLES

_EXTRA = "pip install 'mla_jax[plots]'"


def write_report(
    workdirs: Sequence[str | Path],
    output: str | Path,
    data: str = "",
    *,
    classes: Sequence[str] = (),
    events: str | Path = "",
) -> Report:
    """Writes the report of some runs as one HTML file; it appears when it is complete.

    Args:
      workdirs: the runs' folders, in the report's order.
      output: the HTML file.
      data: what to evaluate on; empty: the runs' own `data.eval`, if it is still there.
      classes: names or indices of those with precision-recall curves; empty: nine, frequent to rare.
      events: strong labels of these clips, if there are any: a file as `read_strong_labels` takes it.

    Raises:
      UserError: a run or the data cannot be used, the output cannot be written, or what draws is not
        installed.
    """
    try:
        from mla_jax.evaluation.html_report import render
    except ImportError as error:
        raise UserError(f"a report needs {error.name}, which is not installed: {_EXTRA}") from error
    if paths.as_path(output).is_dir():
        raise UserError(f"{output} is a folder; give the HTML file to write")
    with files.replacing(output) as file:  # at once: what cannot be written should not take minutes
        report = gather(workdirs, data, classes=classes, events=events)
        file.write(render(report))
    return report


def gather(
    workdirs: Sequence[str | Path],
    data: str = "",
    *,
    classes: Sequence[str] = (),
    events: str | Path = "",
) -> Report:
    """What a report shows; arguments and errors as for `write_report`."""
    found = [FoundRun.open(name, path) for name, path in _named(workdirs)]
    notes = [note for run in found for note in run.notes]
    names = _shared_classes(found)
    path, clips = _open_data(found, data, names, notes)
    chosen = choose_classes(names.names, _frequency(found, clips, len(names)), classes)
    if clips is None:
        if events:
            notes.append(f"{events} is not used: it is about the eval clips.")
        kept = _only_comparable([run.from_results() for run in found])
        return Report(kept, names.mids, names.names, "", chosen, None, [], notes)
    truth = timing.read_truth(events, names, clips) if events else None
    labels = clips.multi_hot()
    counts = clip_counts(len(clips), NUM_RESAMPLES)
    runs: list[ReportRun] = []
    shown: list[ExampleClip] = []
    for run in found:
        if run.trained is None:
            runs.append(run.bare())
            continue
        probs = run.predict(clips)
        runs.append(run.scored(probs, labels, counts, chosen, clips))
        if truth is not None:
            when = timing.segment_figures(run.trained, clips, truth)
            runs[-1] = dataclasses.replace(runs[-1], segment_figures=when)
        _compare_with_results(runs[-1], path, notes)
        if run is found[0]:
            shown = inside.example_clips(run.trained, clips, probs, labels, truth)
    about = (
        f"{path}: {len(clips):,} clips of up to {clips.max_segments} segments of {clips.num_features} "
        f"features, {clips.embeddings.dtype}"
    )
    return Report(runs, names.mids, names.names, about, chosen, labels[:, chosen], shown, notes)


def _named(workdirs: Sequence[str | Path]) -> list[tuple[str, Path]]:
    """Names for the runs: as much of the ends of their paths as tells them apart.

    What all end in alike, such as seed0, is left out; a run by itself keeps it, behind its folder's name.
    """
    places = [paths.as_path(w) for w in workdirs]
    if not places:
        raise UserError("give at least one run's folder")
    whole = [paths.resolved(p).parts for p in places]
    if len(set(whole)) < len(whole):
        raise UserError("the same run is given twice; give each once")
    if len(whole) == 1:
        names = ["/".join(whole[0][-2 if whole[0][-1].startswith("seed") else -1 :])]
        return list(zip(names, places, strict=True))
    while len({parts[-1:] for parts in whole}) == 1:
        whole = [parts[:-1] for parts in whole]
    for length in range(1, max(map(len, whole)) + 1):
        names = ["/".join(parts[-length:]) for parts in whole]
        if len(set(names)) == len(names):
            break
    return list(zip(names, places, strict=True))


def _shared_classes(found: Sequence[FoundRun]) -> ClassList:
    """The class list of all runs."""
    lists = {run.name: run.classes for run in found}
    known = {name: classes for name, classes in lists.items() if classes is not None}
    if not known:
        raise UserError(
            f"{found[0].path} has neither a checkpoint nor figures of classes: train it for longer"
        )
    first, classes = next(iter(known.items()))
    for name, other in known.items():
        if other != classes:
            raise UserError(
                f"{first} and {name} are of different classes; a report takes runs of the same"
            )
    return classes


def _open_data(
    found: Sequence[FoundRun], data: str, classes: ClassList, notes: list[str]
) -> tuple[str, ClipSet | None]:
    """The clips to evaluate on, and where they lie; None, and a note, where there are none."""
    missing = (
        "so intervals, precision-recall curves and example clips are left out where results.json does not "
        "have them; give the eval data with --data."
    )
    path = data
    if not path:
        named = {run.config.data.eval for run in found}
        if len(named) > 1:
            notes.append(f"The runs name different eval data, {missing}")
            return "", None
        path = named.pop()
        if not path or not _is_there(path):
            what = f"The eval data, {path}, is not there" if path else "The runs name no eval data"
            notes.append(f"{what}, {missing}")
            return "", None
    opener = next((run.trained for run in found if run.trained is not None), None)
    if opener is None:
        notes.append(f"No run has a checkpoint, {missing}")
        return "", None
    skipped: list[Skipped] = []
    clips = opener.open_clips(path, skipped=skipped)
    if skipped:
        notes.append(f"{len(skipped):,} bad records of {path} are left out.")
    return path, clips


def _is_there(path: str) -> bool:
    """Whether eval data that a run names are there; of a bucket that cannot be used too, they are not."""
    try:
        return paths.as_path(path).exists()
    except UserError:
        return False


def _frequency(found: Sequence[FoundRun], clips: ClipSet | None, num_classes: int) -> np.ndarray:
    """What classes are chosen by: training clips if a run says how many, else eval clips."""
    for run in found:
        if run.num_train_clips is not None:
            return run.num_train_clips
    return np.zeros(num_classes) if clips is None else clips.class_counts()


def _only_comparable(runs: list[ReportRun]) -> list[ReportRun]:
    """Without the resamples of runs that were evaluated on other clips than the first that has any."""

    def clips_of(run: ReportRun) -> tuple[Any, ...]:
        assert run.resampled is not None
        return (
            run.settings["data.eval"],
            run.facts.get("evaluated_on"),
            run.figures["num_clips"],
            len(run.resampled),
        )

    kept = [clips_of(run) for run in runs if run.resampled is not None]
    return [
        run
        if run.resampled is None or clips_of(run) == kept[0]
        else dataclasses.replace(run, resampled=None)
        for run in runs
    ]


def _compare_with_results(run: ReportRun, path: str, notes: list[str]) -> None:
    """A note where results.json states another mAP for the same data and step."""
    stated = run.facts.get("mAP")
    same = run.facts.get("evaluated_on") == "eval" and run.settings["data.eval"] == path
    if not same or stated is None or run.facts.get("step") != run.step:
        return
    if abs(stated - run.figures["mAP"]) > 1e-4:
        notes.append(
            f"results.json of {run.name} states an mAP of {stated:.4f} on {path}; these clips give "
            f"{run.figures['mAP']:.4f}: the data, the versions or the device are others now."
        )


def add_to_tensorboard(workdir: str | Path) -> None:
    """Puts a run's settings, as text, and its pictures into its `tensorboard/`.

    The pictures are the curves and, of a run that has figures, those of its classes; without
    matplotlib there are none. What was put there before is replaced.

    Raises:
      UserError: the folder is no run, or cannot be written.
    """
    workdir = paths.as_path(workdir)
    run = FoundRun.open(workdir.name, workdir, restore=False).from_results()
    texts = {"settings": settings_as_markdown(run.settings)}
    images: dict[str, np.ndarray] = {}
    if importlib.util.find_spec("matplotlib"):
        images = _images(run)
    step = int(run.records[-1]["step"]) if run.records else run.step
    add_to_board(workdir / "tensorboard", texts, images, step)


def _images(run: ReportRun) -> dict[str, np.ndarray]:
    from mla_jax.evaluation.figures import classes, curves, style

    figures = {}
    if run.records:
        figures["training curves"] = curves.training_curves({run.name: run.records})
    if run.average_precision is not None and not np.isnan(run.average_precision).all():
        precision, trained = {run.name: run.average_precision}, run.num_train_clips
        figures["average precision by class"] = classes.precision_by_rank(precision, trained)
        if trained is not None and (trained > 0).any():
            figures["average precision and frequency"] = classes.precision_by_frequency(
                precision, trained
            )
    return {name: style.to_pixels(figure) for name, figure in figures.items()}
