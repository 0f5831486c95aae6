"""How well a model's segment scores agree with strong labels, for a report."""

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.localization.events import Reference
from mla_jax.localization.segment_metrics import SegmentMetrics, evaluate_segments
from mla_jax.runs.tagging_model import TaggingModel


def segment_metrics(
    trained: TaggingModel, clips: ClipSet, truth: Reference
) -> SegmentMetrics | None:
    """How well the model's segment scores tell when classes sound; None where no class is known to.

    Args:
      trained: the model.
      clips: those that `truth` is of; the segment scores of all with strong labels are held in memory.
      truth: from `read_truth`.
    """
    judged = np.flatnonzero(truth.mask.any(axis=1))
    if not truth.known.any():
        return None
    scores = trained.predict_segments(clips[judged]).scores
    return evaluate_segments(
        scores, truth.active[judged], mask=truth.mask[judged], known=truth.known
    )
