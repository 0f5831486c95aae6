"""Files of tags, written a batch at a time: JSON Lines, CSV, Parquet or events, by the ending of the name.

`.jsonl`: one line for each clip. `.csv` and `.parquet`: one row for each clip and reported label, or with
segments one for each clip, reported label and segment, with these columns:

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

A clip without a reported label has no row, and in JSON Lines an empty list of labels.

`.tsv` (format dcase) and `.txt` (format audacity) have one row for each event, and where events are asked
for, `.jsonl` (format events) one line for each recording, with its events: `mla_jax.tagging.events`.
"""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.config import one_of
from mla_jax.data.class_list import ClassList
from mla_jax.errors import UserError
from mla_jax.localization.event_rules import EventRules
from mla_jax.storage import files
from mla_jax.tagging.events import EventCount, write_audacity, write_dcase, write_event_lines
from mla_jax.tagging.tags import Tags, Write

_DECIMALS = 6
_ROW_GROUP = 100_000  # rows; of a Parquet file this much is in memory

# The columns of .csv and .parquet, by name: the types that Parquet has.
_COLUMNS = {
    "video_id": "string",
    "start_time": "double",
    "index": "int32",
    "mid": "string",
    "name": "string",
    "probability": "float",
}
_SEGMENT_COLUMNS = {"segment": "int32", "segment_start": "double", "score": "float"}


def format_of(path: str | Path, name: str = "", *, events: bool = False) -> str:
    """The format of a file: the one that is named, or else that of the file's ending.

    Args:
      path: the file.
      name: one of `FORMATS`, or empty.
      events: whether it must be one of events.

    Raises:
      UserError: the ending is none of those known, and no format is named, or one that is not known or has
        no events.
    """
    formats, endings = (EVENT_FORMATS, _EVENT_ENDINGS) if events else (FORMATS, _ENDINGS)
    if name:
        one_of("format of events" if events else "format", name, tuple(formats))
        return name
    suffix = Path(path).suffix.lower()
    if suffix not in endings:
        what = "format of events" if events else "format"
        raise UserError(
            f"{path} has an ending that says no {what}; give a name that ends in {', '.join(endings)}, or a "
            f"format: {', '.join(formats)}"
        )
    return endings[suffix]


@contextlib.contextmanager
def open_tag_file(
    path: str | Path,
    classes: ClassList,
    segments: bool = False,
    *,
    format: str = "",
    rules: EventRules | None = None,
    count: EventCount | None = None,
) -> Iterator[Write]:
    """A new file of tags, which appears when the block ends well, and else not at all.

    Args:
      path: the file.
      classes: what the labels are indices of.
      segments: whether tags have scores of segments, which are then written.
      format: one of `FORMATS`; empty: that of the file's ending.
      rules: what makes an event; a score of 0.5 if not given.
      count: to it is added what is written of events.

    Yields:
      A function that writes the tags of a batch.

    Raises:
      UserError: the format is not known, or the file cannot be written.
    """
    chosen = format_of(path, format)
    with (
        files.replacing(path, binary=chosen == "parquet") as file,
        _writing(chosen, file, classes, segments, rules, count) as write,
    ):
        yield write


def _writing(
    chosen: str,
    file: Any,
    classes: ClassList,
    segments: bool,
    rules: EventRules | None,
    count: EventCount | None,
) -> contextlib.AbstractContextManager[Write]:
    if chosen not in EVENT_FORMATS:
        return _WRITERS[chosen](file, classes, segments)
    if rules is None:
        half = np.full(len(classes), 0.5)
        rules = EventRules(half, half)
    return EVENT_FORMATS[chosen](file, classes, rules, count)


@contextlib.contextmanager
def _write_jsonl(file: Any, classes: ClassList, segments: bool) -> Iterator[Write]:
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
            if tags.segment_starts is not None:
                line["segment_starts"] = tags.segment_starts[i, :count].tolist()
            line["labels"] = [_label(tags, r, count, classes) for r in range(first, end)]
            file.write(json.dumps(line) + "\n")
            first = end

    yield write


