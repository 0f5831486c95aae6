"""Files of tags, written a batch at a time: JSON Lines, CSV or Parquet, by the ending of the name.

`.jsonl`: one line a clip. `.csv` and `.parquet`: one row a clip and reported label, or with segments one
row for each of its segments, with these columns:

| column | Parquet type | |
| --- | --- | --- |
| video_id | string | |
| start_time | double | seconds into the video, of the clip or window |
| index | int32 | of the class, from 0 |
| mid, name | string | of the class |
| probability | float | of the clip; CSV has 6 decimals |
| segment | int32 | with segments: its place in the clip, from 0 |
| segment_start | double | with segments: seconds into the video |
| score | float | with segments: the segment's score for this class; CSV has 6 decimals |

A clip of which nothing is reported has no row there, and an empty list of labels in JSON Lines.
"""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mla_jax import files
from mla_jax.data.clips import ClipSet
from mla_jax.data.labels import ClassList
from mla_jax.errors import UserError

_DECIMALS = 6
_ROW_GROUP = 100_000  # rows; of a Parquet file this much is in memory


class Tags(NamedTuple):
    """A batch of N clips and the R labels that are reported of them.

    Attributes:
      clips: the clips.
      owner: [R] which of them each label is of, ascending.
      labels: [R] int32 class indices, in the order in which a clip's labels are told.
      probs: [R] float32 the clip's probability of the label.
      scores: [R, time] float32 the score of each segment for the label; None without segments.
    """

    clips: ClipSet
    owner: np.ndarray
    labels: np.ndarray
    probs: np.ndarray
    scores: np.ndarray | None


class _Form(NamedTuple):
    """How a file is written: what its tags are of."""

    classes: ClassList
    segments: bool
    segment_seconds: float

    def segment_starts(self, clips: ClipSet, rows: np.ndarray, segment: np.ndarray) -> np.ndarray:
        """Seconds into the video at which segments of the clips `rows` begin, float64."""
        starts = np.asarray(clips.start_times)[rows].astype(np.float64)
        return np.round(starts + segment * self.segment_seconds, _DECIMALS)


Write = Callable[[Tags], None]


