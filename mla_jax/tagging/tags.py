"""`Tags`, what is written of a batch of clips."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.data.embedding import Embedding


@dataclasses.dataclass(frozen=True, eq=False)
class TaggedClips:
    """What a file of tags says of clips themselves: all but their vectors and labels.

    Attributes:
      video_ids: [N] bytes strings.
      start_times: [N] float64, seconds into the video.
      num_segments: [N] int32.
      embedding: what the vectors meant, and how long a segment is.
      end_times: [N] float64, seconds into the video at which its sound ends; None: not known (`ClipSet`).
    """

    video_ids: np.ndarray
    start_times: np.ndarray
    num_segments: np.ndarray
    embedding: Embedding
    end_times: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.video_ids)

    @classmethod
    def of(cls, clips: ClipSet) -> Self:
        """What is said of these clips."""
        return cls(
            clips.video_ids, clips.start_times, clips.num_segments, clips.embedding, clips.end_times
        )


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

    clips: TaggedClips
    owner: np.ndarray
    labels: np.ndarray
    probs: np.ndarray
    scores: np.ndarray | None
    segment_starts: np.ndarray | None


Write = Callable[[Tags], None]
