"""`Tags`, what is written of a batch of clips."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mla_jax.data.clips import ClipSet


class Tags(NamedTuple):
    """A batch of N clips and the R labels that are reported of them.

    Attributes:
      clips: the clips.
      owner: [R] which of them each label is of, ascending.
      labels: [R] int32 class indices, those of a clip in the order in which they are written.
      probs: [R] float32 the clip's probability of the label.
      scores: [R, time] float32 the score of each segment for the label; None without segments.
      segment_starts: [N, time] float64 seconds into the video at which each segment begins; None without
        segments.
    """

    clips: ClipSet
    owner: np.ndarray
    labels: np.ndarray
    probs: np.ndarray
    scores: np.ndarray | None
    segment_starts: np.ndarray | None


Write = Callable[[Tags], None]
