"""How certain a mean over classes is, or a difference of two: a bootstrap over clips."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mla_jax.errors import UserError
from mla_jax.evaluation.metrics import require_mask

NUM_RESAMPLES = 200


def clip_counts(num_clips: int, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each clip is drawn: [num_clips, num_resamples] uint8, each column sums to num_clips.

    The same for the same arguments, so models that are scored on the same clips are resampled alike, and
    their differences are paired.
    """
    rng = np.random.default_rng(seed)
    counts = np.empty((num_clips, num_resamples), np.uint8)
    for i in range(num_resamples):
        drawn = rng.integers(0, num_clips, num_clips)
        counts[:, i] = np.bincount(drawn, minlength=num_clips)
    return counts


def bootstrap_map(
    scores: np.ndarray, labels: np.ndarray, counts: np.ndarray, known: np.ndarray | None = None
) -> np.ndarray:
    r"""Mean average precision on each resample of the clips.

    With $w_i$ the times that clip $i$ is drawn, average precision is
    $\sum_{i: y_i = 1} w_i P_i / \sum_{i: y_i = 1} w_i$ with the precision at its score,
    $P_i = \sum_{j: s_j \ge s_i} w_j y_j / \sum_{j: s_j \ge s_i} w_j$: that of scikit-learn on the drawn
    clips, ties included. A class that has no positive or no negative among them is left out of that
    resample's mean, as `evaluate` leaves it out.

    Args:
      scores: [num_clips, num_classes].
      labels: [num_clips, num_classes] bool.
      counts: [num_clips, num_resamples] from `clip_counts`.
      known: [num_clips, num_classes] bool, which labels are known; a class is judged on those clips.
        None: all are.

    Returns:
      [num_resamples] float64.

    Raises:
      UserError: the shapes do not fit.
    """
    return _mean_over_classes(_average_precisions, scores, labels, counts, known)


def bootstrap_auc(
    scores: np.ndarray, labels: np.ndarray, counts: np.ndarray, known: np.ndarray | None = None
) -> np.ndarray:
    r"""Mean area under the ROC curve on each resample of the clips.

    With $w_i$ the times that clip $i$ is drawn, the area of a class is
    $\sum_{i: y_i = 1} \sum_{j: y_j = 0} w_i w_j h(s_i - s_j) / (\sum_{i: y_i = 1} w_i \sum_{j: y_j = 0} w_j)$
    with $h$ 1 above 0, 1/2 at 0, and 0 below: that of scikit-learn on the drawn clips, ties included. A class
    that has no positive or no negative among them is left out of that resample's mean.

    Takes, returns and raises what `bootstrap_map` does.
    """
    return _mean_over_classes(_areas, scores, labels, counts, known)


