"""From scores of segments to events: which segments make one, and which events are joined or dropped.

In this order:

1. **Smoothing**: a score becomes the median of itself and its neighbours, `smoothing` segments in all. Near
   an end of what there is, of a clip, a recording or a stretch of one, it is as many on each side as there
   are on the shorter one, so the first and the last segment keep their own score.
2. **Hysteresis**: an event of a class is a run of segments next to each other that are all at or above its
   threshold `keep`, and of which one is at or above `start`. With equal thresholds it is a run at or above
   both.
3. An event lasts from where its first segment begins to where its last one ends, or to where the next event
   of its class begins, if segments overlap. Its score is the highest (smoothed) score in it.
4. Events of a class with less than `least_gap` seconds between them are joined.
5. Events shorter than `least_seconds` are dropped.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from mla_jax.errors import UserError

_DECIMALS = 6  # of seconds


@dataclasses.dataclass(frozen=True, eq=False)
class EventRules:
    """When scores of segments make events, by class.

    Attributes:
      start: [num_classes] float64, a score that begins an event; infinity: none does.
      keep: [num_classes] float64, a score with which it goes on; at most `start`.
      smoothing: how many segments the median is of, an odd number; 1: the score itself.
      least_seconds: shorter events are dropped.
      least_gap: seconds; events with less between them are joined.

    Raises:
      UserError: a value is not valid.
    """

    start: np.ndarray
    keep: np.ndarray
    smoothing: int = 1
    least_seconds: float = 0.0
    least_gap: float = 0.0

    def __post_init__(self) -> None:
        if self.start.ndim != 1 or self.start.shape != self.keep.shape:
            raise UserError(
                f"start is {list(self.start.shape)} and keep {list(self.keep.shape)}; give two thresholds "
                "for each class"
            )
        if not (self.keep <= self.start).all():
            k = int(np.argmin(self.keep <= self.start))
            raise UserError(
                f"class {k}: keep is {self.keep[k]:g} and start {self.start[k]:g}; an event goes on at its "
                "own threshold or a lower one"
            )
        if self.smoothing < 1 or self.smoothing % 2 == 0:
            raise UserError(
                f"smoothing={self.smoothing} is not valid: it must be an odd number of segments, 1 or more"
            )
        for name in ("least_seconds", "least_gap"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(
                    f"{name}={getattr(self, name):g} is not valid: it must be seconds, 0 or more"
                )

    def smoothed(self, scores: np.ndarray) -> np.ndarray:
        """The scores after the first step.

        Args:
          scores: [..., time] floating-point; NaN where there is no segment.
        """
        return smooth(scores, self.smoothing)


class Found(NamedTuple):
    """Events, in the order of rows and of time; [E] each.

    Attributes:
      row: int64, of the scores.
      onset, offset: float64 seconds.
      score: the highest of its segments.
    """

    row: np.ndarray
    onset: np.ndarray
    offset: np.ndarray
    score: np.ndarray


def smooth(scores: np.ndarray, width: int) -> np.ndarray:
    """The median of each score and its neighbours, with fewer of them near the ends.

    Args:
      scores: [..., time] floating-point; NaN where there is no segment, which stays.
      width: how many scores a median is of, odd.
    """
    flat = scores.reshape(-1, scores.shape[-1])
    if width == 1 or not flat.size:
        return scores
    time, there = flat.shape[1], ~np.isnan(flat)
    place = np.arange(time)
    before = place - np.maximum.accumulate(np.where(there, -1, place), axis=1)
    behind = np.minimum.accumulate(np.where(there, time, place)[:, ::-1], axis=1)[:, ::-1] - place
    reach = np.minimum(np.minimum(before, behind) - 1, width // 2)
    smoothed = flat.copy()
    for side in range(1, width // 2 + 1):
        rows, places = np.nonzero(reach == side)
        around = flat[rows[:, None], places[:, None] + np.arange(-side, side + 1)]
        smoothed[rows, places] = np.partition(around, side, axis=1)[:, side]
    return smoothed.reshape(scores.shape)


class Runs(NamedTuple):
    """Runs of segments next to each other, in the order of rows and of time; [E] each.

    Attributes:
      row, first, last: int64, of the scores; the last segment is in the run.
      score: the highest in it.
    """

    row: np.ndarray
    first: np.ndarray
    last: np.ndarray
    score: np.ndarray


def find_runs(scores: np.ndarray, start: np.ndarray, keep: np.ndarray) -> Runs:
    """The runs of scores at or above `keep` that have one at or above `start`.

    Args:
      scores: [rows, time] floating-point, NaN where there is no segment.
      start, keep: [rows].
    """
    rows, time = scores.shape
    # A column that is below every threshold ends each row.
    above = np.zeros((rows, time + 1), bool)
    above[:, :time] = scores >= keep[:, None]
    change = np.diff(above.ravel().astype(np.int8), prepend=0)
    begins, ends = np.flatnonzero(change > 0), np.flatnonzero(change < 0)
    if not len(begins):
        nothing = np.zeros(0, np.int64)
        return Runs(nothing, nothing, nothing, np.zeros(0, scores.dtype))
    padded = np.full((rows, time + 1), -np.inf, scores.dtype)
    np.copyto(padded[:, :time], scores, where=above[:, :time])
    best = np.maximum.reduceat(padded.ravel(), begins)
    row = begins // (time + 1)
    began = best >= start[row]
    row, begins, ends, best = row[began], begins[began], ends[began], best[began]
    shift = row * (time + 1)
    return Runs(row, begins - shift, ends - 1 - shift, best)


def find_events(
    scores: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    labels: np.ndarray,
    rules: EventRules,
) -> Found:
    """The events of rows of segments, each row of one class.

    Args:
      scores: [rows, time] floating-point, NaN where there is no segment: there events end.
      begins, ends: [time] seconds, of the segments.
      labels: [rows] the class of each.
      rules: what makes an event.
    """
    smoothed = rules.smoothed(scores)
    runs = find_runs(smoothed, rules.start[labels], rules.keep[labels])
    onset, offset = begins[runs.first], ends[runs.last]
    if not len(onset):
        return Found(runs.row, onset, offset, runs.score)
    same_row = runs.row[1:] == runs.row[:-1]
    offset[:-1] = np.where(same_row, np.minimum(offset[:-1], onset[1:]), offset[:-1])
    gap = np.round(onset[1:] - offset[:-1], _DECIMALS)
    first = np.flatnonzero(np.append(True, ~(same_row & (gap < rules.least_gap))))
    row, onset = runs.row[first], onset[first]
    offset = offset[np.append(first[1:], len(offset)) - 1]
    score = np.maximum.reduceat(runs.score, first)
    long = np.round(offset - onset, _DECIMALS) >= rules.least_seconds
    return Found(row[long], onset[long], offset[long], score[long])
