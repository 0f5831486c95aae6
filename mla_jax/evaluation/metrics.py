"""Average precision, ROC AUC and d-prime of clip-level scores, per class and averaged.

NumPy only. For one class with P positive and Q negative clips, N = P + Q, and clip scores s:

    AP  = 1/P sum_{i positive} #{j positive: s_j >= s_i} / #{j: s_j >= s_i}
    AUC = 1/P sum_{i positive} (#{j negative: s_j < s_i} + 1/2 #{j negative: s_j = s_i}) / Q
    d'  = sqrt(2) Phi^-1(AUC), Phi the standard normal distribution function

Clips of equal score are one point of the curve, as in scikit-learn's `average_precision_score` and
`roc_auc_score`. Every count is a position in the class's sorted scores, and only those of the
positives are needed: one sort and a few binary searches a positive. A class without positives, or
without negatives, has no ranking to judge: it is NaN everywhere and left out of every mean. A clip of which
it is not known whether it has a class is left out of that class: the class is judged on the others.
"""

import dataclasses
import math
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from mla_jax.errors import UserError

Float64Array = npt.NDArray[np.float64]

# Classes copied and sorted at a time: 16 float32 are one cache line of a row of scores, and the
# copy stays small beside the scores themselves.
_BLOCK_CLASSES = 16
_BLOCK_CLIPS = 512
_MOST_POSITIVES = 32  # of so many labels one is a positive, in what is worked on at once


@dataclasses.dataclass(frozen=True, eq=False)
class Metrics:
    """The metrics of one evaluation; means are over the defined classes, NaN if there are none.

    Attributes:
      mAP: mean of the average precisions.
      AUC: mean of the areas under the ROC curve.
      d_prime: d-prime of the mean AUC, which papers on AudioSet print; infinite when every class is ranked
        perfectly.
      mean_class_d_prime: mean of the classes' own d-primes. A perfectly ranked (or perfectly reversed)
        class has an infinite one, which would hide all others, and leaving it out would lower the mean
        when a model improves; so for this mean alone each AUC is held to [1/(2PQ), 1 - 1/(2PQ)], half a
        pair of clips short of the ends.
      num_clips: how many clips were scored.
      average_precision, auc: [num_classes] float64, NaN where undefined.
      class_d_prime: [num_classes] float64, NaN where undefined; infinite where auc is 0 or 1.
      num_positives: [num_classes] int64, clips that have the class.
      num_known: [num_classes] int64, clips of which it is known whether they have the class.
    """

    mAP: float  # noqa: N815
    AUC: float
    d_prime: float
    mean_class_d_prime: float
    num_clips: int
    average_precision: Float64Array
    auc: Float64Array
    class_d_prime: Float64Array
    num_positives: npt.NDArray[np.int64]
    num_known: npt.NDArray[np.int64]

    @property
    def undefined_classes(self) -> list[int]:
        """Indices of the classes without positives or without negatives, left out of the means."""
        return [int(k) for k in np.flatnonzero(np.isnan(self.auc))]


def evaluate(
    scores: npt.ArrayLike, labels: npt.ArrayLike, known: npt.NDArray[np.bool_] | None = None
) -> Metrics:
    """Every metric of the scores, in less than three times the memory of the scores beside the arguments.

    Args:
      scores: [num_clips, num_classes], any floating-point dtype; only their order within a class matters,
        so probabilities and logits give the same result.
      labels: [num_clips, num_classes], bool or numbers that are all 0 or 1.
      known: [num_clips, num_classes] bool, which labels are known; None: all.

    Returns:
      The means, and the values of each class.

    Raises:
      UserError: the arrays are not two-dimensional, of equal shape and non-empty, the scores are not
        floating-point and finite, or a label is neither 0 nor 1.
    """
    scores, labels = checked(scores, labels)
    require_mask(known, labels)
    ap, auc, num_positives, num_known = _rank_statistics(scores, labels, known)
    num_clips = scores.shape[0]
    pairs = num_positives * (num_known - num_positives)
    margin = 0.5 / np.maximum(pairs, 1)  # undefined classes have no pairs, and stay NaN
    mean_auc = mean_of_defined(auc)
    return Metrics(
        mAP=mean_of_defined(ap),
        AUC=mean_auc,
        d_prime=d_prime(mean_auc),
        mean_class_d_prime=mean_of_defined(d_prime(np.clip(auc, margin, 1 - margin))),
        num_clips=num_clips,
        average_precision=ap,
        auc=auc,
        class_d_prime=d_prime(auc),
        num_positives=num_positives,
        num_known=num_known,
    )


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Float64Array:
    """Average precision, [num_classes] float64, NaN where undefined; the rest as `evaluate`."""
    return _rank_statistics(*checked(scores, labels))[0]


