"""Whether scores rank the segments of a clip by when a class sounds, whatever they say of the clip.

For a pair of clip c and class k that sounds in some of the clip's judged segments, A, and not in others, B,

    W(c, k) = sum_{t in A} sum_{u in B} h(s(c, t, k) - s(c, u, k)) / (|A| |B|)

with h 1 above 0, 1/2 at 0 and 0 below: the area under the ROC curve over the clip's own segments. It is 1/2
for scores that say nothing of when, such as one number under every segment, and does not change when a clip's
scores for a class are all raised. A class's figure is the mean over its pairs, and the figure of all the mean
over the classes that have pairs.
"""

from typing import NamedTuple

import numpy as np

from mla_jax.errors import UserError
from mla_jax.evaluation import metrics
from mla_jax.localization.events import Reference


class WithinClips(NamedTuple):
    """The area under the ROC curve over a clip's own segments, of P pairs of clip and class.

    Attributes:
      clip: [P] int64, the clip's row.
      label: [P] int64, the class.
      auc: [P] float64.
    """

    clip: np.ndarray
    label: np.ndarray
    auc: np.ndarray

    def by_class(self, num_classes: int) -> np.ndarray:
        """The mean over the pairs of each class, [num_classes] float64; NaN where there is none."""
        total = np.bincount(self.label, self.auc, num_classes)
        with np.errstate(invalid="ignore"):
            return total / np.bincount(self.label, minlength=num_classes)

    def resample(self, counts: np.ndarray) -> np.ndarray:
        """The mean over classes of the means over their pairs, on each resample of the clips.

        Args:
          counts: [num_clips, num_resamples], how often each clip is drawn.

        Returns:
          [num_resamples] float64; NaN where no pair is drawn.
        """
        if not len(self.auc):
            return np.full(counts.shape[1], np.nan)
        order = np.argsort(self.label, kind="stable")
        _, begins = np.unique(self.label[order], return_index=True)
        drawn = counts[self.clip[order]].astype(np.float64)
        weighted, weights = (
            np.add.reduceat(values, begins, axis=0)
            for values in (drawn * self.auc[order, None], drawn)
        )
        with np.errstate(invalid="ignore"):
            means = weighted / weights
            mean: np.ndarray = np.where(weights > 0, means, 0).sum(axis=0) / (weights > 0).sum(
                axis=0
            )
        return mean


def within_clips(scores: np.ndarray, reference: Reference) -> WithinClips:
    """Judges whether scores rank the segments of a clip by when a class sounds.

    Args:
      scores: [num_clips, time, num_classes] floating-point; anything where nothing is judged.
      reference: what sounds when, of the same clips; classes that it does not know are left out.

    Raises:
      UserError: the shapes do not fit, or a score that is judged is not finite.
    """
    if scores.shape != reference.active.shape:
        raise UserError(
            f"scores is {list(scores.shape)}, but the reference {list(reference.active.shape)}; give scores "
            "of the same clips"
        )
    judged = reference.mask[:, :, None]
    some = (reference.active & judged).any(axis=1) & (~reference.active & judged).any(axis=1)
    clip, label = np.nonzero(some & reference.known)
    if not len(clip):
        return WithinClips(clip, label, np.zeros(0))
    # A pair is a column, as classes are elsewhere, and a segment a row.
    known = reference.mask[clip].T
    columns = np.where(known, scores[clip, :, label].T, 0)
    return WithinClips(
        clip, label, metrics.evaluate(columns, reference.active[clip, :, label].T, known).auc
    )
