"""A class seen across clips: the segments in which a model is most certain of it."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.localization.events import Reference
from mla_jax.runs.tagging_model import TaggingModel

CANDIDATES = 20
"""In how many clips of the highest probability the segments of a class are looked for."""


@dataclasses.dataclass(frozen=True, eq=False)
class CertainSegment:
    """The segment of a clip with the highest score of a class.

    Attributes:
      video_id, start_time: which clip it is; seconds into the video.
      segment: its place in the clip.
      probability: the clip's.
      is_label: whether the clip has the class; None where that is not known.
      scores: [time] of the clip's segments.
      events: [time] bool, when the class truly sounds in the clip; None where that is not known.
    """

    video_id: str
    start_time: float
    segment: int
    probability: float
    is_label: bool | None
    scores: np.ndarray
    events: np.ndarray | None

    @property
    def score(self) -> float:
        """Its score."""
        return float(self.scores[self.segment])

    @property
    def sounds(self) -> bool | None:
        """Whether the class truly sounds in it; None where that is not known."""
        return None if self.events is None else bool(self.events[self.segment])


def most_certain(
    trained: TaggingModel,
    clips: ClipSet,
    probs: np.ndarray,
    classes: Sequence[int],
    truth: Reference | None = None,
    *,
    most: int = 5,
) -> dict[int, list[CertainSegment]]:
    """For each of the classes the clips with its highest segments, the highest first.

    They are sought among the clips that have its highest probabilities. A clip is shown once, with its
    highest segment.

    Args:
      trained: the model.
      clips: those to choose from.
      probs: [num_clips, num_classes] the model's probabilities.
      classes: indices of classes.
      truth: of these clips, when their sounds occur, if that is known.
      most: how many clips of a class.
    """
    rows = {k: np.argsort(-probs[:, k], kind="stable")[:CANDIDATES] for k in classes}
    needed = np.unique(np.concatenate([np.zeros(0, int), *rows.values()]))
    if not len(needed):
        return {}
    scores = trained.predict_segments(clips[needed]).scores
    found = {}
    for k, candidates in rows.items():
        made = [
            _of_clip(clips, int(row), k, probs, scores[np.searchsorted(needed, row), :, k], truth)
            for row in candidates
        ]
        found[k] = sorted(made, key=lambda one: -one.score)[:most]
    return found


def _of_clip(
    clips: ClipSet,
    row: int,
    label: int,
    probs: np.ndarray,
    scores: np.ndarray,
    truth: Reference | None,
) -> CertainSegment:
    length = int(clips.num_segments[row])
    one = clips[[row]]
    is_known = one.label_mask is None or bool(one.label_mask[0, label])
    events = None
    if truth is not None and truth.mask[row].any() and truth.known[label]:
        events = truth.active[row, :length, label]
    return CertainSegment(
        video_id=clips.video_ids[row].decode(errors="replace"),
        start_time=float(clips.start_times[row]),
        segment=int(scores[:length].argmax()),
        probability=float(probs[row, label]),
        is_label=bool(one.multi_hot()[0, label]) if is_known else None,
        scores=scores[:length],
        events=events,
    )
