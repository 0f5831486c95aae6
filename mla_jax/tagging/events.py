"""When labels sound: events, from the scores of segments, one row each.

An event is a run of segments next to each other, each of whose score for a label is at or above the label's
threshold. It lasts from where the first segment begins to where the last one ends, goes on over the ends of
windows, and its score is the highest of its segments. What the whole clip or window is given does not count.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from mla_jax.data.class_list import ClassList
from mla_jax.data.segment_seconds import assumed_segment_seconds
from mla_jax.errors import UserError
from mla_jax.localization.strong_labels import COLUMNS
from mla_jax.tagging.tags import Tags, Write

_DECIMALS = 6
_SAME = 1e-6  # seconds


class TaggedEvent(NamedTuple):
    """A label that sounds in a recording, from `onset` to `offset`, in seconds."""

    onset: float
    offset: float
    label: int
    score: float


class EventFinder:
    """Finds the events of recordings that come as clips or windows, in order of time.

    Attributes:
      limits: [num_classes] the threshold of each class.
    """

    def __init__(self, limits: np.ndarray) -> None:
        self.limits = limits
        self._hop = self._example = 0.0  # seconds
        self._name: bytes | None = None
        self._found: list[TaggedEvent] = []
        self._open: dict[int, tuple[float, float, float]] = {}  # onset, last segment, score

    def add(self, tags: Tags) -> Iterator[tuple[str, list[TaggedEvent]]]:
        """Takes a batch; yields the recordings that are complete with it, each with its events in order."""
        assert tags.scores is not None, "events are of segments"
        assert tags.segment_starts is not None, "segments have times"
        self._hop = tags.clips.embedding.hop_seconds or assumed_segment_seconds()
        self._example = tags.clips.embedding.example_seconds or self._hop
        counts = np.asarray(tags.clips.num_segments)
        ends = np.searchsorted(tags.owner, np.arange(len(counts)), side="right").tolist()
        first = 0
        for clip, end in enumerate(ends):
            name = bytes(tags.clips.video_ids[clip])
            if name != self._name:
                yield from self.finish()
                self._name = name
            starts = tags.segment_starts[clip, : counts[clip]]
            for row in range(first, end):
                self._take(int(tags.labels[row]), starts, tags.scores[row, : counts[clip]])
            first = end

    def finish(self) -> Iterator[tuple[str, list[TaggedEvent]]]:
        """The last recording, if there was one."""
        if self._name is None:
            return
        for label in list(self._open):
            self._close(label)
        self._found.sort(key=lambda event: (event.onset, event.label))
        yield self._name.decode(errors="replace"), self._found
        self._name, self._found = None, []

    def _take(self, label: int, starts: np.ndarray, scores: np.ndarray) -> None:
        for i in np.flatnonzero(scores >= self.limits[label]):
            start, score = float(starts[i]), float(scores[i])
            if label in self._open and start > self._open[label][1] + self._hop + _SAME:
                self._close(label, before=start)
            # Windows may overlap, and give a segment twice.
            onset, last, best = self._open.get(label, (start, start, score))
            self._open[label] = (onset, max(last, start), max(best, score))

    def _close(self, label: int, before: float = math.inf) -> None:
        """Ends an event; it ends before the next of its label, where segments overlap."""
        onset, last, score = self._open.pop(label)
        offset = min(round(last + self._example, _DECIMALS), before)
        self._found.append(TaggedEvent(onset, offset, label, score))


@contextlib.contextmanager
def write_dcase(file: Any, classes: ClassList, limits: np.ndarray) -> Iterator[Write]:
    """Tab-separated filename, onset, offset, event_label, score; where nothing sounds, the filename alone."""
    file.write("\t".join([*COLUMNS, "score"]) + "\n")

    def write_recording(name: str, events: list[TaggedEvent]) -> None:
        for onset, offset, label, score in events:
            cells = [name, _seconds(onset), _seconds(offset), classes.names[label], f"{score:.6f}"]
            file.write("\t".join(map(_cell, cells)) + "\n")
        if not events:
            file.write(f"{_cell(name)}\t\t\t\t\n")

    with _finding(limits, write_recording) as write:
        yield write


@contextlib.contextmanager
def write_audacity(file: Any, classes: ClassList, limits: np.ndarray) -> Iterator[Write]:
    """A label track of Audacity's: tab-separated onset, offset and label, of one recording."""
    names: list[str] = []

    def write_recording(name: str, events: list[TaggedEvent]) -> None:
        names.append(name)
        if len(names) > 1:
            raise UserError(
                f"a label track is of one recording, and these are several: {names[0]!r}, {name!r}; give "
                "an output that ends in .tsv, or one recording"
            )
        for onset, offset, label, _ in events:
            cells = [_seconds(onset), _seconds(offset), classes.names[label]]
            file.write("\t".join(map(_cell, cells)) + "\n")

    with _finding(limits, write_recording) as write:
        yield write


@contextlib.contextmanager
def _finding(
    limits: np.ndarray, write_recording: Callable[[str, list[TaggedEvent]], None]
) -> Iterator[Write]:
    finder = EventFinder(limits)
    found = 0

    def write_all(recordings: Iterable[tuple[str, list[TaggedEvent]]]) -> None:
        nonlocal found
        for name, events in recordings:
            found += len(events)
            write_recording(name, events)

    yield lambda tags: write_all(finder.add(tags))
    write_all(finder.finish())
    if not found:
        logging.warning(
            "there is no event: no segment's score reaches the threshold of its class, which is %s; a lower "
            "threshold finds more",
            f"{limits.min():g}" if limits.min() == limits.max() else f"{limits.min():g} or more",
        )


def _seconds(time: float) -> str:
    return f"{time:.6f}".rstrip("0").rstrip(".")


def _cell(text: str) -> str:
    """Text that fits between two tabs."""
    return " ".join(text.split()) if any(c in text for c in "\t\r\n") else text
