"""Clips of any length as items of at most `window` segments, and items as batches of one size. NumPy only."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.data.segment_seconds import assumed_segment_seconds
from mla_jax.errors import UserError

_DECIMALS = 6  # of seconds


@dataclasses.dataclass(frozen=True)
class Windowing:
    """How clips are cut into windows.

    Attributes:
      length: segments of a window, 1 or more.
      hop: segments from the start of one window to that of the next, 1 ... length.

    Raises:
      UserError: a value is not valid.
    """

    length: int
    hop: int

    def __post_init__(self) -> None:
        if self.length < 1:
            raise UserError(
                f"window={self.length} is not valid: a window has a number of segments, 1 or more"
            )
        if not 1 <= self.hop <= self.length:
            raise UserError(
                f"hop={self.hop} is not valid: it must be 1 to {self.length}, the window, or segments "
                "would be left out"
            )


def segment_times(clips: ClipSet, rows: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Seconds into the video at which segments of clips begin.

    A clip's own start time is as it was given; later times are to a microsecond. Where nothing says how long
    a segment is, times are as if it had a second, and a warning says so.

    Args:
      clips: the clips.
      rows, segments: [...] which clip, and which of its segments, from 0.

    Returns:
      [...] float64.
    """
    starts = np.asarray(clips.start_times)[rows]
    if not segments.any():
        return starts
    seconds = clips.embedding.hop_seconds or assumed_segment_seconds()
    return np.where(segments == 0, starts, np.round(starts + segments * seconds, _DECIMALS))


class Windows(NamedTuple):
    """Where the windows of some clips lie; W windows, in the order of the clips and of time.

    Attributes:
      clip: [W] int64, the clip that each is of.
      start: [W] int64, its first segment.
      length: [W] int64, how many segments it has: `window`, or fewer at the end of a clip.
    """

    clip: np.ndarray
    start: np.ndarray
    length: np.ndarray


def find_windows(num_segments: np.ndarray, windowing: Windowing) -> Windows:
    """The windows that cover clips of these lengths.

    A clip of no more segments than a window is one window. A longer one has windows from segment 0, hop,
    2 hop, ... on, up to the first that reaches its end; that one may be shorter than the others.

    Args:
      num_segments: [clips], each 1 or more.
      windowing: how they are cut.
    """
    length, hop = windowing.length, windowing.hop
    lengths = np.asarray(num_segments, np.int64)
    counts = 1 - np.minimum(0, (length - lengths) // hop)  # 1 + ceil((n - length) / hop)
    clip = np.repeat(np.arange(len(lengths)), counts)
    start = hop * (np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts))
    return Windows(clip, start, np.minimum(lengths[clip] - start, length))


def cut_into_windows(clips: ClipSet, windowing: Windowing) -> ClipSet:
    """All windows of some clips as clips of their own, in order, each with its own start time; no labels."""
    return _take(clips, find_windows(clips.num_segments, windowing), windowing.length)


def batches_of_windows(
    chunks: Iterable[ClipSet], windowing: Windowing, *, width: int, batch_size: int
) -> Iterator[ClipSet]:
    """The windows of clips that come in chunks, in batches of one shape, so that one program serves all.

    Args:
      chunks: clips of any number of segments, with time axes of any size; taken as they are needed.
      windowing: how they are cut.
      width: the size of the time axis of the batches, at least that of every window.
      batch_size: windows in a batch; the last may have fewer.

    Yields:
      ClipSets of `batch_size` windows as clips of their own, in order, each with its own start time and
      without labels. Only one batch is copied, so overlapping windows cost no memory; and clips that are
      whole windows of this width are not copied at all.

    Raises:
      UserError: chunks differ in kind.
    """

    def pieces() -> Iterator[ClipSet]:
        for chunk in chunks:
            for first in range(0, len(chunk), batch_size):
                clips = chunk[first : first + batch_size]
                found = find_windows(clips.num_segments, windowing)
                for begin in range(0, len(found.clip), batch_size):
                    part = Windows(*(column[begin : begin + batch_size] for column in found))
                    yield _take(clips, part, width)

    return _rebatch(pieces(), batch_size)


def _take(clips: ClipSet, windows: Windows, width: int) -> ClipSet:
    """The windows as clips of their own."""
    count = len(windows.clip)
    whole = count == len(clips) and not windows.start.any()
    if whole and width == clips.max_segments:
        embeddings = clips.embeddings
    else:
        place = np.arange(width)
        rows = np.minimum(windows.start[:, None] + place, clips.max_segments - 1)
        embeddings = np.asarray(clips.embeddings[windows.clip[:, None], rows])
        embeddings[place >= windows.length[:, None]] = 0
    return dataclasses.replace(
        clips,
        embeddings=embeddings,
        num_segments=windows.length.astype(np.int32),
        label_offsets=np.zeros(count + 1, np.int64),
        label_ids=np.zeros(0, np.int32),
        video_ids=clips.video_ids[windows.clip],
        start_times=segment_times(clips, windows.clip, windows.start),
        end_times=None if clips.end_times is None else clips.end_times[windows.clip],
    )


def _rebatch(sets: Iterable[ClipSet], size: int) -> Iterator[ClipSet]:
    """The same clips in the same order, `size` at a time."""
    parts: list[ClipSet] = []
    missing = size
    for clips in sets:
        while len(clips):
            parts.append(clips[:missing])
            clips = clips[missing:]
            missing -= len(parts[-1])
            if not missing:
                yield _joined(parts)
                parts, missing = [], size
    if parts:
        yield _joined(parts)


def _joined(parts: list[ClipSet]) -> ClipSet:
    return parts[0] if len(parts) == 1 else concatenate(parts)
