"""How well scores of segments tell when classes sound, with intervals, and by how much one is better.

Four figures, each a mean over the classes for which it is defined. `average_precision` and `auc` rank all
judged segments of all clips (`segment_metrics`), so they ask what sounds and when, together; `d_prime` is
sqrt(2) Phi^-1 of that AUC. `within_clips` asks for when alone (`mla_jax.localization.within_clips`).

Intervals are of a bootstrap over clips: a clip that is drawn comes with all of its segments. All scores are
resampled alike, so that differences are paired.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mla_jax.errors import UserError
from mla_jax.evaluation import metrics
from mla_jax.evaluation.bootstrap import (
    NUM_RESAMPLES,
    bootstrap_auc,
    bootstrap_map,
    clip_counts,
    interval,
)
from mla_jax.localization.events import Reference
from mla_jax.localization.segment_metrics import evaluate_segments
from mla_jax.localization.within_clips import within_clips

FIGURES = ("average_precision", "auc", "d_prime", "within_clips")
"""What the figures are called."""


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """The figures of one score.

    Attributes:
      values: each of `FIGURES`; NaN where it is not defined.
      resampled: [num_resamples] the same on resamples of the clips.
      num_classes: how many classes the first three are means over.
      num_pairs, num_classes_within: the pairs of clip and class of `within_clips`, and their classes.
    """

    values: Mapping[str, float]
    resampled: Mapping[str, np.ndarray]
    num_classes: int
    num_pairs: int
    num_classes_within: int

    def with_intervals(self) -> dict[str, Any]:
        """Each figure, and as `NAME_interval` the ends of its 95 % interval."""
        return _with_intervals(self.values, self.resampled)

    def minus(self, other: "Judged") -> dict[str, Any]:
        """By how much each figure is above another score's on the same clips, with the paired interval."""
        return _with_intervals(
            {name: self.values[name] - other.values[name] for name in FIGURES},
            {name: self.resampled[name] - other.resampled[name] for name in FIGURES},
            difference=True,
        )


def _with_intervals(
    values: Mapping[str, float],
    resampled: Mapping[str, np.ndarray],
    *,
    difference: bool = False,
) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name in FIGURES:
        unbounded = difference or name == "d_prime"
        within = (-np.inf, np.inf) if unbounded else (0.0, 1.0)
        made[name] = values[name]
        made[f"{name}_interval"] = list(interval(resampled[name], values[name], within=within))
    return made


def judge(
    scores: np.ndarray, reference: Reference, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Judged:
    """The figures of scores, and on resamples of the clips.

    Args:
      scores: [num_clips, time, num_classes] floating-point; anything where nothing is judged.
      reference: what sounds when, of the same clips.
      num_resamples, seed: of the bootstrap; the same clips with the same numbers are resampled alike.

    Raises:
      UserError: the shapes do not fit, a score that is judged is not finite, or nothing can be judged.
    """
    whole = evaluate_segments(scores, reference.active, mask=reference.mask, known=reference.known)
    found = within_clips(scores, reference)
    by_class = found.by_class(scores.shape[2])
    values = {
        "average_precision": whole.macro_average_precision,
        "auc": whole.macro_auc,
        "d_prime": metrics.d_prime(whole.macro_auc),
        "within_clips": metrics.mean_of_defined(by_class),
    }
    # Clips without labels are not drawn, or fewer and fewer would be judged in a resample.
    clips, mask = np.flatnonzero(reference.mask.any(axis=1)), reference.mask
    counts = np.zeros((len(mask), num_resamples), np.uint8)
    counts[clips] = clip_counts(len(clips), num_resamples, seed)
    ranked = np.flatnonzero(~np.isnan(whole.auc))
    of_segments = (
        scores[mask][:, ranked],
        reference.active[mask][:, ranked],
        counts[np.nonzero(mask)[0]],
    )
    auc = bootstrap_auc(*of_segments)
    resampled = {
        "average_precision": bootstrap_map(*of_segments),
        "auc": auc,
        "d_prime": metrics.d_prime(auc),
        "within_clips": found.resample(counts),
    }
    num_within = int((~np.isnan(by_class)).sum())
    return Judged(values, resampled, len(ranked), len(found.auc), num_within)


def compare(
    scores: Mapping[str, np.ndarray],
    reference: Reference,
    *,
    floor: str,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """The figures of several scores of the same segments, and of each how far it is above one of them.

    Args:
      scores: by name, each as `judge` takes it; every one is judged in turn.
      reference: what sounds when, of the same clips.
      floor: the name of the one that the others are compared with.
      num_resamples, seed: as `judge`.

    Returns:
      What JSON can hold: how much was judged; `floor`; `scores`, by name the figures with their intervals;
      and `differences`, by name those of the score minus the floor's.

    Raises:
      UserError: as `judge`; or there is no score of the floor's name.
    """
    if floor not in scores:
        raise UserError(
            f"there is no score {floor!r} to compare with; there are {', '.join(scores)}"
        )
    judged = {
        name: judge(of_name, reference, num_resamples=num_resamples, seed=seed)
        for name, of_name in scores.items()
    }
    first = judged[floor]
    return {
        "num_clips": int(reference.mask.any(axis=1).sum()),
        "num_segments": int(reference.mask.sum()),
        "num_classes": first.num_classes,
        "num_pairs_within_clips": first.num_pairs,
        "num_classes_within_clips": first.num_classes_within,
        "floor": floor,
        "scores": {name: one.with_intervals() for name, one in judged.items()},
        "differences": {name: one.minus(first) for name, one in judged.items() if name != floor},
    }
