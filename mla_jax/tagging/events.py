"""When labels sound: events, from the scores of segments.

`mla_jax.localization.event_rules` says what an event is. It goes on over the ends of windows. What the whole
clip or window is given does not count.
"""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from mla_jax.data.class_list import ClassList
from mla_jax.data.segment_seconds import assumed_segment_seconds
from mla_jax.errors import UserError
from mla_jax.localization.event_rules import EventRules, find_events
from mla_jax.localization.strong_labels import COLUMNS
from mla_jax.tagging.tags import Tags, Write

_DECIMALS = 6
# Seconds between times that are the same: a window's start is rounded to a microsecond, and then the times of
# its segments are.
_SAME = 3e-6
_MOST_SCORES = 2_000_000  # that are looked at at once


class TaggedEvent(NamedTuple):
    """A label that sounds in a recording, from `onset` to `offset`, in seconds."""

    onset: float
    offset: float
    label: int
    score: float


@dataclasses.dataclass
class EventCount:
    """How many events were written, how many recordings, and how many of these have none."""

    events: int = 0
    recordings: int = 0
    without: int = 0

    def __str__(self) -> str:
        """As `12 events in 3 recordings, of which 1 has none`."""
        has = "has" if self.without == 1 else "have"
        without = f", of which {self.without:,} {has} none" if self.without and self.events else ""
        return (
            f"{_number(self.events, 'event')} in {_number(self.recordings, 'recording')}{without}"
        )


class EventFinder:
    """Finds the events of recordings that come as clips or windows, one recording after the other.

    A recording's events are found when all of it is there, so they do not depend on where windows, batches
    or parts end. Of its scores those at or above a class's `keep` are held, which are all that decide: a
    median of an odd number of scores that is at or above `keep` is one of them, however low the others are.
    """

    def __init__(self, rules: EventRules) -> None:
        self._rules = rules
        self._recording: _Recording | None = None
        self._complete: set[bytes] = set()

    def add(self, tags: Tags) -> Iterator[tuple[str, list[TaggedEvent]]]:
        """Takes a batch; yields the recordings that are complete with it, each with its events in order.

        Raises:
          UserError: a recording's clips do not stand together, or two of them begin at the same time.
        """
        assert tags.scores is not None, "events are of segments"
        assert tags.segment_starts is not None, "segments have times"
        hop = tags.clips.embedding.hop_seconds or assumed_segment_seconds()
        # A label does not stop in the moment between two segments that no segment hears.
        length = max(hop, tags.clips.embedding.example_seconds or 0.0)
        counts = np.asarray(tags.clips.num_segments)
        stops = np.searchsorted(tags.owner, np.arange(len(counts)), side="right").tolist()
        first = 0
        for clip, stop in enumerate(stops):
            name = bytes(tags.clips.video_ids[clip])
            if self._recording is None or name != self._recording.name:
                yield from self.finish()
                if name in self._complete:
                    raise UserError(
                        f"the clips of {name.decode(errors='replace')!r} do not stand together, so its "
                        "events cannot be found; order the clips by id and start time"
                    )
                self._complete.add(name)
                self._recording = _Recording(name, hop)
            scores = tags.scores[first:stop, : counts[clip]]
            labels = tags.labels[first:stop]
            starts = tags.segment_starts[clip, : counts[clip]]
            ends = np.round(starts + length, _DECIMALS)
            if tags.clips.end_times is not None:
                # The last segment may reach beyond the end of the file.
                ends = np.minimum(ends, np.round(tags.clips.end_times[clip], _DECIMALS))
            self._recording.add(starts, ends, labels, scores, self._rules.keep[labels])
            first = stop

    def finish(self) -> Iterator[tuple[str, list[TaggedEvent]]]:
        """The last recording, if there was one."""
        if self._recording is not None:
            yield self._recording.name.decode(errors="replace"), self._recording.events(self._rules)
            self._recording = None


