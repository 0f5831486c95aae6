"""Which clips show what a model does: the best, the worst, the typical. NumPy only."""

import numpy as np

KINDS = ("best", "typical", "worst")


def clip_scores(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How well a clip's labels stand out: their mean probability minus the highest of any other class.

    Args:
      probs: [num_clips, num_classes] clip probabilities.
      labels: [num_clips, num_classes] bool.

    Returns:
      [num_clips] float64, -1 ... 1; NaN for a clip without labels, or with all of them.
    """
    counts = labels.sum(axis=1)
    means = np.einsum("ij,ij->i", probs, labels, dtype=np.float64)
    others = np.where(labels, -np.inf, probs).max(axis=1)
    with np.errstate(invalid="ignore"):
        scores = means / counts - others
    return np.where((counts == 0) | (counts == labels.shape[1]), np.nan, scores)


def choose_examples(scores: np.ndarray, labels: np.ndarray, each: int) -> dict[str, list[int]]:
    """So many clips of each kind: best, typical (next to the median), worst.

    Clips of the same labels say the same, so two of a kind differ in theirs where there are others. A clip
    is of one kind only; with few clips there are fewer of each.

    Args:
      scores: [num_clips] from `clip_scores`; clips that are NaN are passed over.
      labels: [num_clips, num_classes] bool.
      each: how many of a kind.

    Returns:
      By kind, row numbers.
    """
    defined = np.flatnonzero(~np.isnan(scores))
    if not len(defined):
        return {kind: [] for kind in KINDS}
    median = np.median(scores[defined])
    distance = {"best": -scores, "worst": scores, "typical": np.abs(scores - median)}
    taken: set[int] = set()
    chosen: dict[str, list[int]] = {}
    for kind in ("best", "worst", "typical"):
        ranked = defined[np.argsort(distance[kind][defined], kind="stable")]
        chosen[kind] = _unlike(ranked, labels, taken, min(each, -(-len(defined) // 3)))
        taken |= set(chosen[kind])
    return {kind: chosen[kind] for kind in KINDS}


def _unlike(ranked: np.ndarray, labels: np.ndarray, taken: set[int], count: int) -> list[int]:
    """The first so many in order that are not taken, those with labels not seen before first."""
    free = [int(i) for i in ranked if int(i) not in taken]
    seen: set[bytes] = set()
    fresh = []
    for i in free:
        key = labels[i].tobytes()
        if key not in seen:
            seen.add(key)
            fresh.append(i)
        if len(fresh) == count:
            return fresh
    return (fresh + [i for i in free if i not in fresh])[:count]


def rows_to_show(probs: np.ndarray, labels: np.ndarray, most: int = 8) -> list[int]:
    """The classes of a clip that its map shows: its labels, and the most probable others.

    Labels come first, the most probable first among each; at least two others where there are any.

    Args:
      probs, labels: [num_classes] of the clip.
      most: how many rows there may be.
    """
    ranked = np.argsort(-probs, kind="stable")
    mine = [int(k) for k in ranked if labels[k]][: most - 2]
    others = [int(k) for k in ranked if not labels[k]]
    return mine + others[: max(2, min(3, most - len(mine)))]