def roc_auc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Float64Array:
    """Area under the ROC curve, [num_classes] float64, NaN where undefined; as `evaluate`."""
    return _rank_statistics(*checked(scores, labels))[1]


@overload
def d_prime(auc: float) -> float: ...
@overload
def d_prime(auc: Float64Array) -> Float64Array: ...
def d_prime(auc: float | Float64Array) -> float | Float64Array:
    """The distance of two unit normals whose ROC curve has this area: sqrt(2) Phi^-1(AUC).

    Args:
      auc: a number or an array of any shape, within [0, 1].

    Returns:
      A float for a number, else a float64 array of the same shape: infinity for an AUC of 1, minus infinity
      for 0, NaN for NaN.

    Raises:
      UserError: a value is outside [0, 1].
    """
    values = np.asarray(auc, np.float64)
    outside = (values < 0) | (values > 1)
    if outside.any():
        raise UserError(
            f"d_prime: AUC is {values[outside][0]:g}; give a fraction in [0, 1], not a percentage"
        )
    normal, ends = statistics.NormalDist(), {0.0: -math.inf, 1.0: math.inf}
    flat = [
        math.nan if math.isnan(a) else ends[a] if a in ends else math.sqrt(2) * normal.inv_cdf(a)
        for a in values.ravel().tolist()
    ]
    return flat[0] if values.ndim == 0 else np.array(flat, np.float64).reshape(values.shape)


