"""For each class, the threshold on its probabilities that makes its F1 the largest."""

import numpy as np

from mla_jax.errors import UserError
from mla_jax.evaluation.metrics import checked, require_mask


def choose_thresholds(
    probs: np.ndarray, labels: np.ndarray, known: np.ndarray | None = None
) -> np.ndarray:
    r"""For each class the threshold with the largest F1, if clips at or above it are reported.

    With P positives, of which TP are among the R clips at or above a threshold, F1 is $2 TP / (R + P)$. It
    changes only at scores that occur, so all of those are tried. Of thresholds with equal F1 the highest is
    taken, which reports the fewest clips.

    Args:
      probs: [num_clips, num_classes] floating-point.
      labels: [num_clips, num_classes] bool.
      known: [num_clips, num_classes] bool, which labels are known; only those count. None: all are.

    Returns:
      [num_classes] float64, each a value of the class's column of `probs`; infinity, which nothing reaches,
      for a class without positives.

    Raises:
      UserError: the shapes do not fit, there is no clip, or a probability is not finite.
    """
    probs, labels = checked(probs, labels)
    thresholds = np.full(probs.shape[1], np.inf)
    require_mask(known, labels)
    for k in np.flatnonzero(_known_positives(labels, known).any(axis=0)):
        order = np.argsort(-probs[:, k])
        if known is not None:
            order = order[known[order, k]]
        scores, positive = probs[order, k], labels[order, k]
        reported = np.arange(1, len(order) + 1)
        f1 = 2 * np.cumsum(positive) / (reported + np.count_nonzero(positive))
        # Only behind the last of equal scores can a threshold cut.
        f1[:-1][scores[:-1] == scores[1:]] = -1
        thresholds[k] = scores[np.argmax(f1)]  # the first of the largest: the highest threshold
    return thresholds


def _known_positives(labels: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    return labels if known is None else labels & known


def f1_scores(
    probs: np.ndarray,
    labels: np.ndarray,
    thresholds: np.ndarray,
    known: np.ndarray | None = None,
) -> np.ndarray:
    """F1 of each class at its threshold.

    Args:
      probs: [num_clips, num_classes].
      labels: [num_clips, num_classes] bool.
      thresholds: [num_classes]; a clip at or above it is reported.
      known: [num_clips, num_classes] bool, which labels are known; only those count. None: all are.

    Returns:
      [num_classes] float64; NaN for a class without positives.

    Raises:
      UserError: the shapes do not fit, there is no clip, or a probability is not finite.
    """
    probs, labels = checked(probs, labels)
    if np.shape(thresholds) != (probs.shape[1],):
        raise UserError(
            f"thresholds has shape {list(np.shape(thresholds))}; {probs.shape[1]} classes need as many"
        )
    require_mask(known, labels)
    reported, labels = probs >= thresholds, _known_positives(labels, known)
    if known is not None:
        reported &= known
    hits = np.count_nonzero(reported & labels, axis=0)
    positives = np.count_nonzero(labels, axis=0)
    f1 = 2 * hits / np.maximum(np.count_nonzero(reported, axis=0) + positives, 1)
    return np.where(positives > 0, f1, np.nan)
