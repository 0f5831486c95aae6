"""Scores over the time of a clip as rows of cells that say what they are of, for the page's template."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mla_jax.explain.certain import CertainSegment
from mla_jax.explain.examples import ExampleClip
from mla_jax.report.figures.style import shades_of

_MOST_CELLS = 120  # of a row, so that the page stays small


class Cell(NamedTuple):
    """Some segments of a clip, one if it is short.

    Attributes:
      start, length: which, in segments.
      colour: of the score.
      says: when it is, of what class, the score, and what the clip says.
    """

    start: int
    length: int
    colour: str
    says: str


class Strip(NamedTuple):
    """The scores of a class over the time of a clip.

    Attributes:
      length: in segments.
      cells: from the first to the last.
      sounds: where the class truly sounds, as (start, length), in segments.
      says: all of it as text.
    """

    length: int
    cells: list[Cell]
    sounds: list[tuple[int, int]]
    says: str


class Row(NamedTuple):
    """What a run says of a class of a clip: its name, the clip's probability, and its scores."""

    run: str
    probability: str
    strip: Strip


class Group(NamedTuple):
    """A class of a clip: its name, whether the clip is labelled with it, and a row for each run."""

    name: str
    is_label: bool
    rows: list[Row]


class Map(NamedTuple):
    """A clip as every run hears it: its length in words, and its classes."""

    length: str
    groups: list[Group]


def map_of(example: ExampleClip, class_names: tuple[str, ...]) -> Map:
    """The same classes of a clip on one scale, and under each of them every run's scores."""
    groups = []
    for i, k in enumerate(example.classes):
        events = None if example.events is None else example.events[i]
        rows = [
            Row(
                hears.run,
                f"{hears.probabilities[i]:.2f}",
                strip(
                    class_names[k],
                    hears.scores[i],
                    float(hears.probabilities[i]),
                    events,
                    example.segment_seconds,
                ),
            )
            for hears in example.hears
        ]
        groups.append(Group(class_names[k], example.is_label[i], rows))
    time = example.hears[0].scores.shape[1] if example.hears else 0
    return Map(when(0, time, example.segment_seconds), groups)


def strip(
    name: str,
    scores: np.ndarray,
    probability: float,
    events: np.ndarray | None,
    seconds: float | None,
) -> Strip:
    """The scores of a class in a clip. A cell of several segments has the highest of their scores.

    Args:
      name: of the class.
      scores: [time].
      probability: the clip's.
      events: [time] bool, when it truly sounds; None where that is not known.
      seconds: from one segment to the next; None where that is not known.
    """
    time = len(scores)
    step = -(-time // _MOST_CELLS)
    starts = range(0, time, step)
    highest = np.array([scores[start : start + step].max() for start in starts])
    cells = []
    for start, score, colour in zip(starts, highest, shades_of(highest), strict=True):
        length = min(step, time - start)
        says = f"{when(start, length, seconds)}, {name}: {score:.2f}; the clip {probability:.2f}"
        if events is not None:
            sounds = events[start : start + length].any()
            says += "; it truly sounds" if sounds else "; it does not sound"
        cells.append(Cell(start, length, colour, says))
    sounds_at = [] if events is None else _runs(events)
    return Strip(time, cells, sounds_at, _as_text(cells, highest, sounds_at, seconds))


def _as_text(
    cells: list[Cell], scores: np.ndarray, sounds: list[tuple[int, int]], seconds: float | None
) -> str:
    step = cells[0].length
    each = f"segments, {step} at a time" if seconds is None else f"{step * seconds:g} s each"
    text = f"scores, {each}: {', '.join(f'{score:.2f}' for score in scores)}"
    if sounds:
        text += f"; truly sounds {', '.join(when(*run, seconds) for run in sounds)}"
    return text


def when(start: int, length: int, seconds: float | None) -> str:
    """A stretch of segments in words: of a clip's seconds, or its segments where they are not known."""
    if seconds is None:
        end = "" if length == 1 else f" to {start + length}"
        return f"segment {start + 1}{end}"
    return f"{start * seconds:g} to {(start + length) * seconds:g} s"


def _runs(active: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(active.astype(int), prepend=0, append=0)).reshape(-1, 2)
    return [(int(start), int(end - start)) for start, end in edges]


class Certain(NamedTuple):
    """A clip with a segment in which the first run is most certain of a class, in words."""

    clip: str
    when: str
    score: str
    probability: str
    is_label: str
    sounds: str
    strip: Strip


class CertainClass(NamedTuple):
    """A class, what was found in words, and its clips."""

    name: str
    summary: str
    rows: list[Certain]


def certain_class(
    name: str, found: Sequence[CertainSegment], seconds: float | None
) -> CertainClass:
    """The clips in whose segments a run is most certain of a class; `seconds` as of `strip`."""
    rows = [
        Certain(
            clip_name(one),
            when(one.segment, 1, seconds),
            f"{one.score:.2f}",
            f"{one.probability:.2f}",
            _ANSWERS[one.is_label],
            _ANSWERS[one.sounds],
            strip(name, one.scores, one.probability, one.events, seconds),
        )
        for one in found
    ]
    known = [one.sounds for one in found if one.sounds is not None]
    summary = f"{name}: it truly sounds in {sum(known)} of {len(known)}" if known else name
    return CertainClass(name, summary, rows)


_ANSWERS = {True: "yes", False: "no", None: "not known"}


def clip_name(one: ExampleClip | CertainSegment) -> str:
    """Which clip it is, and when in its video it begins: of a time since 1970 in full too."""
    start = f"{one.start_time:.6f}".rstrip("0").rstrip(".")
    return f"{one.video_id}, from {start} s"
