"""When sounds truly occur: strong labels of clips, and how well a model's segment scores agree with them."""

from pathlib import Path

import numpy as np

from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.localization.events import Reference, segment_reference
from mla_jax.localization.segment_metrics import SegmentMetrics, evaluate_segments
from mla_jax.localization.strong_labels import read_strong_labels
from mla_jax.runs.trained import TrainedModel


def read_truth(path: str | Path, classes: ClassList, clips: ClipSet) -> Reference:
    """What sounds in which second of each clip; files without a clip, and clips without a file, are listed.

    Args:
      path: a file of strong labels, see `mla_jax.localization.strong_labels`.
      classes: those of the clips.
      clips: of segments of one second.

    Raises:
      UserError: the file cannot be used, or no event of it lies in a clip.
    """
    labels = read_strong_labels(path, classes)
    return segment_reference(
        labels, clips.video_ids, clips.mask(), clips.num_classes, unmatched="skip"
    )


def segment_metrics(
    trained: TrainedModel, clips: ClipSet, truth: Reference
) -> SegmentMetrics | None:
    """How well the model's segment scores tell when classes sound; None where no clip has strong labels.

    Args:
      trained: the model.
      clips: those that `truth` is of; the segment scores of all with strong labels are held in memory.
      truth: from `read_truth`.
    """
    known = np.flatnonzero(truth.mask.any(axis=1))
    if not len(known):
        return None
    scores = trained.predict_segments(clips[known]).scores
    return evaluate_segments(scores, truth.active[known], mask=truth.mask[known])