def _rank_statistics(
    scores: npt.NDArray[Any],
    labels: npt.NDArray[np.bool_],
    known: npt.NDArray[np.bool_] | None = None,
) -> tuple[Float64Array, Float64Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """AP, AUC, positives and known clips of each class, [num_classes] each, from validated arguments."""
    # Where many clips have a class, not all at once: what is kept of a positive is many times a score.
    strips = max(1, round(_MOST_POSITIVES * np.count_nonzero(labels) / labels.size))
    width = -(-labels.shape[1] // strips)
    found = [
        _of_classes(scores[strip], labels[strip], None if known is None else known[strip])
        for strip in (np.s_[:, i : i + width] for i in range(0, labels.shape[1], width))
    ]
    ap, auc, num_positives, num_known = map(np.concatenate, zip(*found, strict=True))
    return ap, auc, num_positives, num_known


def _of_classes(
    scores: npt.NDArray[Any], labels: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_] | None
) -> tuple[Float64Array, Float64Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """As `_rank_statistics`, of some classes."""
    num_clips, num_classes = scores.shape
    num_known = np.full(num_classes, num_clips) if known is None else known.sum(axis=0)
    clip, owner = np.divmod(
        np.flatnonzero(labels if known is None else labels & known), num_classes
    )
    order = np.argsort(owner.astype(np.int32), kind="stable")
    clip, owner = clip[order], owner[order]
    positives = scores[clip, owner]
    del clip, order  # they would stay beside all that follows
    p = np.bincount(owner, minlength=num_classes)
    ends = np.cumsum(p)
    below, up_to = _places(scores, known, positives, ends)
    begins = ends - p
    # Of positives of equal score, the first: those before it score less.
    first = np.ones(len(below), bool)
    first[1:] = (below[1:] != below[:-1]) | (owner[1:] != owner[:-1])
    left = np.where(first, np.arange(len(below)), 0)
    np.subtract(ends[owner], np.maximum.accumulate(left, out=left), out=left)
    precisions = left / (num_known[owner] - below)
    up_to += below
    ap, auc = np.full((2, num_classes), np.nan)
    for k in np.flatnonzero((p > 0) & (p < num_known)):
        own = slice(begins[k], ends[k])
        ap[k] = np.add.reduce(precisions[own]) / p[k]
        # (below + up_to) / 2 counts clips below plus half of those equal. The positives' share
        # of that sum is p * p / 2 whatever their ties, since of each ordered pair (i, j) either
        # j is below i, or i is up to j; the rest are negatives.
        twice_wins = int(np.add.reduce(up_to[own])) - int(p[k]) ** 2
        auc[k] = twice_wins / int(2 * p[k] * (num_known[k] - p[k]))
    return ap, auc, p, num_known


def _places(
    scores: npt.NDArray[Any],
    known: npt.NDArray[np.bool_] | None,
    positives: npt.NDArray[Any],
    ends: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """How many known clips of its class score less than each positive, and how many at most as much.

    Args:
      scores, known: as `evaluate` takes them.
      positives: the scores of the positives, class by class, of the dtype of `scores`.
      ends: [num_classes], where those of a class end.

    Returns:
      Two arrays as long as `positives`, in ascending order of the scores within each class.
    """
    num_clips, num_classes = scores.shape
    # Widening half precision loses nothing, and it sorts at least twice as fast.
    dtype = np.result_type(scores.dtype, np.float32)
    wide = positives.astype(dtype)
    below, up_to = np.empty((2, len(wide)), np.int64)

    def look_up(starts: range) -> None:
        # One for all blocks: fresh memory costs as much as the copy.
        buffer = np.empty((_BLOCK_CLASSES, num_clips), dtype)
        for start in starts:
            block = np.s_[:, start : start + _BLOCK_CLASSES]
            rows = buffer[: scores[block].shape[1]]
            _transpose(scores[block], rows)
            if known is not None:
                rows[~known[block].T] = np.inf  # above all scores, which are finite
            rows.sort(axis=1)
            for k, row in enumerate(rows, start):
                part = slice(ends[k - 1] if k else 0, ends[k])
                own = wide[part]
                own.sort()
                below[part] = row.searchsorted(own, side="left")
                up_to[part] = row.searchsorted(own, side="right")

    # NumPy sorts and copies without Python's lock, so threads share the classes.
    workers = min(-(-num_classes // _BLOCK_CLASSES), os.cpu_count() or 1)
    step = workers * _BLOCK_CLASSES
    shares = [range(i * _BLOCK_CLASSES, num_classes, step) for i in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(look_up, shares))
    return below, up_to


def _transpose(values: npt.NDArray[Any], into: npt.NDArray[Any]) -> None:
    """Copies [clips, classes] into [classes, clips], in parts of which the cache holds all lines."""
    for first in range(0, len(values), _BLOCK_CLIPS):
        part = np.s_[first : first + _BLOCK_CLIPS]
        into[:, part] = values[part].T


def mean_of_defined(values: Float64Array) -> float:
    """The mean of the values that are not NaN; NaN if all are."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


def is_floating(array: npt.NDArray[Any]) -> bool:
    """Whether an array is of floating-point numbers, bfloat16 among them."""
    # Kind V: bfloat16 and its kin, which NumPy knows only by their casts.
    return array.dtype.kind in "fV" and np.can_cast(array.dtype, np.longdouble)


def checked(
    scores: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The scores as an array, and the labels as bool.

    Raises:
      UserError: as `evaluate` says.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or scores.shape != labels.shape or scores.size == 0:
        raise UserError(
            f"metrics: scores has shape {scores.shape} and labels {labels.shape}; give both as "
            "[num_clips, num_classes], for the same clips and classes, at least one of each"
        )
    if not is_floating(scores):
        raise UserError(
            f"metrics: scores has dtype {scores.dtype}; give floating-point scores, labels second"
        )
    finite = np.isfinite(scores)
    _require_all(finite, scores, "scores not finite; look for a diverged model or bad features")
    if labels.dtype == np.bool_:
        return scores, labels
    ones = labels == 1
    valid = np.logical_or(ones, labels == 0, out=finite)
    _require_all(valid, labels, "labels neither 0 nor 1; give bool or 0/1 labels")
    return scores, ones


def require_mask(known: npt.NDArray[Any] | None, labels: npt.NDArray[Any]) -> None:
    """Checks a mask of known labels; None is none.

    Raises:
      UserError: it is not bool, or not of the labels' shape.
    """
    if known is not None and (known.shape != labels.shape or known.dtype != bool):
        raise UserError(
            f"metrics: known is {list(known.shape)} of {known.dtype}; give bool of the labels' shape, "
            f"{list(labels.shape)}"
        )


def _require_all(good: npt.NDArray[np.bool_], array: npt.NDArray[Any], fault: str) -> None:
    if not good.all():
        clip, k = divmod(int(np.argmin(good)), good.shape[1])
        count = good.size - np.count_nonzero(good)
        raise UserError(
            f"metrics: at clip row {clip}, class {k}: {array[clip, k]}, the first of {count} {fault}"
        )
