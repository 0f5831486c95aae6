"""Clips of any length as items of at most `window` segments, and items as batches of one size. NumPy only."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.errors import UserError


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


def require_window(window: int, hop: int) -> None:
    """Checks that windows of these sizes reach every segment.

    Raises:
      UserError: `window` is not 1 or more, or `hop` is not 1 to `window`.
    """
    if window < 1:
        raise UserError(
            f"window={window} is not valid: a window has a number of segments, 1 or more"
        )
    if not 1 <= hop <= window:
        raise UserError(
            f"hop={hop} is not valid: it must be 1 to {window}, the window, or segments would be left out"
        )


def find_windows(num_segments: np.ndarray, window: int, hop: int) -> Windows:
    """The windows that cover clips of these lengths.

    A clip of no more than `window` segments is one window. A longer one has windows from segment 0, hop,
    2 hop, ... on, up to the first that reaches its end; that one may be shorter than the others.

    Args:
      num_segments: [clips], each 1 or more.
      window: segments of a window.
      hop: from the start of one window to that of the next, 1 ... window.
    """
    lengths = np.asarray(num_segments, np.int64)
    counts = 1 - np.minimum(0, (window - lengths) // hop)  # 1 + ceil((n - window) / hop)
    clip = np.repeat(np.arange(len(lengths)), counts)
    start = hop * (np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts))
    return Windows(clip, start, np.minimum(lengths[clip] - start, window))


def take_windows(
    clips: ClipSet, windows: Windows, width: int, *, segment_seconds: float = 1.0
) -> ClipSet:
    """The windows as clips of their own, each with its own start time; without labels.

    Args:
      clips: what `windows` were found in.
      windows: whose lengths are at most `width`.
      width: the size of the time axis of the result; beyond a window's length it is zero.
      segment_seconds: how long a segment is.

    Returns:
      A ClipSet of W clips; its embeddings are a view where the windows are all of the clips as they are.
    """
    count = len(windows.clip)
    whole = count == len(clips) and not windows.start.any()
    if whole and width == clips.max_segments:
        embeddings = clips.embeddings
    else:
        place = np.arange(width)
        rows = np.minimum(windows.start[:, None] + place, clips.max_segments - 1)
        embeddings = np.asarray(clips.embeddings[windows.clip[:, None], rows])
        embeddings[place >= windows.length[:, None]] = 0
    starts = np.asarray(clips.start_times)[windows.clip]
    return dataclasses.replace(
        clips,
        embeddings=embeddings,
        num_segments=windows.length.astype(np.int32),
        label_offsets=np.zeros(count + 1, np.int64),
        label_ids=np.zeros(0, np.int32),
        video_ids=clips.video_ids[windows.clip],
        start_times=(starts + windows.start * segment_seconds).astype(np.float32),
    )


def batches_of_windows(
    chunks: Iterable[ClipSet],
    *,
    window: int,
    hop: int,
    width: int,
    batch_size: int,
    segment_seconds: float = 1.0,
) -> Iterator[ClipSet]:
    """The windows of clips that come in chunks, in batches of one shape, so that one program serves all.

    Args:
      chunks: clips of any number of segments, with time axes of any size.
      window, hop: as in `find_windows`.
      width: as in `take_windows`.
      batch_size: windows in a batch; the last may have fewer.
      segment_seconds: how long a segment is.

    Yields:
      ClipSets of `batch_size` windows, `width` segments wide, in order. A batch is all that is copied, so
      that windows which overlap cost no memory.

    Raises:
      UserError: the window or the hop is not valid, or chunks differ in kind.
    """
    require_window(window, hop)

    def items() -> Iterator[ClipSet]:
        for chunk in chunks:
            found = find_windows(chunk.num_segments, window, hop)
            single = len(found.clip) == len(chunk)
            for first in range(0, len(found.clip), batch_size):
                part = Windows(*(column[first : first + batch_size] for column in found))
                if single:  # a slice, of which nothing need be copied
                    clips = chunk[first : first + batch_size]
                    part = part._replace(clip=part.clip - first)
                else:
                    clips = chunk
                yield take_windows(clips, part, width, segment_seconds=segment_seconds)

    return _rebatch(items(), batch_size)


def _rebatch(sets: Iterable[ClipSet], size: int) -> Iterator[ClipSet]:
    """The same clips in the same order, `size` at a time."""
    parts: list[ClipSet] = []
    missing = size
    for clips in sets:
        while len(clips):
            part, clips = clips[:missing], clips[missing:]
            parts.append(part)
            missing -= len(part)
            if not missing:
                yield _joined(parts)
                parts, missing = [], size
    if parts:
        yield _joined(parts)


def _joined(parts: list[ClipSet]) -> ClipSet:
    return parts[0] if len(parts) == 1 else concatenate(parts)
