"""What a good record must keep to, and good records as clips. NumPy alone, thousands at a time."""

from typing import NamedTuple

import numpy as np

from mla_jax.data.clips import ClipSet, Scaling

EMBEDDING = "audio_embedding"


class Rules(NamedTuple):
    """What a good record must keep to.

    Attributes:
      num_classes: its labels are below it.
      max_segments: it has no more, unless `crop` cuts it.
      needs_labels: it has a label; one that is only to be tagged may do without.
    """

    num_classes: int
    max_segments: int
    crop: bool
    needs_labels: bool = True


class Layout(NamedTuple):
    """How segments are stored: `kind` is the field of tf.train.Feature, `features` is M."""

    kind: str
    features: int


class Columns(NamedTuple):
    """Parsed records, not checked yet; n records, s segments in all.

    Attributes:
      ids, starts, labels: the values of all records joined, and how many each record has, [n].
      segments: [n] number of segments.
      sizes: [s] floats in each segment, or bytes (0 if it is not one string).
      vectors: [s, M] uint8 or float32; zero where the size is not M.
    """

    ids: tuple[np.ndarray, np.ndarray]
    starts: tuple[np.ndarray, np.ndarray]
    labels: tuple[np.ndarray, np.ndarray]
    segments: np.ndarray
    sizes: np.ndarray
    vectors: np.ndarray


def find_faults(columns: Columns, layout: Layout, rules: Rules) -> dict[int, str]:
    """What is wrong with each bad record, by its row: the first thing found."""
    faults: dict[int, str] = {}

    def note(rows: np.ndarray, wrong: np.ndarray, values: np.ndarray, text: str) -> None:
        for row, value in zip(rows[wrong].tolist(), values[wrong].tolist(), strict=True):
            faults.setdefault(row, text.format(value))

    records = np.arange(len(columns.segments))
    ids, counts = columns.ids
    note(records, counts != 1, counts, "it has {} values of video_id; it must have one")
    # An array of bytes strings drops zero bytes at the end.
    empty = np.array([not v or v.endswith(b"\0") for v in ids], bool)
    note(np.repeat(records, counts), empty, ids, "its video_id is empty or ends in a zero byte")
    starts, counts = columns.starts
    note(records, counts != 1, counts, "it has {} values of start_time_seconds; it must have one")
    note(np.repeat(records, counts), ~np.isfinite(starts), starts, "its start time is {}")

    segments, limit = columns.segments, rules.max_segments
    note(records, segments == 0, segments, f"it has no segments ({EMBEDDING})")
    if not rules.crop:
        text = f"it has {{}} segments, more than {limit}; long_clips='crop' keeps the first {limit}"
        note(records, segments > limit, segments, text)
    owner = np.repeat(records, segments)
    unit = "bytes" if layout.kind == "bytes_list" else "floats"
    text = f"it has a segment of {{}} {unit}; the first record has {layout.features}"
    note(owner, columns.sizes != layout.features, columns.sizes, text)
    finite = np.isfinite(columns.vectors).all(axis=1)
    note(owner, ~finite, owner, "it has NaN or infinity in its embedding")

    labels, counts = columns.labels
    if rules.needs_labels:
        note(records, counts == 0, counts, "it has no label")
    owner, labels = _sorted_labels(columns)
    text = f"label {{}} is outside 0 to {rules.num_classes - 1} ({rules.num_classes} classes)"
    note(owner, (labels < 0) | (labels >= rules.num_classes), labels, text)
    repeated = np.zeros(len(labels), bool)
    repeated[1:] = (np.diff(labels) == 0) & (np.diff(owner) == 0)
    note(owner, repeated, labels, "label {} is repeated")
    return faults


def to_clips(columns: Columns, good: np.ndarray, rules: Rules) -> ClipSet:
    """The records where `good`, at least one, as clips."""
    num_clips = int(good.sum())
    new_row = np.cumsum(good) - 1
    segments = columns.segments
    owner = np.repeat(np.arange(len(good)), segments)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(segments) - segments, segments)
    keep = good[owner] & (place < rules.max_segments)
    vectors = columns.vectors
    embeddings = np.zeros((num_clips, rules.max_segments, vectors.shape[1]), vectors.dtype)
    embeddings[new_row[owner[keep]], place[keep]] = vectors[keep]
    label_owner, labels = _sorted_labels(columns)
    ids, id_counts = columns.ids
    starts, start_counts = columns.starts
    return ClipSet(
        embeddings=embeddings,
        num_segments=np.minimum(segments[good], rules.max_segments).astype(np.int32),
        label_offsets=np.append(0, np.cumsum(columns.labels[1][good])).astype(np.int64),
        label_ids=labels[good[label_owner]].astype(np.int32),
        video_ids=np.array(ids[np.repeat(good, id_counts)].tolist(), np.bytes_),
        start_times=starts[np.repeat(good, start_counts)],
        num_classes=rules.num_classes,
        scaling=Scaling.default(embeddings.dtype),
    )


def _sorted_labels(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """The labels of all records, ascending within each: (row, label)."""
    labels, counts = columns.labels
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, labels[np.lexsort((labels, owner))]
