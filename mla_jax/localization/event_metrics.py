"""How well events agree with strong labels: event-based F1 with collars, and PSDS, by sed_scores_eval.

An event counts as found if one of its class begins within `onset_collar` seconds of it, and ends within
`offset_collar` seconds or `offset_collar_rate` of its length, whichever is more (Mesaros, Heittola, Virtanen,
"Metrics for polyphonic sound event detection", 2016). PSDS (Bilen et al., "A framework for the robust
evaluation of sound event detection", 2020) is of scores at every threshold, with the tolerances of the DCASE
challenges: `psds1` wants events when they are, `psds2` the right class somewhere near. Two of its parts,
meant for ten classes, are left out: the spread over classes would leave nothing of hundreds of them, and
how often each sets off each other takes more memory than there is. Both figures are computed by the library
`sed_scores_eval`, of the optional extra `localization`.
"""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from mla_jax.errors import UserError
from mla_jax.localization.event_rules import EventRules, Found, find_events
from mla_jax.localization.events import Reference, segment_bounds
from mla_jax.localization.strong_labels import Event

_PSDS: dict[str, dict[str, float]] = {
    "psds1": {"dtc_threshold": 0.7, "gtc_threshold": 0.7},
    "psds2": {"dtc_threshold": 0.1, "gtc_threshold": 0.1},
}
"""Both up to 100 false alarms an hour; alpha_ct=0 and alpha_st=0 are the library's own."""

_DECIMALS = 6  # of seconds


@dataclasses.dataclass(frozen=True)
class Collars:
    """How far an event may be from the true one, in seconds.

    Attributes:
      onset, offset: seconds.
      offset_rate: of the true event's length; the larger of the two counts.
    """

    onset: float = 0.2
    offset: float = 0.2
    offset_rate: float = 0.2


def event_metrics(
    scores: np.ndarray,
    reference: Reference,
    rules: EventRules,
    seconds: float,
    collars: Collars,
) -> dict[str, Any]:
    """Event-based F1 of the events that rules make, and PSDS of the (smoothed) scores.

    Args:
      scores: [num_clips, time, num_classes] floating-point; anything where nothing is judged.
      reference: what sounds when, of the same clips, all of them with strong labels.
      rules: what makes an event.
      seconds: from one segment to the next.
      collars: how far events may be off.

    Returns:
      `macro_f1`, the mean over the classes that have events; `micro_f1`; `psds1` and `psds2`; how many
      `classes` and `events` there are, and the collars.

    Raises:
      UserError: sed_scores_eval is not installed.
    """
    collar_based, intersection_based, create = _library()
    counts = reference.mask.sum(axis=1).tolist()
    bounds = segment_bounds(scores.shape[1], seconds)
    truth = {
        str(i): _true_events(reference.events[i], float(bounds[n])) for i, n in enumerate(counts)
    }
    # The library takes no class without an event.
    classes = np.unique([int(k) for events in truth.values() for *_, k in events])
    names = [str(k) for k in classes]
    of_scores, of_events = {}, {}
    for i, n in enumerate(counts):
        rows = scores[i, :n, classes].astype(np.float64)
        of_scores[str(i)] = create(rules.smoothed(rows).T, bounds[: n + 1], names)
        found = find_events(rows, bounds[:n], bounds[1 : n + 1], classes, rules)
        of_events[str(i)] = create(*_as_scores(found, len(classes), float(bounds[n])), names)
    durations = {str(i): float(bounds[n]) for i, n in enumerate(counts)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        f1 = collar_based.fscore(
            of_events,
            truth,
            0.5,
            onset_collar=collars.onset,
            offset_collar=collars.offset,
            offset_collar_rate=collars.offset_rate,
        )[0]
        psds = {
            name: intersection_based.psds(of_scores, truth, durations, **setting)[0]
            for name, setting in _PSDS.items()
        }
    return {
        "macro_f1": float(np.mean([f1[name] for name in names])),
        "micro_f1": float(f1["micro_average"]),
        **{name: float(value) for name, value in psds.items()},
        "num_classes": len(names),
        "num_events": sum(map(len, truth.values())),
        "collars": dataclasses.asdict(collars),
    }


def _true_events(events: Sequence[Event], end: float) -> list[tuple[float, float, str]]:
    """The events of a clip that ends there, as the library takes them: those of a class do not touch."""
    joined: list[list[float]] = []
    for onset, offset, label in sorted(events, key=lambda event: (event.label, event.onset)):
        onset, offset = round(onset, _DECIMALS), round(min(offset, end), _DECIMALS)
        if onset >= offset:
            continue
        if joined and joined[-1][2] == label and onset <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], offset)
        else:
            joined.append([onset, offset, label])
    return [(onset, offset, str(int(label))) for onset, offset, label in joined]


def _as_scores(found: Found, num_classes: int, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Events as scores of 0 and 1, [times - 1, num_classes], and the times between which they hold."""
    times = np.unique(np.concatenate([[0.0, end], found.onset, found.offset]))
    scores = np.zeros((len(times) - 1, num_classes))
    first, last = np.searchsorted(times, found.onset), np.searchsorted(times, found.offset)
    for row, begin, stop in zip(found.row, first, last, strict=True):
        scores[begin:stop, row] = 1
    return scores, times


def require_library() -> None:
    """Raises a UserError where sed_scores_eval is not installed."""
    _library()


def _library() -> tuple[Any, Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from sed_scores_eval import collar_based, intersection_based  # type: ignore
            from sed_scores_eval.base_modules.scores import create_score_dataframe  # type: ignore
        except ImportError as error:
            raise UserError(
                f"event-based figures need sed_scores_eval, which cannot be imported ({error}): pip install "
                "'mla_jax[localization]', or leave collars out"
            ) from error
    return collar_based, intersection_based, create_score_dataframe
