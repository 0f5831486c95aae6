"""How well a run's scores of segments tell when classes sound, by strong labels, for a report."""

import dataclasses
from collections.abc import Mapping

from mla_jax.data.clips import ClipSet
from mla_jax.localization.events import Reference
from mla_jax.localization.figures import Judged, judge
from mla_jax.localization.segment_metrics import SegmentMetrics, evaluate_segments
from mla_jax.runs.tagging_model import TaggingModel
from mla_jax.runs.when import FLOOR, SHOWN, scores_by_name


@dataclasses.dataclass(frozen=True, eq=False)
class When:
    """How well a run tells when.

    Attributes:
      judged: the figures of each score of segments, by its name; resampled alike in every run.
      decided: metrics of the score that maps show, with what is above 0.5 taken for sounding.
    """

    judged: Mapping[str, Judged]
    decided: SegmentMetrics

    @property
    def shown(self) -> Judged:
        """The figures of the score that maps show."""
        return self.judged[SHOWN]

    @property
    def floor(self) -> Judged:
        """The figures of the clip's probability under each of its segments."""
        return self.judged[FLOOR]


def when(trained: TaggingModel, clips: ClipSet, truth: Reference) -> When | None:
    """Judges a model; None where no class sounds that could be judged.

    Args:
      trained: the model.
      clips: those that `truth` is of; the segment scores of all with strong labels are held in memory.
      truth: from `read_truth`.
    """
    rows, reference = truth.labelled()
    if not reference.active[:, :, reference.known].any():
        return None
    scores = scores_by_name(trained, clips[rows])
    return When(
        {name: judge(of_name, reference) for name, of_name in scores.items()},
        evaluate_segments(
            scores[SHOWN], reference.active, mask=reference.mask, known=reference.known
        ),
    )
