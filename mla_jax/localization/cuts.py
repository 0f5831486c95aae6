"""Strong labels of recordings that were cut into clips: the events of each clip, in its own seconds.

The clips of one recording share its name, and their start times tell them apart. So where several clips have
one name, the events of the file of that name are in seconds of the recording. A file whose name says the
start of one of these clips is of that clip alone, and in its seconds.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.errors import UserError
from mla_jax.localization.matching import find_clips
from mla_jax.localization.strong_labels import Event, StrongLabels


def labels_of_cuts(
    labels: StrongLabels, clips: ClipSet, segment_seconds: float
) -> tuple[dict[str, list[Event]], list[str]]:
    """Strong labels by clip, where several clips have one name; all others stay as they are.

    Args:
      labels: the events of every file.
      clips: the clips.
      segment_seconds: from one of their segments to the next.

    Returns:
      The labels, and an id for each clip that is no other's: the clip's own if no other has it.

    Raises:
      UserError: two files have events of one clip, or two clips have one name and start.
    """
    names = [bytes(v).decode(errors="replace") for v in clips.video_ids]
    several = {name for name, count in Counter(names).items() if count > 1}
    if not several:
        return {file: list(events) for file, events in labels.items()}, names
    starts = clips.start_times.tolist()
    ids = [
        f"{name}, from {start!r} s" if name in several else name
        for name, start in zip(names, starts, strict=True)
    ]
    lengths = np.asarray(clips.num_segments) * segment_seconds
    made: dict[str, list[Event]] = {}
    for file, (rows, at_start) in find_clips(labels, names, clips.start_times).items():
        events = list(labels[file])
        if not rows or names[rows[0]] not in several:
            made[file] = events
            continue
        for row in rows:
            if ids[row] in made:
                raise UserError(
                    f"the file {file!r} of the strong labels belongs to a clip that another file or clip "
                    f"has too, {ids[row]!r}; give one file of a clip, or of the recording"
                )
            made[ids[row]] = events if at_start else _cut(events, starts[row], lengths[row])
    return made, ids


def _cut(events: Sequence[Event], start: float, length: float) -> list[Event]:
    """The events that touch a part of a recording, in seconds of the part."""
    return [
        Event(max(0.0, onset - start), offset - start, label)
        for onset, offset, label in events
        if offset > start and onset < start + length
    ]