def _label(tags: Tags, r: int, count: int, classes: ClassList) -> dict[str, Any]:
    """The `r`-th label, of a clip of so many segments."""
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
def _write_csv(file: Any, classes: ClassList, segments: bool) -> Iterator[Write]:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(_SEGMENT_COLUMNS if segments else ())])

    def write(tags: Tags) -> None:
        columns = _rows(tags, classes)
        cells = (_rounded(c) if c.dtype == np.float32 else c.tolist() for c in columns)
        writer.writerows(zip(*cells, strict=True))

    yield write


@contextlib.contextmanager
def _write_parquet(file: Any, classes: ClassList, segments: bool) -> Iterator[Write]:
    schema = parquet_schema(segments)
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    waiting: list[Any] = []

    def flush() -> None:
        if waiting:
            table = pa.Table.from_batches(waiting)
            if len(table):
                writer.write_table(table, row_group_size=len(table))
            waiting.clear()

    def write(tags: Tags) -> None:
        columns = _rows(tags, classes)
        waiting.append(pa.record_batch([pa.array(c) for c in columns], schema=schema))
        if sum(batch.num_rows for batch in waiting) >= _ROW_GROUP:
            flush()

    with pq.ParquetWriter(file, schema) as writer:
        yield write
        flush()


def parquet_schema(segments: bool) -> Any:
    """The columns of Parquet, a `pyarrow.Schema`.

    Raises:
      UserError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise UserError(
            "writing .parquet needs pyarrow: pip install pyarrow, or give a name that ends in .csv"
        ) from error
    types = _COLUMNS | (_SEGMENT_COLUMNS if segments else {})
    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in types.items()])


def rows_of(tags: Tags, classes: ClassList) -> Iterator[dict[str, Any]]:
    """The rows of .parquet, each by the names of its columns, as Python's own values."""
    names = [*_COLUMNS, *(_SEGMENT_COLUMNS if tags.scores is not None else ())]
    columns = [column.tolist() for column in _rows(tags, classes)]
    for row in zip(*columns, strict=True):
        yield dict(zip(names, row, strict=True))


def _rows(tags: Tags, classes: ClassList) -> list[np.ndarray]:
    """The columns of the rows, of the types that `_COLUMNS` has; strings as objects.

    Without segments a row is a label, with segments a label and a real segment of its clip.
    """
    owner, labels, probs, more = tags.owner, tags.labels, tags.probs, []
    if tags.scores is not None and tags.segment_starts is not None:
        counts = np.asarray(tags.clips.num_segments)[owner].astype(np.int64)
        row = np.repeat(np.arange(len(counts)), counts)
        segment = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        owner, labels, probs = owner[row], labels[row], probs[row]
        starts = tags.segment_starts[owner, segment]
        more = [segment.astype(np.int32), starts, tags.scores[row, segment]]
    ids = [v.decode(errors="replace") for v in tags.clips.video_ids.tolist()]
    start_times = np.asarray(tags.clips.start_times, np.float64)
    return [
        np.array(ids, object)[owner],
        start_times[owner],
        labels,
        np.array(classes.mids, object)[labels],
        np.array(classes.names, object)[labels],
        probs,
        *more,
    ]


def _rounded(values: np.ndarray) -> list[float]:
    """To six decimals, as Python floats, which write them short."""
    return [round(value, _DECIMALS) for value in values.tolist()]


_WRITERS: dict[str, Callable[[Any, ClassList, bool], contextlib.AbstractContextManager[Write]]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "parquet": _write_parquet,
}
EVENT_FORMATS = {"dcase": write_dcase, "audacity": write_audacity, "events": write_event_lines}
"""The formats of events alone."""

ONE_RECORDING = "audacity"
"""The format that holds one recording alone."""

FORMATS = (*_WRITERS, *EVENT_FORMATS)
_EVENT_ENDINGS = {".tsv": "dcase", ".txt": "audacity", ".jsonl": "events"}
_ENDINGS = {
    **{f".{name}": name for name in _WRITERS},
    **{ending: name for ending, name in _EVENT_ENDINGS.items() if ending != ".jsonl"},
}