def require_format(path: str | Path) -> str:
    """The format of a file of this name.

    Raises:
      UserError: the ending is none of those known.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise UserError(
            f"{path} has an ending that says no format; give a name that ends in {', '.join(_WRITERS)}"
        )
    return suffix


@contextlib.contextmanager
def open_tag_file(
    path: str | Path, classes: ClassList, *, segments: bool = False, segment_seconds: float = 1.0
) -> Iterator[Write]:
    """A new file of tags, which appears when the block ends well, and else not at all.

    Args:
      path: the file; its ending says the format.
      classes: what the labels are indices of.
      segments: whether tags have scores of segments, which are then written.
      segment_seconds: how long a segment is.

    Yields:
      What takes the tags of a batch.

    Raises:
      UserError: the ending is not known, or the file cannot be written.
    """
    suffix = require_format(path)
    form = _Form(classes, segments, segment_seconds)
    with (
        files.replacing(path, binary=suffix == ".parquet") as file,
        _WRITERS[suffix](file, form) as write,
    ):
        yield write


@contextlib.contextmanager
def _write_jsonl(file: Any, form: _Form) -> Iterator[Write]:
    def write(tags: Tags) -> None:
        clips = tags.clips
        ends = np.searchsorted(tags.owner, np.arange(len(clips)), side="right").tolist()
        first = 0
        for i, end in enumerate(ends):
            line: dict[str, Any] = {
                "video_id": clips.video_ids[i].decode(errors="replace"),
                "start_time": float(clips.start_times[i]),
            }
            count = int(clips.num_segments[i])
            if form.segments:
                starts = form.segment_starts(clips, np.array([i]), np.arange(count))
                line["segment_starts"] = starts.tolist()
            line["labels"] = [_label(tags, r, count, form.classes) for r in range(first, end)]
            file.write(json.dumps(line) + "\n")
            first = end

    yield write


def _label(tags: Tags, r: int, count: int, classes: ClassList) -> dict[str, Any]:
    k = int(tags.labels[r])
    label: dict[str, Any] = {
        "index": k,
        "mid": classes.mids[k],
        "name": classes.names[k],
        "probability": round(float(tags.probs[r]), _DECIMALS),
    }
    if tags.scores is not None:
        label["segments"] = _rounded(tags.scores[r, :count])
    return label


@contextlib.contextmanager
def _write_csv(file: Any, form: _Form) -> Iterator[Write]:
    writer = csv.writer(file, lineterminator="\n")
    names = ["video_id", "start_time", "index", "mid", "name", "probability"]
    writer.writerow([*names, *(["segment", "segment_start", "score"] if form.segments else [])])

    def write(tags: Tags) -> None:
        ids = [v.decode(errors="replace") for v in tags.clips.video_ids.tolist()]
        starts = tags.clips.start_times.tolist()
        mids, names = form.classes.mids, form.classes.names
        rows = [
            (ids[i], starts[i], k, mids[k], names[k], prob)
            for i, k, prob in zip(
                tags.owner.tolist(), tags.labels.tolist(), _rounded(tags.probs), strict=True
            )
        ]
        if tags.scores is None:
            writer.writerows(rows)
            return
        row, segment, score = _segment_rows(tags)
        begins = form.segment_starts(tags.clips, tags.owner[row], segment)
        writer.writerows(
            (*rows[r], s, begin, value)
            for r, s, begin, value in zip(
                row.tolist(), segment.tolist(), begins.tolist(), _rounded(score), strict=True
            )
        )

    yield write


@contextlib.contextmanager
def _write_parquet(file: Any, form: _Form) -> Iterator[Write]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError(
            "writing .parquet needs pyarrow: pip install pyarrow, or give a name that ends in .csv"
        ) from error
    fields = [
        ("video_id", pa.string()),
        ("start_time", pa.float64()),
        ("index", pa.int32()),
        ("mid", pa.string()),
        ("name", pa.string()),
        ("probability", pa.float32()),
    ]
    if form.segments:
        fields += [
            ("segment", pa.int32()),
            ("segment_start", pa.float64()),
            ("score", pa.float32()),
        ]
    schema = pa.schema(fields)
    mids, names = pa.array(form.classes.mids), pa.array(form.classes.names)
    waiting: list[Any] = []

    def flush() -> None:
        if waiting:
            table = pa.Table.from_batches(waiting)
            writer.write_table(table, row_group_size=len(table))
            waiting.clear()

    def write(tags: Tags) -> None:
        if tags.scores is None:
            row, more = np.arange(len(tags.owner)), []
        else:
            row, segment, score = _segment_rows(tags)
            begins = form.segment_starts(tags.clips, tags.owner[row], segment)
            more = [segment.astype(np.int32), begins, score]
        owner, labels = tags.owner[row], tags.labels[row]
        ids = pa.array([v.decode(errors="replace") for v in tags.clips.video_ids.tolist()])
        columns = [
            ids.take(pa.array(owner)),
            np.asarray(tags.clips.start_times)[owner].astype(np.float64),
            labels,
            mids.take(pa.array(labels)),
            names.take(pa.array(labels)),
            tags.probs[row],
            *more,
        ]
        waiting.append(pa.record_batch([pa.array(c) for c in columns], schema=schema))
        if sum(batch.num_rows for batch in waiting) >= _ROW_GROUP:
            flush()

    with pq.ParquetWriter(file, schema) as writer:
        yield write
        flush()


def _segment_rows(tags: Tags) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A row for each label and real segment: the label's place, the segment, the score."""
    assert tags.scores is not None
    counts = np.asarray(tags.clips.num_segments)[tags.owner].astype(np.int64)
    row = np.repeat(np.arange(len(counts)), counts)
    segment = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return row, segment, tags.scores[row, segment]


def _rounded(values: np.ndarray) -> list[float]:
    """To six decimals; in float64, where these have a short form."""
    return [round(value, _DECIMALS) for value in values.tolist()]


_WRITERS: dict[str, Callable[[Any, _Form], contextlib.AbstractContextManager[Write]]] = {
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
