"""Rules of events, chosen on strong labels by the F1 of segments.

F1 is `2 TP / (2 TP + FP + FN)` of the segments that are in events. For each class `start` is the threshold
whose F1 is the largest if it stands alone (`mla_jax.evaluation.thresholds`), and `keep` is a share of it, the
same share for all classes. The share and the smoothing are those with the largest mean F1 on clips that the
thresholds were not chosen on: each half of the clips is judged with the thresholds of the other. Then
thresholds are chosen on all clips.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mla_jax.errors import UserError
from mla_jax.evaluation.metrics import mean_of_defined
from mla_jax.evaluation.thresholds import choose_thresholds
from mla_jax.localization.event_rules import EventRules, find_runs, smooth
from mla_jax.localization.events import Reference

SMOOTHINGS = (1, 3, 5)
KEEPS = (1.0, 0.7, 0.5, 0.3)


class ChosenRules(NamedTuple):
    """Rules, and how good they are.

    Attributes:
      rules: the rules.
      held_out_f1: the mean over classes of F1 on clips that the thresholds were not chosen on; NaN if there
        are too few clips.
      f1: [num_classes] float64, on the clips that they were chosen on, which flatters; NaN where there was
        nothing to choose on.
      num_active: [num_classes] int64, the segments in which each class sounds.
    """

    rules: EventRules
    held_out_f1: float
    f1: np.ndarray
    num_active: np.ndarray


def choose_rules(
    scores: np.ndarray,
    reference: Reference,
    otherwise: np.ndarray,
    *,
    smoothings: Sequence[int] = SMOOTHINGS,
    keeps: Sequence[float] = KEEPS,
    seed: int = 0,
) -> ChosenRules:
    """Chooses thresholds by class, and for all classes how much to smooth and how long to go on.

    Args:
      scores: [num_clips, time, num_classes] floating-point; anything where nothing is judged.
      reference: what sounds when, of the same clips.
      otherwise: [num_classes] the thresholds of classes that sound in no segment of these clips.
      smoothings: how many segments medians may be of, odd numbers.
      keeps: what shares of `start` may be `keep`; of equal pairs of both the first is taken.
      seed: of the halves.

    Raises:
      UserError: no class sounds in any segment.
    """
    judged = reference.mask[:, :, None]
    if not (reference.active & judged & reference.known).any():
        raise UserError("no class sounds in any of the clips, so no thresholds can be chosen")
    scores = np.where(judged, scores, np.nan)
    labelled = np.flatnonzero(reference.mask.any(axis=1))
    order = np.random.default_rng(seed).permutation(labelled)
    halves = order[::2], order[1::2]
    best, best_f1 = (smoothings[0], keeps[0]), np.nan
    for width in smoothings if len(labelled) > 1 else ():
        half_f1 = [
            _held_out(scores, reference, width, keeps, *pair) for pair in (halves, halves[::-1])
        ]
        means = [mean_of_defined(np.concatenate(pair)) for pair in zip(*half_f1, strict=True)]
        for share, f1 in zip(keeps, means, strict=True):
            if not np.isnan(f1) and not f1 <= best_f1:
                best, best_f1 = (width, share), f1
    width, share = best
    start = _starts(scores, reference, width)
    num_active = _truth(reference).sum(axis=(0, 1))
    chosen = num_active > 0
    start[~chosen] = otherwise[~chosen]
    keep = np.where(chosen, share * start, start)
    rules = EventRules(start, keep, smoothing=width)
    return ChosenRules(rules, best_f1, event_f1(scores, reference, rules), num_active)


def event_f1(scores: np.ndarray, reference: Reference, rules: EventRules) -> np.ndarray:
    """F1 of the segments that are in events, [num_classes] float64; NaN for a class that never sounds.

    Args:
      scores: [num_clips, time, num_classes] floating-point; anything where nothing is judged.
      reference: what sounds when, of the same clips.
      rules: what makes an event; least lengths and gaps are left out.
    """
    truth = _truth(reference)
    f1 = np.full(truth.shape[2], np.nan)
    for k in np.flatnonzero(truth.any(axis=(0, 1))):
        of_class = rules.smoothed(np.where(reference.mask, scores[:, :, k], np.nan))
        ones = np.ones(len(of_class))
        runs = find_runs(of_class, rules.start[k] * ones, rules.keep[k] * ones)
        hits = np.cumsum(np.pad(truth[:, :, k], ((0, 0), (1, 0))), axis=1)
        hit = (hits[runs.row, runs.last + 1] - hits[runs.row, runs.first]).sum()
        found = (runs.last + 1 - runs.first).sum()
        f1[k] = 2 * hit / (found + np.count_nonzero(truth[:, :, k]))
    return f1


def _held_out(
    scores: np.ndarray,
    reference: Reference,
    width: int,
    keeps: Sequence[float],
    chosen_on: np.ndarray,
    judged_on: np.ndarray,
) -> list[np.ndarray]:
    """For each share, F1 of each class on some clips with the thresholds of others, [num_classes]."""
    start = _starts(scores[chosen_on], _rows(reference, chosen_on), width)
    known = np.isfinite(start)  # the others sound in none of the clips
    of_judged = _rows(reference, judged_on)
    shares = (EventRules(start, np.where(known, share * start, start), width) for share in keeps)
    found = (event_f1(scores[judged_on], of_judged, rules) for rules in shares)
    return [np.where(known, f1, np.nan) for f1 in found]


def _starts(scores: np.ndarray, reference: Reference, width: int) -> np.ndarray:
    """The thresholds that are best alone, [num_classes]; infinity for a class that never sounds."""
    smoothed = np.moveaxis(smooth(np.moveaxis(scores, 1, 2), width), 2, 1)
    of_segments = smoothed[reference.mask]
    return choose_thresholds(of_segments, _truth(reference)[reference.mask])


def _truth(reference: Reference) -> np.ndarray:
    truth: np.ndarray = reference.active & reference.mask[:, :, None] & reference.known
    return truth


def _rows(reference: Reference, rows: np.ndarray) -> Reference:
    return Reference(reference.active[rows], reference.mask[rows], reference.known)
