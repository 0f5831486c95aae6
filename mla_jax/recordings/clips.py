"""Clips of what an encoder gave of recordings: whole recordings, or cuts of one length."""

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mla_jax.audio.encoder import Encoder
from mla_jax.data.clips import ClipSet
from mla_jax.data.embedding import Embedding
from mla_jax.data.formats.format import CHUNK_BYTES
from mla_jax.data.label_file import Heard, labels_of


class Piece(NamedTuple):
    """A clip that is to be.

    Attributes:
      name: of its recording: clips of one recording share it, and their start times tell them apart.
      start: seconds into the recording.
      embeddings: [segments, features], one segment at least.
      heard: what is heard in it.
      end: seconds into the recording at which it ends, if that is known; its last segment may reach further.
    """

    name: str
    start: float
    embeddings: np.ndarray
    heard: Heard
    end: float = math.inf


def cut_length(encoder: Encoder, clip_seconds: float) -> int:
    """How many segments a cut has; 0 for whole recordings.

    Cuts of 10 s have 10 segments of VGGish, which begin at 0 to 9 s.
    """
    return max(1, round(clip_seconds / encoder.hop_seconds)) if clip_seconds else 0


def pieces_of(
    name: str,
    embeddings: np.ndarray,
    encoder: Encoder,
    heard: Heard,
    length: int,
    first: int = 0,
    end: float = math.inf,
) -> Iterator[Piece]:
    """A recording as one piece, or for `length` above 0 as pieces of so many segments; the last has fewer.

    The embeddings are those of its segments from `first` on, of sound up to `end` seconds.
    """
    step = length or max(1, len(embeddings))
    for begin in range(0, len(embeddings), step):
        (start,) = encoder.starts(1, first + begin)
        yield Piece(name, float(start), embeddings[begin : begin + step], heard, end)


def clip_sets(
    pieces: Iterable[Piece], described: Embedding, *, time: int, num_classes: int
) -> Iterator[ClipSet]:
    """The pieces as clips, padded to `time` segments, some at a time, so that memory is bounded."""
    clip_bytes = time * described.num_features * np.dtype(described.dtype).itemsize
    most = max(1, CHUNK_BYTES // max(1, clip_bytes))
    waiting: list[Piece] = []
    for piece in pieces:
        waiting.append(piece)
        if len(waiting) == most:
            yield clip_set(waiting, described, time=time, num_classes=num_classes)
            waiting = []
    if waiting:
        yield clip_set(waiting, described, time=time, num_classes=num_classes)


def clip_set(
    pieces: Sequence[Piece], described: Embedding, *, time: int, num_classes: int
) -> ClipSet:
    """The pieces as clips, padded to `time` segments.

    Args:
      pieces: of at most `time` segments each.
      described: what their embeddings are.
      time: the size of the time axis.
      num_classes: K.
    """
    embeddings = np.zeros((len(pieces), time, described.num_features), described.dtype)
    for row, piece in zip(embeddings, pieces, strict=True):
        row[: len(piece.embeddings)] = piece.embeddings
    clips = ClipSet.from_arrays(
        embeddings,
        labels_of([piece.heard for piece in pieces], num_classes),
        num_classes=num_classes,
        num_segments=np.array([len(piece.embeddings) for piece in pieces]),
        video_ids=[os.fsencode(piece.name) for piece in pieces],
        start_times=np.array([piece.start for piece in pieces]),
        embedding=described,
    )
    return dataclasses.replace(clips, end_times=np.array([piece.end for piece in pieces]))
