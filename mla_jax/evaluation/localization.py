"""How well scores of segments tell when a class sounds, judged by strong labels.

    labels = read_strong_labels("eval.tsv", classes)
    result = evaluate_events(scores, clips.video_ids, labels, num_segments=clips.num_segments)
    files.write_json("localization.json", summarize(result))

`strong_labels` reads and writes the file, `event_segments` says which segments an event makes active and of
which clip, `segment_metrics` has the metrics.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mla_jax.data.labels import ClassList
from mla_jax.errors import UserError
from mla_jax.evaluation.event_segments import segment_reference
from mla_jax.evaluation.segment_metrics import SegmentMetrics, evaluate_segments, require_scores
from mla_jax.evaluation.strong_labels import StrongLabels


@dataclasses.dataclass(frozen=True, eq=False)
class Localization:
    """Segment-based metrics, and what they are of.

    Attributes:
      metrics: of the real segments of the clips that have strong labels.
      resolution: seconds of a segment.
      files_without_clip, clips_without_labels: what did not match and was skipped, by name.
      events_outside: events that touch no segment of their clip, and so do not count.
    """

    metrics: SegmentMetrics
    resolution: float
    files_without_clip: tuple[str, ...]
    clips_without_labels: tuple[str, ...]
    events_outside: int


def evaluate_events(
    scores: npt.ArrayLike,
    clip_ids: Sequence[str | bytes] | np.ndarray,
    labels: StrongLabels,
    *,
    num_segments: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    resolution: float = 1.0,
    threshold: npt.ArrayLike = 0.5,
    unmatched: str = "error",
) -> Localization:
    """Judges the scores of clips' segments by strong labels.

    Args:
      scores: [num_clips, time, num_classes] floating-point.
      clip_ids: [num_clips] ids, matched with files as `mla_jax.evaluation.event_segments` says.
      labels: the events of every file, as `read_strong_labels` gives them.
      num_segments: [num_clips] how many segments of each clip are real; all of them if left out.
      mask: [num_clips, time] bool, which are real; instead of `num_segments`.
      resolution: seconds of a segment.
      threshold: one number, or [num_classes].
      unmatched: what to do with files without a clip and clips without a file: error, or skip (both are
        left out, and listed in the result). Skipped clips are not judged, rather than taken to be silent.

    Raises:
      UserError: scores and labels do not match, or an argument is not valid.
    """
    scores, mask = require_scores(scores, num_segments, mask)
    reference = segment_reference(
        labels, clip_ids, mask, scores.shape[2], resolution=resolution, unmatched=unmatched
    )
    return Localization(
        evaluate_segments(scores, reference.active, mask=reference.mask, threshold=threshold),
        resolution,
        reference.files_without_clip,
        reference.clips_without_labels,
        reference.events_outside,
    )


def summarize(result: Localization) -> dict[str, Any]:
    """The figures of a whole evaluation, for `mla_jax.files.write_json` (where NaN becomes null)."""
    metrics, limits = result.metrics, np.unique(result.metrics.threshold)
    return {
        **{name: v for name, v in vars(metrics).items() if not isinstance(v, np.ndarray)},
        "threshold": float(limits[0]) if len(limits) == 1 else metrics.threshold.tolist(),
        "classes_left_out": metrics.classes_without_events,
        "resolution": result.resolution,
        "files_without_clip": list(result.files_without_clip),
        "clips_without_labels": list(result.clips_without_labels),
        "events_outside": result.events_outside,
    }


def per_class(metrics: SegmentMetrics, classes: ClassList) -> list[dict[str, Any]]:
    """One row a class, in the manner of `mla_jax.evaluation.report`; what is not defined is NaN.

    Raises:
      UserError: the metrics are of another number of classes.
    """
    if len(classes) != len(metrics.f1):
        raise UserError(
            f"the class list has {len(classes)} classes, the metrics are of {len(metrics.f1)}; give the "
            "list of the scores"
        )
    return [
        {
            "index": k,
            "mid": classes.mids[k],
            "name": classes.names[k],
            "average_precision": float(metrics.average_precision[k]),
            "AUC": float(metrics.auc[k]),
            "F1": float(metrics.f1[k]),
            "error_rate": float(metrics.class_error_rate[k]),
            "threshold": float(metrics.threshold[k]),
            "num_active": int(metrics.num_active[k]),
            "true_positives": int(metrics.true_positives[k]),
            "false_positives": int(metrics.false_positives[k]),
        }
        for k in range(len(classes))
    ]
