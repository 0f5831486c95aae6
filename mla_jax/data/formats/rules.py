"""What a good clip must keep to: thousands of clips checked at once, and made a `ClipSet`. NumPy only."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.data.embedding import Embedding
from mla_jax.data.formats.format import Chunk, ReadOptions


class Columns(NamedTuple):
    """What n clips hold, s segments in all, not checked yet.

    Attributes:
      ids, starts, labels: the values of all clips joined, and how many each clip has, [n].
      segments: [n] number of segments.
      sizes: [s] floats in each segment, or bytes (0 if it is not one string).
      vectors: [s, M] uint8, float16 or float32; zero where the size is not M.
      embedding: what the vectors mean.
      known: [n, K] bool, which labels are known; None: all.
    """

    ids: tuple[np.ndarray, np.ndarray]
    starts: tuple[np.ndarray, np.ndarray]
    labels: tuple[np.ndarray, np.ndarray]
    segments: np.ndarray
    sizes: np.ndarray
    vectors: np.ndarray
    embedding: Embedding
    known: np.ndarray | None = None


def check(
    columns: Columns,
    place: Callable[[int], tuple[str, int]],
    faults: dict[int, str],
    options: ReadOptions,
    done: int,
) -> Chunk:
    """The good clips of `columns`, and a list of the bad ones.

    Args:
      columns: what the clips hold.
      place: gives the file of the clip in a row, and its index within the file.
      faults: what is known to be wrong with some clips already, by row.
      options: what clips must keep to.
      done: that of the chunk.
    """
    faults = _find_faults(columns, options) | faults
    good = np.ones(len(columns.segments), bool)
    good[list(faults)] = False
    clips = _to_clips(columns, good, options)
    return Chunk(
        clips,
        skipped=[(*place(i), _video_id(columns, i), faults[i]) for i in sorted(faults)],
        cropped=int((columns.segments[good] > clips.max_segments).sum()),
        done=done,
    )


def _video_id(columns: Columns, row: int) -> str:
    """The first video id of a clip, or an empty string."""
    ids, counts = columns.ids
    return ids[counts[:row].sum()].decode(errors="replace") if counts[row] else ""


def _find_faults(columns: Columns, options: ReadOptions) -> dict[int, str]:
    """What is wrong with each bad clip, by its row: the first thing found."""
    faults: dict[int, str] = {}

    def note(rows: np.ndarray, wrong: np.ndarray, values: np.ndarray, text: str) -> None:
        for row, value in zip(rows[wrong].tolist(), values[wrong].tolist(), strict=True):
            faults.setdefault(row, text.format(value))

    clips = np.arange(len(columns.segments))
    ids, counts = columns.ids
    note(clips, counts != 1, counts, "it has {} values of video_id; it must have one")
    # An array of bytes strings drops zero bytes at the end.
    empty = np.array([not v or v.endswith(b"\0") for v in ids], bool)
    note(np.repeat(clips, counts), empty, ids, "its video_id is empty or ends in a zero byte")
    starts, counts = columns.starts
    note(clips, counts != 1, counts, "it has {} values of start_time_seconds; it must have one")
    note(np.repeat(clips, counts), ~np.isfinite(starts), starts, "its start time is {}")

    segments, limit = columns.segments, options.max_segments
    note(clips, segments == 0, segments, f"it has no segments ({options.feature})")
    if limit and options.long_clips == "error":
        text = f"it has {{}} segments, more than {limit}; long_clips='crop' keeps the first {limit}"
        note(clips, segments > limit, segments, text)
    owner = np.repeat(clips, segments)
    features, unit = (
        columns.vectors.shape[1],
        "bytes" if columns.vectors.dtype == np.uint8 else "floats",
    )
    text = f"it has a segment of {{}} {unit}; the first record has {features}"
    note(owner, columns.sizes != features, columns.sizes, text)
    if columns.vectors.dtype != np.uint8:
        finite = np.isfinite(columns.vectors).all(axis=1)
        note(owner, ~finite, owner, "it has NaN or infinity in its embedding")

    zero = _all_zero(columns)
    note(clips, zero, clips, "its embedding is all zeros, as if it was never filled in")

    labels, counts = columns.labels
    if options.needs_labels and options.no_label == "error":
        note(clips, counts == 0, counts, "it has no label")
    if options.needs_labels and columns.known is not None:
        note(clips, np.logical_not(columns.known.any(axis=1)), clips, "none of its labels is known")
    owner, labels = _sorted_labels(columns)
    num_classes = options.num_classes
    text = (
        f"label {{}} is outside 0 to {num_classes - 1} ({num_classes} classes): is their number, or the "
        "class list, that of the data?"
    )
    note(owner, (labels < 0) | (labels >= num_classes), labels, text)
    repeated = np.zeros(len(labels), bool)
    repeated[1:] = (np.diff(labels) == 0) & (np.diff(owner) == 0)
    note(owner, repeated, labels, "label {} is repeated")
    return faults


def _all_zero(columns: Columns) -> np.ndarray:
    """Which clips have no number but zero, [n] bool; nearly all show in their first vector that they have."""
    zero = columns.segments > 0
    starts = np.cumsum(columns.segments) - columns.segments
    zero[zero] = ~columns.vectors[starts[zero]].any(axis=1)
    for row in np.flatnonzero(zero).tolist():
        part = slice(starts[row], starts[row] + columns.segments[row])
        whole = (columns.sizes[part] == columns.vectors.shape[1]).all()  # else that is its fault
        zero[row] = whole and not columns.vectors[part].any()
    return zero


def _to_clips(columns: Columns, good: np.ndarray, options: ReadOptions) -> ClipSet:
    """The clips where `good`."""
    num_clips = int(good.sum())
    new_row = np.cumsum(good) - 1
    segments = columns.segments
    time = options.max_segments or int(segments[good].max(initial=1))
    owner = np.repeat(np.arange(len(good)), segments)
    position = np.arange(len(owner)) - np.repeat(np.cumsum(segments) - segments, segments)
    keep = good[owner] & (position < time)
    vectors = columns.vectors
    embeddings = np.zeros((num_clips, time, vectors.shape[1]), vectors.dtype)
    rows, kept = (owner, vectors) if keep.all() else (owner[keep], vectors[keep])
    embeddings[new_row[rows], position[keep]] = kept
    label_owner, labels = _sorted_labels(columns)
    ids, id_counts = columns.ids
    starts, start_counts = columns.starts
    return ClipSet(
        embeddings=embeddings,
        num_segments=np.minimum(segments[good], time).astype(np.int32),
        label_offsets=np.append(0, np.cumsum(columns.labels[1][good])).astype(np.int64),
        label_ids=labels[good[label_owner]].astype(np.int32),
        video_ids=np.array(ids[np.repeat(good, id_counts)].tolist(), np.bytes_),
        start_times=starts[np.repeat(good, start_counts)],
        num_classes=options.num_classes,
        embedding=columns.embedding,
        label_mask=None if columns.known is None else columns.known[good],
        classes=options.classes,
    )


def _sorted_labels(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """The labels of all clips, ascending within each: (row, label)."""
    labels, counts = columns.labels
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, labels[np.lexsort((labels, owner))]