_OfClass = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""A figure of one class on each resample, of its scores, labels and counts; NaN where undefined."""


def _mean_over_classes(
    of_class: _OfClass,
    scores: np.ndarray,
    labels: np.ndarray,
    counts: np.ndarray,
    known: np.ndarray | None,
) -> np.ndarray:
    if scores.shape != labels.shape or len(scores) != len(counts):
        raise UserError(
            f"scores {list(scores.shape)}, labels {list(labels.shape)} and counts "
            f"{list(counts.shape)} must be of the same clips, and the first two of the same classes"
        )
    require_mask(known, labels)

    def of(k: int) -> np.ndarray | None:
        rows = slice(None) if known is None else known[:, k]
        positive = labels[rows, k]
        if not positive.any() or positive.all():
            return None
        return of_class(scores[rows, k], positive, counts[rows])

    total = np.zeros(counts.shape[1])
    defined = np.zeros(counts.shape[1], np.int64)
    # NumPy sorts and sums without Python's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(of, np.flatnonzero(labels.any(axis=0)).tolist()):
            if found is not None:
                there = ~np.isnan(found)
                total[there] += found[there]
                defined += there
    with np.errstate(invalid="ignore"):
        return total / defined


def _average_precisions(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Average precision of one class on each resample, [num_resamples]; NaN where undefined."""
    order = np.argsort(-scores, kind="stable")
    sorted_scores, positive = scores[order], labels[order]
    # The clips fall into runs, each ending with a group of equal scores that has a positive: precision
    # is needed at these ends only.
    last_of_group = np.append(sorted_scores[1:] != sorted_scores[:-1], True)
    group = np.cumsum(last_of_group) - last_of_group
    with_positive = np.zeros(int(group[-1]) + 1, bool)
    with_positive[group[positive]] = True
    ends = np.flatnonzero(last_of_group & with_positive[group])
    starts = np.concatenate([[0], ends[:-1] + 1])
    drawn = np.cumsum(_sum_runs(counts[order[: ends[-1] + 1]], starts), axis=0)
    # A run's positives all stand in its last group.
    run_of_positive = np.searchsorted(ends, np.flatnonzero(positive))
    first_positive = np.searchsorted(run_of_positive, np.arange(len(ends)))
    hits = _sum_runs(counts[order[positive]], first_positive)
    found = np.cumsum(hits, axis=0)
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing is drawn yet, and then without hits
        precision = np.where(hits > 0, found / drawn, 0.0)
        average = np.einsum("ij,ij->j", hits, precision) / found[-1]
    # Negatives are seldom all below the last positive; then these decide whether any is drawn.
    perfect = np.flatnonzero(found[-1] == drawn[-1])
    below = counts[np.ix_(order[ends[-1] + 1 :], perfect)]
    average[perfect[~below.any(axis=0)]] = np.nan
    return average


def _areas(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of one class on each resample, [num_resamples]; NaN where undefined."""
    order = np.argsort(-scores, kind="stable")
    sorted_scores, positive = scores[order], labels[order]
    first_of_group = np.append(True, sorted_scores[1:] != sorted_scores[:-1])
    group = np.cumsum(first_of_group) - 1
    bounds = np.append(np.flatnonzero(first_of_group), len(order))
    # Only groups of equal scores that have a positive count; between them the clips are summed at once.
    judged, first_positive = np.unique(group[positive], return_index=True)
    cuts = np.unique(np.concatenate([[0], bounds[judged], bounds[judged + 1]]))
    sums = _sum_runs(counts[order], cuts[cuts < len(order)])
    drawn = np.cumsum(np.insert(sums, 0, 0, axis=0), axis=0)  # before each cut
    total = counts.sum(axis=0, dtype=np.int64)
    hits = _sum_runs(counts[order[positive]], first_positive)
    found = np.cumsum(hits, axis=0)
    before, behind = (drawn[np.searchsorted(cuts, bounds[judged + i])] for i in (0, 1))
    # Twice the negatives above a group, and of its own: half of these are lost to its positives.
    lost = (before - (found - hits)) + (behind - found)
    negatives = total - found[-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - np.einsum("ij,ij->j", hits, lost) / (2 * found[-1] * negatives)


def _sum_runs(counts: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The sums of the runs of clips that begin at `starts` [runs], [runs, num_resamples] int64."""
    sums = np.empty((len(starts), counts.shape[1]), np.int64)
    # One sum a run: `np.add.reduceat` takes eight times as long over these short rows.
    for run, (start, stop) in enumerate(zip(starts, [*starts[1:], len(counts)], strict=True)):
        sums[run] = np.add.reduce(counts[start:stop], axis=0, dtype=np.uint32)
    return sums


def interval(
    resampled: np.ndarray,
    estimate: float,
    level: float = 0.95,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[float, float]:
    """The interval of a metric, or of a difference of two, from its values on resamples.

    Drawn clips come in copies, which raises average precision on every resample. So the resamples give
    only the width of the interval; `estimate`, the value on the clips themselves, is its centre.

    Args:
      resampled: [num_resamples] values, NaN where undefined.
      estimate: the value on the clips themselves.
      level: the share of resamples between the ends.
      within: the least and largest value that the metric can have.

    Returns:
      Its ends; NaN where no resample has a value, or the clips themselves have none.
    """
    if np.isnan(resampled).all():
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.nanquantile(resampled - np.nanmean(resampled), (tail, 1 - tail))
    ends = np.clip([estimate + low, estimate + high], *within)
    return float(ends[0]), float(ends[1])
