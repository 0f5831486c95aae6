"""Strong labels of recordings that were cut into clips: the events of each clip, in its own seconds.

The clips of one recording share its name, and their start times tell them apart. So where several clips have
one name, the events of the file of that name are in seconds of the recording.
"""

from collections import Counter

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.localization.matching import match_files
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
    """
    names = [bytes(v).decode(errors="replace") for v in clips.video_ids]
    several = {name for name, count in Counter(names).items() if count > 1}
    if not several:
        return {file: list(events) for file, events in labels.items()}, names
    distinct = list(dict.fromkeys(names))
    clip_of = match_files(labels, distinct, len(distinct)).clip_of
    file_of = {distinct[i]: file for file, i in clip_of.items()}
    cut = {file_of[name] for name in several & file_of.keys()}
    made = {file: list(events) for file, events in labels.items() if file not in cut}
    ids = []
    lengths = np.asarray(clips.num_segments) * segment_seconds
    for name, start, length in zip(names, clips.start_times.tolist(), lengths, strict=True):
        if name not in several:
            ids.append(name)
            continue
        ids.append(f"{name}, from {start!r} s")
        if name in file_of:
            events = labels[file_of[name]]
            made[ids[-1]] = [
                Event(max(0.0, onset - start), offset - start, label)
                for onset, offset, label in events
                if offset > start and onset < start + length
            ]
    return made, ids
