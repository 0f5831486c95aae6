"""When sounds truly occur: the strong labels of clips, and what of them is left out."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.segment_seconds import require_segment_seconds
from mla_jax.localization.cuts import labels_of_cuts
from mla_jax.localization.events import Reference, segment_reference
from mla_jax.localization.matching import match_files
from mla_jax.localization.strong_labels import ReadLabels, read_strong_labels


def read_truth(
    path: str | Path, classes: ClassList, clips: ClipSet, segment_seconds: float | None
) -> tuple[Reference, list[str]]:
    """What sounds in which segment of each clip, and what of the strong labels and the clips is left out.

    Args:
      path: a file of strong labels, see `mla_jax.localization.strong_labels`.
      classes: those of the clips.
      clips: the clips.
      segment_seconds: from one of their segments to the next; an error if that is not known.

    Returns:
      The truth, and sentences for a person.

    Raises:
      UserError: the file cannot be used, no file of it belongs to a clip, no event of it lies in a clip, or
        segments are of unknown length.
    """
    seconds = _seconds(path, segment_seconds)
    labels = read_strong_labels(path, classes)
    by_clip, ids = labels_of_cuts(labels, clips, seconds)
    truth = segment_reference(
        by_clip,
        ids,
        clips.mask(),
        clips.num_classes,
        resolution=seconds,
        unmatched="skip",
        start_times=clips.start_times,
    )
    return truth, [*_what_is_left_out(path, classes, truth, labels), *_unknown_labels(path, labels)]


def _seconds(path: str | Path, segment_seconds: float | None) -> float:
    return require_segment_seconds(f"{path}, strong labels,", stated=segment_seconds)


def _what_is_left_out(
    path: str | Path, classes: ClassList, truth: Reference, labels: ReadLabels
) -> list[str]:
    num_clips, num_events = len(truth.mask), sum(map(len, labels.values()))
    num_labelled, strangers = num_clips - len(truth.clips_without_labels), truth.files_without_clip
    notes = []
    if num_labelled < num_clips:
        notes.append(
            f"{path} has strong labels for {num_labelled:,} of {num_clips:,} clips; only these are judged by "
            "seconds."
        )
    if strangers:
        notes.append(
            f"{len(strangers):,} of {len(labels):,} files in {path} belong to no clip: "
            f"{_shortened(strangers, 3)}."
        )
    if not truth.known.all():
        notes.append(
            f"{path} knows {truth.known.sum():,} of {len(classes):,} classes; figures by seconds count these "
            f"alone. {_which(classes, truth.known)}."
        )
    if truth.events_outside:
        notes.append(
            f"{truth.events_outside:,} of {num_events:,} events in {path} touch no segment of their clip."
        )
    return notes


def _which(classes: ClassList, known: np.ndarray) -> str:
    """The classes that are known or, if they are fewer, those that are not."""
    fewer = known if 2 * known.sum() <= len(known) else ~known
    names = _shortened([classes.shown_names[k] for k in np.flatnonzero(fewer)])
    return f"It {'knows' if fewer is known else 'does not know'} {names or 'none'}"


def _unknown_labels(path: str | Path, labels: ReadLabels) -> list[str]:
    if not labels.left_out:
        return []
    names = [f"{label} ({count:,})" for label, count in Counter(labels.left_out).most_common()]
    return [
        f"{sum(labels.left_out.values()):,} events in {path} have labels that are no class, and are left "
        f"out: {_shortened(names)}."
    ]


def truth_of_clip(
    path: str | Path,
    classes: ClassList,
    clips: ClipSet,
    row: int,
    segment_seconds: float | None,
) -> tuple[np.ndarray | None, list[str]]:
    """What truly sounds in one of the clips, [classes, its segments] bool; None where that is not known.

    Arguments, sentences and errors as of `read_truth`.
    """
    seconds = _seconds(path, segment_seconds)
    labels = read_strong_labels(path, classes)
    by_clip, ids = labels_of_cuts(labels, clips, seconds)
    clip_of = match_files(by_clip, ids, len(clips), clips.start_times).clip_of
    notes = _unknown_labels(path, labels)
    if row not in clip_of.values():
        return None, [f"{path} has no line for {clips.describe(row)}: nothing is framed.", *notes]
    # All clips that have events, so that it is noticed if none of them fits its clip.
    rows = sorted(clip_of.values())
    truth = segment_reference(
        {file: by_clip[file] for file in clip_of},
        [ids[i] for i in rows],
        clips.mask()[rows],
        clips.num_classes,
        resolution=seconds,
        start_times=clips.start_times[rows],
    )
    place = rows.index(row)
    active: np.ndarray = truth.active[place, : clips.num_segments[row]].T
    if truth.events[place] and not active.any():
        notes.append(f"No event in {path} touches a segment of {clips.describe(row)}.")
    return active, notes


def _shortened(names: Sequence[str], most: int = 200) -> str:
    more = len(names) - most
    return "; ".join(names[:most]) + (f"; and {more:,} more" if more > 0 else "")
