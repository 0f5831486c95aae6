"""When sounds truly occur, for reports and pictures: strong labels of clips, and how models do by them."""

from pathlib import Path

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.data.labels import ClassList
from mla_jax.evaluation.event_segments import Reference, segment_reference
from mla_jax.evaluation.segment_metrics import evaluate_segments
from mla_jax.evaluation.strong_labels import read_strong_labels
from mla_jax.trained import TrainedModel

FIGURES = (
    "macro_average_precision",
    "macro_auc",
    "micro_average_precision",
    "macro_f1",
    "error_rate",
)
"""What `segment_figures` gives, named as in `mla_jax.evaluation.segment_metrics.SegmentMetrics`."""


def read_truth(path: str | Path, classes: ClassList, clips: ClipSet) -> Reference:
    """What sounds in which second of each clip; files without a clip, and clips without a file, are listed.

    Args:
      path: a file of strong labels, see `mla_jax.evaluation.strong_labels`.
      classes: those of the clips.
      clips: of segments of one second.

    Raises:
      UserError: the file cannot be used, or no event of it lies in a clip.
    """
    labels = read_strong_labels(path, classes)
    return segment_reference(
        labels, clips.video_ids, clips.mask(), clips.num_classes, unmatched="skip"
    )


def segment_figures(trained: TrainedModel, clips: ClipSet, truth: Reference) -> dict[str, float]:
    """How well the model's segment scores tell when classes sound; {} where no clip has strong labels.

    Args:
      trained: the model.
      clips: those that `truth` is of; the segment scores of all with strong labels are held in memory.
      truth: from `read_truth`.
    """
    known = np.flatnonzero(truth.mask.any(axis=1))
    if not len(known):
        return {}
    scores = trained.predict_segments(clips[known]).scores
    metrics = evaluate_segments(scores, truth.active[known], mask=truth.mask[known])
    return {
        **{name: float(getattr(metrics, name)) for name in FIGURES},
        "num_clips": metrics.num_clips,
        "num_segments": metrics.num_segments,
    }
