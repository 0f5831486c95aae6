"""Segment-based metrics, as in the DCASE challenges: how well scores tell what sounds in which segment.

A segment is a detection of a class if its score is above the threshold (not equal to it), as
in `sed_scores_eval`. With TP_k, FP_k and FN_k the segments of class k that are found, wrongly found and
missed,

    F1_k = 2 TP_k / (2 TP_k + FP_k + FN_k)

and with FP(t) and FN(t) the classes wrongly found and missed in segment t, and N the active pairs of
segment and class (Mesaros, Heittola, Virtanen, "Metrics for polyphonic sound event detection", 2016),

    S(t) = min(FN(t), FP(t))     D(t) = max(0, FN(t) - FP(t))     I(t) = max(0, FP(t) - FN(t))
    ER = sum_t (S(t) + D(t) + I(t)) / N

A class by itself has no substitutions, so its error rate is (FP_k + FN_k) / N_k.

Where only some classes are known, the others are not judged: they count in no figure.

*Macro* metrics are means over the classes for which they are defined: those with an active segment, for
average precision and AUC with an inactive one too. *Micro* metrics take every pair of segment and class as
one decision, as `sed_eval` and scikit-learn do; so a detection of a class that never sounds counts as wrong.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mla_jax.errors import UserError
from mla_jax.evaluation import metrics

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class SegmentMetrics:
    """Segment-based metrics; what is not defined is NaN, and left out of the macro means.

    Attributes:
      macro_average_precision, macro_auc: means over the classes.
      micro_average_precision, micro_auc: of all pairs of segment and class in one ranking.
      macro_f1, macro_error_rate: means over the classes.
      micro_f1, precision, recall: of all pairs; precision is NaN where nothing is found.
      error_rate: the sum of the three rates that follow; above 1 where a system errs more than a silent one.
      substitution_rate, deletion_rate, insertion_rate: each relative to the active pairs.
      num_clips, num_segments, num_classes: what was judged.
      threshold: [num_classes] float64, what a score must exceed.
      average_precision, auc: [num_classes] float64, NaN without active or without inactive segments.
      f1, class_error_rate: [num_classes] float64, NaN without active segments.
      num_active: [num_classes] int64, the segments in which the class sounds: TP + FN.
      true_positives, false_positives: [num_classes] int64, segments.
    """

    macro_average_precision: float
    macro_auc: float
    micro_average_precision: float
    micro_auc: float
    macro_f1: float
    macro_error_rate: float
    micro_f1: float
    precision: float
    recall: float
    error_rate: float
    substitution_rate: float
    deletion_rate: float
    insertion_rate: float
    num_clips: int
    num_segments: int
    num_classes: int
    threshold: Float64Array
    average_precision: Float64Array
    auc: Float64Array
    f1: Float64Array
    class_error_rate: Float64Array
    num_active: Int64Array
    true_positives: Int64Array
    false_positives: Int64Array

    @property
    def classes_without_events(self) -> list[int]:
        """Indices of the classes that sound in no segment: NaN, and left out of every macro mean."""
        return [int(k) for k in np.flatnonzero(self.num_active == 0)]


def evaluate_segments(
    scores: npt.ArrayLike,
    active: npt.ArrayLike,
    *,
    mask: npt.ArrayLike | None = None,
    threshold: npt.ArrayLike = 0.5,
    known: npt.ArrayLike | None = None,
) -> SegmentMetrics:
    """Compares the scores of segments with what sounds in each of them.

    Args:
      scores: [num_clips, time, num_classes] floating-point.
      active: [num_clips, time, num_classes] bool, which class sounds when.
      mask: [num_clips, time] bool, which segments are judged; all of them if left out. The scores of the
        others may be anything.
      threshold: what a score must exceed: one number, or [num_classes].
      known: [num_classes] bool, which classes are judged; all of them if left out. The others count in no
        figure, and their own are NaN or 0.

    Raises:
      UserError: a shape or dtype does not fit, a score that is judged is not finite, a threshold is NaN, or
        there is no segment or class to judge.
    """
    scores = np.asarray(scores)
    active = np.asarray(active)
    mask = np.ones(scores.shape[:2], bool) if mask is None else np.asarray(mask)
    _require_shapes(scores, active, mask)
    num_classes = scores.shape[2]
    limit = np.asarray(threshold, np.float64)
    if limit.shape not in ((), (num_classes,)) or np.isnan(limit).any():
        raise UserError(
            f"threshold is {list(limit.shape)}, or has NaN; give a number, or one for each of the "
            f"{num_classes} classes"
        )
    limit = np.broadcast_to(limit, num_classes).copy()
    chosen = np.ones(num_classes, bool) if known is None else np.asarray(known)
    if chosen.shape != (num_classes,) or chosen.dtype != bool or not chosen.any():
        raise UserError(
            f"known is {list(chosen.shape)} of {chosen.dtype}, or nowhere True; give bool of [{num_classes}]"
        )
    _require_finite(scores, mask)
    found = _judge(scores[mask][:, chosen], active[mask][:, chosen], mask, limit[chosen])
    return found if chosen.all() else _among_all(found, chosen, limit)


def _judge(
    judged: np.ndarray, truth: np.ndarray, mask: np.ndarray, limit: Float64Array
) -> SegmentMetrics:
    """The metrics of [num_segments, num_classes] scores."""
    ranked = metrics.evaluate(judged, truth)
    pooled = metrics.evaluate(judged.reshape(-1, 1), truth.reshape(-1, 1))
    # In float64, where every score has its exact value, for one threshold as for many.
    return _count(
        judged > limit,
        truth,
        macro_average_precision=ranked.mAP,
        macro_auc=ranked.AUC,
        micro_average_precision=pooled.mAP,
        micro_auc=pooled.AUC,
        num_clips=int(mask.any(axis=1).sum()),
        threshold=limit,
        average_precision=ranked.average_precision,
        auc=ranked.auc,
    )


def _among_all(found: SegmentMetrics, chosen: np.ndarray, limit: Float64Array) -> SegmentMetrics:
    """The metrics of the chosen classes, with values of all classes where there is one for each."""
    spread: dict[str, Any] = {"threshold": limit}
    for field in dataclasses.fields(found):
        values = getattr(found, field.name)
        if isinstance(values, np.ndarray) and field.name != "threshold":
            nothing = np.nan if values.dtype == np.float64 else 0
            spread[field.name] = np.full(len(chosen), nothing, values.dtype)
            spread[field.name][chosen] = values
    return dataclasses.replace(found, **spread)


def _count(found: np.ndarray, active: np.ndarray, **ranking: Any) -> SegmentMetrics:
    """The metrics of detections, [num_segments, num_classes] bool; `ranking` is the rest of the fields."""
    hits = found & active
    tp = np.count_nonzero(hits, axis=0).astype(np.int64)
    fp = np.count_nonzero(found, axis=0) - tp
    num_active = np.count_nonzero(active, axis=0).astype(np.int64)
    fn = num_active - tp
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(num_active > 0, 2 * tp / (2 * tp + fp + fn), np.nan)
        class_error_rate = np.where(num_active > 0, (fp + fn) / num_active, np.nan)
    # By segment, [num_segments].
    hit = np.count_nonzero(hits, axis=1)
    missed, wrong = np.count_nonzero(active, axis=1) - hit, np.count_nonzero(found, axis=1) - hit
    swapped = np.minimum(missed, wrong)
    total = int(num_active.sum())
    substitutions, deletions, insertions = (
        _share(int(n.sum()), total) for n in (swapped, missed - swapped, wrong - swapped)
    )
    return SegmentMetrics(
        macro_f1=metrics.mean_of_defined(f1),
        macro_error_rate=metrics.mean_of_defined(class_error_rate),
        micro_f1=_share(2 * int(tp.sum()), int((2 * tp + fp + fn).sum())) if total else math.nan,
        precision=_share(int(tp.sum()), int((tp + fp).sum())),
        recall=_share(int(tp.sum()), total),
        error_rate=substitutions + deletions + insertions,
        substitution_rate=substitutions,
        deletion_rate=deletions,
        insertion_rate=insertions,
        num_segments=len(found),
        num_classes=found.shape[1],
        f1=f1,
        class_error_rate=class_error_rate,
        num_active=num_active,
        true_positives=tp,
        false_positives=fp,
        **ranking,
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _require_shapes(
    scores: npt.NDArray[Any], active: npt.NDArray[Any], mask: npt.NDArray[Any]
) -> None:
    if scores.ndim != 3 or scores.size == 0 or not metrics.is_floating(scores):
        raise UserError(
            f"scores is {list(scores.shape)} of {scores.dtype}; give [num_clips, time, num_classes] "
            "floating-point, at least one of each"
        )
    for name, array, shape in (("active", active, scores.shape), ("mask", mask, scores.shape[:2])):
        if array.shape != shape or array.dtype != bool:
            raise UserError(
                f"{name} is {list(array.shape)} of {array.dtype}; scores {list(scores.shape)} need bool "
                f"of {list(shape)}"
            )
    if not mask.any():
        raise UserError("there is no segment to judge; give real segments of clips with labels")


def _require_finite(scores: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> None:
    bad = ~np.isfinite(scores) & mask[:, :, None]
    if bad.any():
        clip, segment, k = np.argwhere(bad)[0].tolist()
        raise UserError(
            f"at clip row {clip}, segment {segment}, class {k}: score {scores[clip, segment, k]}, the first "
            f"of {np.count_nonzero(bad)} not finite; look for a diverged model or bad input features"
        )