class _Recording:
    """The scores of a recording that is not complete."""

    def __init__(self, name: bytes, hop: float) -> None:
        self.name = name
        self._hop = hop
        self._starts: list[np.ndarray] = []
        self._begun: set[float] = set()  # when clips or windows begin
        self._ends: list[np.ndarray] = []
        self._count = 0  # of segments so far
        self._held: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # segment, label, score

    def add(
        self,
        starts: np.ndarray,
        ends: np.ndarray,
        labels: np.ndarray,
        scores: np.ndarray,
        keep: np.ndarray,
    ) -> None:
        """Adds a clip or window: when its segments begin and end, and scores [labels, segments].

        Raises:
          UserError: one that begins at the same time was added before.
        """
        start = float(starts[0])
        if start in self._begun:
            raise UserError(
                f"two clips of {self.name.decode(errors='replace')!r} begin at {start:g} s, so its events "
                "cannot be found; give clips their start times, or ids of their own"
            )
        self._begun.add(start)
        rows, segments = np.nonzero(scores >= keep[:, None])
        self._held.append((segments + self._count, labels[rows], scores[rows, segments]))
        self._starts.append(starts)
        self._ends.append(ends)
        self._count += len(starts)

    def events(self, rules: EventRules) -> list[TaggedEvent]:
        """Its events by onset and label."""
        segments, labels, scores = (np.concatenate(c) for c in zip(*self._held, strict=True))
        column, begins, ends = self._columns()
        found_labels, rows = np.unique(labels, return_inverse=True)
        order = np.argsort(rows, kind="stable")
        size = max(1, _MOST_SCORES // len(begins))
        found = []
        for first in range(0, len(found_labels), size):
            block = found_labels[first : first + size]
            held = order[slice(*np.searchsorted(rows[order], [first, first + size]))]
            # NaN stands between segments that are not next to each other; lower scores do not decide.
            dense = np.full((len(block), len(begins)), -np.inf, np.float32)
            dense[:, np.isnan(begins)] = np.nan
            # Windows may overlap, and give a segment twice.
            np.maximum.at(dense, (rows[held] - first, column[segments[held]]), scores[held])
            events = find_events(dense, begins, ends, block, rules)
            found += [
                TaggedEvent(onset, offset, int(block[row]), score)
                for row, onset, offset, score in zip(*map(np.ndarray.tolist, events), strict=True)
            ]
        return sorted(found, key=lambda event: (event.onset, event.label))

    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The place of each segment in time, and when the places begin and end.

        Places between stretches begin at NaN.
        """
        starts = np.concatenate(self._starts)
        order = np.argsort(starts, kind="stable")
        apart = np.diff(starts[order], prepend=-np.inf)
        step = np.where(apart > self._hop + _SAME, 2, np.where(apart > _SAME, 1, 0))
        place = np.cumsum(step) - 1
        begins, ends = np.full((2, int(place[-1]) + 1), np.nan)
        begins[place[step > 0]] = starts[order][step > 0]
        ends[place[step > 0]] = np.concatenate(self._ends)[order][step > 0]
        column = np.empty(len(starts), np.int64)
        column[order] = place
        return column, begins, ends


@contextlib.contextmanager
def write_dcase(
    file: Any, classes: ClassList, rules: EventRules, count: EventCount | None = None
) -> Iterator[Write]:
    """Tab-separated filename, onset, offset, event_label, score; where nothing sounds, the filename alone."""
    file.write("\t".join([*COLUMNS, "score"]) + "\n")

    def write_recording(name: str, events: list[TaggedEvent]) -> None:
        for onset, offset, label, score in events:
            cells = [name, _seconds(onset), _seconds(offset), classes.names[label], f"{score:.6f}"]
            file.write("\t".join(map(_cell, cells)) + "\n")
        if not events:
            file.write(f"{_cell(name)}\t\t\t\t\n")

    with _finding(rules, count, write_recording) as write:
        yield write


@contextlib.contextmanager
def write_audacity(
    file: Any, classes: ClassList, rules: EventRules, count: EventCount | None = None
) -> Iterator[Write]:
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

    with _finding(rules, count, write_recording) as write:
        yield write


@contextlib.contextmanager
def write_event_lines(
    file: Any, classes: ClassList, rules: EventRules, count: EventCount | None = None
) -> Iterator[Write]:
    """JSON Lines, one for each recording: `video_id`, and `events`, which may be none.

    An event has `onset` and `offset` in seconds, `index`, `mid` and `name` of its class, and `score`.
    """

    def write_recording(name: str, events: list[TaggedEvent]) -> None:
        told = [
            {
                "onset": onset,
                "offset": offset,
                "index": label,
                "mid": classes.mids[label],
                "name": classes.names[label],
                "score": round(score, _DECIMALS),
            }
            for onset, offset, label, score in events
        ]
        file.write(json.dumps({"video_id": name, "events": told}) + "\n")

    with _finding(rules, count, write_recording) as write:
        yield write


@contextlib.contextmanager
def _finding(
    rules: EventRules,
    count: EventCount | None,
    write_recording: Callable[[str, list[TaggedEvent]], None],
) -> Iterator[Write]:
    finder = EventFinder(rules)
    count = count or EventCount()

    def write_all(recordings: Iterable[tuple[str, list[TaggedEvent]]]) -> None:
        for name, events in recordings:
            count.recordings += 1
            count.events += len(events)
            count.without += not events
            write_recording(name, events)

    yield lambda tags: write_all(finder.add(tags))
    write_all(finder.finish())
    if not count.events:
        least = rules.start.min()
        logging.warning(
            "there is no event: no segment's score reaches the threshold of its class, which is %s; a lower "
            "threshold finds more",
            f"{least:g}" if least == rules.start.max() else f"{least:g} or more",
        )


def _number(number: int, of: str) -> str:
    return f"{number:,} {of}{'' if number == 1 else 's'}"


def _seconds(time: float) -> str:
    return f"{time:.6f}".rstrip("0").rstrip(".")


def _cell(text: str) -> str:
    """Text that fits between two tabs."""
    return " ".join(text.split()) if any(c in text for c in "\t\r\n") else text
