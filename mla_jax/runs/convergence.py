"""When a run has converged, and which of its steps validation chooses: rules over its evaluations alone.

Both follow from the log, so a run that goes on after a stop comes to the same end.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Scored = tuple[int, float]
"""A step that was evaluated, and its validation mAP."""


def scored(entries: Iterable[Mapping[str, Any]]) -> list[Scored]:
    """The steps of a log that have a validation mAP, with it."""
    return [(e["step"], e["validation_mAP"]) for e in entries if "validation_mAP" in e]


def end_of(evaluations: Sequence[Scored], patience: int) -> int | None:
    """The step at which a run has converged; None if it has not.

    That is the last of the first `patience` evaluations in a row none of which was better than the best
    before them. A score that is not defined is never better.

    Args:
      evaluations: ascending.
      patience: how many; 0: no run ever converges.
    """
    best, since = -math.inf, 0
    for step, score in evaluations:
        best, since = (score, 0) if score > best else (best, since + 1)
        if patience and since >= patience:
            return step
    return None


def is_best(evaluations: Sequence[Scored]) -> bool:
    """Whether the last evaluation is the best so far, or as good; a score that is not defined is not."""
    *before, (_, newest) = evaluations
    return not math.isnan(newest) and all(not score > newest for _, score in before)
