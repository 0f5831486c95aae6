"""Several models as one: the mean of their probabilities, of clips and of segments.

Probabilities are averaged, not logits: so do the published programs, over the evaluations of a run. The mean
of probabilities lies between them, so thresholds keep their meaning, and no single model that is very sure,
rightly or not, decides alone, as it would by an unbounded logit.
"""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.errors import UserError
from mla_jax.inference.predictor import ClipPredictor
from mla_jax.inference.segment_scores import DEFAULT_SCORE
from mla_jax.inference.segments import SegmentOutput


@dataclasses.dataclass(frozen=True, eq=False)
class AveragedPredictor(ClipPredictor):
    """The mean of what several predictors say. Each counts the same; they may be of any architecture.

    A batch goes to all of them before the next, so memory does not grow with the clips. Models of the same
    architecture share one compiled program.

    Attributes:
      members: one or more, of the same classes; their own `batch_size` is not used.
    """

    members: tuple[ClipPredictor, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise UserError("there is no model to average; give one or more")

    @property
    def num_classes(self) -> int:
        """K, of the probabilities."""
        return self.members[0].num_classes

    def start(self, clips: ClipSet) -> Callable[[], np.ndarray]:
        """As `ClipPredictor.start`."""
        started = [member.start(clips) for member in self._resized()]
        return lambda: average_predictions(probs() for probs in started)

    def start_segments(
        self, clips: ClipSet, *, score: str = DEFAULT_SCORE, with_levels: bool = False
    ) -> Callable[[], SegmentOutput]:
        """As `ClipPredictor.start_segments`; an average has no levels, so there are none with it."""
        del with_levels
        started = [member.start_segments(clips, score=score) for member in self._resized()]

        def finish() -> SegmentOutput:
            outputs = [output() for output in started]
            return SegmentOutput(
                probs=average_predictions(output.probs for output in outputs),
                scores=average_predictions(output.scores for output in outputs),
                levels=(),
            )

        return finish

    def _resized(self) -> list[ClipPredictor]:
        return [dataclasses.replace(m, batch_size=self.batch_size) for m in self.members]


def average_predictions(predictions: Iterable[np.ndarray]) -> np.ndarray:
    """The mean of several predictions of the same clips, float32, of the shape that each has.

    Raises:
      UserError: there are no predictions.
    """
    total, count = None, 0
    for probs in predictions:
        total = probs.astype(np.float64) if total is None else total + probs
        count += 1
    if total is None:
        raise UserError("there are no predictions to average")
    return np.asarray(total / count, np.float32)
