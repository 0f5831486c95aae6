"""Events as active segments, active segments as events, and which file belongs to which clip.

Segment t of resolution r covers r t to r (t + 1) seconds. An event makes every segment active that begins
before the event ends and ends after the event begins. So an event that ends where a segment begins does not
touch that segment; an event of no length makes the segment active in which it lies, but none if it lies on a
boundary. `sed_eval` and `sed_scores_eval`, of the DCASE challenges, have the same rule. Times are rounded to
a microsecond first, so that 0.1 + 0.2 ends where 0.3 begins.

A file of the strong labels belongs to the clip whose id is its name, or else its name without the last
extension: `abc.wav` to the clip `abc.wav` if there is one, else to `abc`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mla_jax.config import one_of
from mla_jax.errors import UserError
from mla_jax.localization.strong_labels import Event, StrongLabels

_DECIMALS = 6  # of seconds
_SHORTEST = 1e-3  # seconds: a resolution well above what times are rounded to


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """What sounds in which segment, and what could not be matched.

    Attributes:
      active: [num_clips, time, num_classes] bool, False where nothing is known.
      mask: [num_clips, time] bool, the segments that can be judged: real ones, of clips with strong labels.
      files_without_clip: names of files that belong to no clip.
      clips_without_labels: ids of clips without a file; they are not judged, rather than taken to be silent.
      events_outside: how many events touch no segment of their clip, and so do not count.
    """

    active: np.ndarray
    mask: np.ndarray
    files_without_clip: tuple[str, ...] = ()
    clips_without_labels: tuple[str, ...] = ()
    events_outside: int = 0


def segment_reference(
    labels: StrongLabels,
    clip_ids: Sequence[str | bytes] | np.ndarray,
    mask: np.ndarray,
    num_classes: int,
    *,
    resolution: float = 1.0,
    unmatched: str = "error",
) -> Reference:
    """Turns strong labels into what sounds in each segment of each clip.

    Events may overlap, and may end behind their clip: they are cut at its end.

    Args:
      labels: the events of every file, as `read_strong_labels` returns them.
      clip_ids: [num_clips] the clips' ids, matched with files as this module says; str, or bytes as in a
        ClipSet.
      mask: [num_clips, time] bool, True where there is a segment.
      num_classes: K.
      resolution: seconds of a segment.
      unmatched: what to do where a file has no clip, or a clip no file: error, or skip (both are left out,
        and listed in the result).

    Raises:
      UserError: files and clips do not match (and `unmatched` says error), an id is repeated or two files
        belong to one clip, no event touches a segment, a label is not 0 to K - 1, or an argument is not
        valid.
    """
    one_of("unmatched", unmatched, ("error", "skip"))
    bounds = segment_bounds(mask.shape[1], resolution)
    clip_of, files_without_clip, clips_without_labels = _match(labels, clip_ids, len(mask))
    if unmatched == "error":
        _require_matched(files_without_clip, clips_without_labels, len(labels), len(mask))
    known = np.zeros(len(mask), bool)
    known[list(clip_of.values())] = True
    mask = mask & known[:, None]
    rows = [(clip, *event) for name, clip in clip_of.items() for event in labels[name]]
    active, num_outside = _activate(rows, bounds, mask, num_classes)
    if rows and num_outside == len(rows):
        raise UserError(
            f"none of the {len(rows)} events touches a segment of its clip; onset and offset must be "
            "seconds from the start of the clip"
        )
    return Reference(active, mask, files_without_clip, clips_without_labels, num_outside)


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


def _match(
    labels: StrongLabels, clip_ids: Sequence[str | bytes] | np.ndarray, num_clips: int
) -> tuple[dict[str, int], tuple[str, ...], tuple[str, ...]]:
    """The clip of each file that has one, files without a clip, and ids of clips without a file."""
    ids = _names(clip_ids, num_clips)
    index = {name: i for i, name in enumerate(ids)}
    clip_of: dict[str, int] = {}
    file_of: dict[int, str] = {}
    for name in labels:
        clip = index.get(name, index.get(name.rpartition(".")[0]))
        if clip is None:
            continue
        if clip in file_of:
            raise UserError(
                f"the files {file_of[clip]!r} and {name!r} both belong to the clip {ids[clip]!r}; give clips "
                "and files of the same names"
            )
        clip_of[name], file_of[clip] = clip, name
    return (
        clip_of,
        tuple(name for name in labels if name not in clip_of),
        tuple(name for i, name in enumerate(ids) if i not in file_of),
    )


def _names(clip_ids: Sequence[str | bytes] | np.ndarray, num_clips: int) -> list[str]:
    names = [i.decode(errors="replace") if isinstance(i, bytes) else str(i) for i in clip_ids]
    if len(names) != num_clips:
        raise UserError(f"there are {len(names)} clip ids for {num_clips} clips; give one for each")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"two clips have the id {name!r}; give each clip an id of its own")
        seen.add(name)
    return names


def _require_matched(
    files: tuple[str, ...], clips: tuple[str, ...], num_files: int, num_clips: int
) -> None:
    parts = [
        f"{len(names)} of {total} {what} ({', '.join(map(repr, names[:3]))}"
        + (", ...)" if len(names) > 3 else ")")
        for names, total, what in (
            (files, num_files, "files of the strong labels have no clip"),
            (clips, num_clips, "clips have no line in the strong labels"),
        )
        if names
    ]
    if parts:
        raise UserError(
            f"{'; '.join(parts)}; a file's name must be a clip's id, with or without an extension, or "
            "unmatched='skip' leaves these out"
        )


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
    events: dict[str, list[Event]] = {name: [] for name in _names(clip_ids, len(active))}
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
