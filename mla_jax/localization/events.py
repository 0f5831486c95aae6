"""Events as active segments, and active segments as events.

Segment t of resolution r covers r t to r (t + 1) seconds. An event makes every segment active that begins
before the event ends and ends after the event begins. So an event that ends where a segment begins does not
touch that segment; an event of no length makes the segment active in which it lies, but none if it lies on a
boundary. `sed_eval` and `sed_scores_eval`, of the DCASE challenges, have the same rule. Times are rounded to
a microsecond first, so that 0.1 + 0.2 ends where 0.3 begins.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mla_jax.config import one_of
from mla_jax.errors import UserError
from mla_jax.localization.matching import match_files, names_of, require_all_matched
from mla_jax.localization.strong_labels import Event, StrongLabels

_DECIMALS = 6  # of seconds
_SHORTEST = 1e-3  # seconds: a resolution well above what times are rounded to


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """What sounds in which segment, and what could not be matched.

    Attributes:
      active: [num_clips, time, num_classes] bool, False where nothing is known.
      mask: [num_clips, time] bool, the segments that can be judged: real ones, of clips with strong labels.
      known: [num_classes] bool, the classes that can be judged: those of which the strong labels have an
        event in any file. Others may sound without being listed.
      files_without_clip: names of files that belong to no clip.
      clips_without_labels: ids of clips without a file; they are not judged, rather than taken to be silent.
      events_outside: how many events touch no segment of their clip, and so do not count.
      events: by row, those of each clip that has strong labels.
    """

    active: np.ndarray
    mask: np.ndarray
    known: np.ndarray
    files_without_clip: tuple[str, ...] = ()
    clips_without_labels: tuple[str, ...] = ()
    events_outside: int = 0
    events: Mapping[int, Sequence[Event]] = dataclasses.field(default_factory=dict)

    def labelled(self) -> "tuple[np.ndarray, Reference]":
        """The rows of the clips with strong labels, and what is known of these alone."""
        rows = np.flatnonzero(self.mask.any(axis=1))
        place = {row: i for i, row in enumerate(rows.tolist())}
        events = {place[row]: found for row, found in self.events.items() if row in place}
        return rows, Reference(self.active[rows], self.mask[rows], self.known, events=events)


def segment_reference(
    labels: StrongLabels,
    clip_ids: Sequence[str | bytes] | np.ndarray,
    mask: np.ndarray,
    num_classes: int,
    *,
    resolution: float = 1.0,
    unmatched: str = "error",
    start_times: np.ndarray | None = None,
) -> Reference:
    """Turns strong labels into what sounds in each segment of each clip.

    Events may overlap, and may end behind their clip: they are cut at its end.

    Args:
      labels: the events of every file, as `read_strong_labels` returns them.
      clip_ids: [num_clips] the clips' ids, matched with files as `mla_jax.localization.matching` says; str,
        or bytes as in a ClipSet.
      mask: [num_clips, time] bool, True where there is a segment.
      num_classes: K.
      resolution: seconds of a segment.
      unmatched: what to do where a file has no clip, or a clip no file: error, or skip (both are left out,
        and listed in the result).
      start_times: [num_clips] where in its video each clip starts, in seconds, as in a ClipSet; files whose
        names say a start must say that of their clip. None, or all 0: unknown.

    Raises:
      UserError: files and clips do not match (none of them, or any where `unmatched` says error), a file may
        belong to several clips or a clip to several files, no event touches a segment, a label is not 0 to
        K - 1, or an argument is not valid.
    """
    one_of("unmatched", unmatched, ("error", "skip"))
    bounds = segment_bounds(mask.shape[1], resolution)
    matches = match_files(labels, clip_ids, len(mask), start_times)
    if unmatched == "error":
        require_all_matched(matches, len(labels), len(mask))
    has_file = np.zeros(len(mask), bool)
    has_file[list(matches.clip_of.values())] = True
    mask = mask & has_file[:, None]
    rows = [(clip, *event) for name, clip in matches.clip_of.items() for event in labels[name]]
    active, num_outside = _activate(rows, bounds, mask, num_classes)
    if rows and num_outside == len(rows):
        raise UserError(
            f"none of the {len(rows)} events touches a segment of its clip; onset and offset must be "
            "seconds from the start of the clip"
        )
    labelled_classes = {event.label for events in labels.values() for event in events}
    known = np.isin(np.arange(num_classes), list(labelled_classes))
    return Reference(
        active,
        mask,
        known,
        matches.files_without_clip,
        matches.clips_without_file,
        num_outside,
        {clip: labels[name] for name, clip in matches.clip_of.items()},
    )


def _activate(
    rows: list[tuple[int, float, float, int]],
    bounds: np.ndarray,
    mask: np.ndarray,
    num_classes: int,
) -> tuple[np.ndarray, int]:
    """What sounds in which segment, [num_clips, time, num_classes] bool; and how many events touch none.

    A row is an event: index of the clip, onset, offset, label.
    """
    active = np.zeros((*mask.shape, num_classes), bool)
    if not rows:
        return active, 0
    clips, onsets, offsets, classes = (np.array(column) for column in zip(*rows, strict=True))
    wrong = classes[(classes < 0) | (classes >= num_classes)]
    if wrong.size:
        raise UserError(
            f"an event has label {wrong[0]}; it must be 0 to {num_classes - 1}, an index of the classes"
        )
    # The first segment that ends behind the onset, and the first that does not begin before the offset.
    first = np.searchsorted(bounds[1:], np.round(onsets, _DECIMALS), side="right")
    stop = np.searchsorted(bounds[:-1], np.round(offsets, _DECIMALS), side="left")
    num_outside = 0
    for clip, start, end, k in zip(clips, first, stop, classes, strict=True):
        inside = mask[clip, start:end]
        active[clip, start:end, k] |= inside
        num_outside += not inside.any()
    return active, num_outside


def segments_to_events(
    active: np.ndarray, clip_ids: Sequence[str | bytes] | np.ndarray, *, resolution: float = 1.0
) -> dict[str, list[Event]]:
    """Turns each run of active segments into an event; `segment_reference` turns events back.

    Args:
      active: [num_clips, time, num_classes] bool, False in padding.
      clip_ids: [num_clips] the clips' ids, or names of files.
      resolution: seconds of a segment.

    Returns:
      The events of every clip, by onset and class; an empty list where nothing sounds.

    Raises:
      UserError: the shapes do not fit, an id is repeated, or the resolution is not valid.
    """
    active = np.asarray(active)
    if active.ndim != 3 or active.dtype != bool:
        raise UserError(
            f"active is {list(active.shape)} of {active.dtype}; give [num_clips, time, num_classes] bool"
        )
    events: dict[str, list[Event]] = {name: [] for name in names_of(clip_ids, len(active))}
    if len(events) < len(active):
        raise UserError("two clips have the same id; give each clip an id of its own")
    rows = list(events.values())
    bounds = segment_bounds(active.shape[1], resolution).tolist()
    # Along the last axis, so that beginnings and ends come in pairs.
    change = np.diff(active.swapaxes(1, 2).astype(np.int8), prepend=0, append=0)
    begins, ends = np.argwhere(change > 0).tolist(), np.argwhere(change < 0)[:, 2].tolist()
    for (clip, label, start), end in zip(begins, ends, strict=True):
        rows[clip].append(Event(bounds[start], bounds[end], label))
    for found in rows:
        found.sort(key=lambda event: (event.onset, event.label))
    return events


def segment_bounds(time: int, resolution: float) -> np.ndarray:
    """Where segments begin and end: [time + 1] float64, in seconds.

    Raises:
      UserError: the resolution is no number of seconds.
    """
    if not _SHORTEST <= resolution < np.inf:
        raise UserError(
            f"resolution={resolution!r} is not valid: it must be the seconds of a segment, "
            f"{_SHORTEST} or more"
        )
    return np.round(np.arange(time + 1) * resolution, _DECIMALS)
