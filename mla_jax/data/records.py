"""AudioSet's TFRecord files of `tf.train.SequenceExample` <-> `ClipSet`.

A record holds, as AudioSet released it: context `video_id` (bytes), `start_time_seconds` (float),
`labels` (int64 list); feature list `audio_embedding`, for every segment one string of M bytes
(uint8) or, from a user's own encoder, one list of M floats (float32). Other features are ignored.

`frames` reads the bytes of the records, TensorFlow parses thousands of them in one call, NumPy
checks them all at once. This is the only module of the library that imports TensorFlow.
"""

import contextlib
import dataclasses
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.cache import local_copy
from mla_jax.data.clips import ClipSet
from mla_jax.data.frames import Frame, read_frames
from mla_jax.data.record_checks import EMBEDDING, Columns, Layout, Rules, find_faults, to_clips
from mla_jax.data.skipped import Skipped
from mla_jax.errors import UserError

# Before the import: no start-up chatter (of which the note on oneDNN ignores the log level), and no lines
# about records that cannot be parsed, of which we tell ourselves. JAX, if there first, has set it to 1.
if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow as tf

for _kind in ("GPU", "TPU"):
    # Else TensorFlow takes the memory that JAX needs. Fails only where TensorFlow already runs.
    with contextlib.suppress(RuntimeError, ValueError):
        tf.config.set_visible_devices([], _kind)

SUFFIX = ".tfrecord"
_CONTEXT_KINDS = {
    "video_id": "bytes_list",
    "start_time_seconds": "float_list",
    "labels": "int64_list",
}
_BATCH_BYTES = 64 * 1024 * 1024  # so that records of any size are read in bounded memory


@dataclasses.dataclass
class ReadReport:
    """What `read_records` has read so far; it adds to this as its chunks are taken.

    Attributes:
      files: the files it was given.
      clips: the clips yielded.
      cropped: those of them that were longer than `max_segments` and were cut.
      skipped: (file, record index, video id or '', reason) of each bad record left out. Where a
        file breaks off, one entry stands for the rest of it.
    """

    files: int = 0
    clips: int = 0
    cropped: int = 0
    skipped: list[Skipped] = dataclasses.field(default_factory=list)


def find_record_files(path_or_glob: str) -> list[Path]:
    """The record files of a folder (its `*.tfrecord`), a single file, or the files matching a glob.

    Returns:
      Paths in the byte order of their names.

    Raises:
      UserError: there is no such file.
    """
    copy = local_copy(path_or_glob, pattern=f"*{SUFFIX}")
    with copy.naming():
        return _find(copy.path)


def _find(path_or_glob: str) -> list[Path]:
    path = Path(path_or_glob)
    if path.is_dir():
        found = [p for p in path.iterdir() if p.name.endswith(SUFFIX)]
    elif path.is_file():
        found = [path]
    else:
        found = [Path(p) for p in glob.glob(path_or_glob, recursive=True)]
        if not found and not glob.has_magic(path_or_glob) and not path.exists():
            raise UserError(
                f"{path_or_glob} does not exist; give packed clips, records, or an HDF5 or "
                ".npz file"
            )
    found = sorted((p for p in found if p.is_file()), key=os.fsencode)
    if not found:
        raise UserError(
            f"no record files at {path_or_glob}; give a folder of *{SUFFIX} files, a file, a glob"
        )
    return found


def read_records(
    files: Iterable[str | Path],
    *,
    num_classes: int,
    max_segments: int = 10,
    long_clips: str = "error",
    bad_records: str = "error",
    needs_labels: bool = True,
    chunk_size: int = 4096,
    report: ReadReport | None = None,
) -> Iterator[ClipSet]:
    """Reads clips in the order of `files` and, within a file, of its records.

    Args:
      files: the record files, as from `find_record_files`.
      num_classes: labels must be below it.
      max_segments: the size of the time axis; shorter clips are padded with zero.
      long_clips: what a clip of more segments is: with 'error' a bad record, with 'crop' a clip of
        its first `max_segments`.
      bad_records: 'error' stops at the first, 'skip' leaves them out and lists them in `report`.
      needs_labels: whether a record without a label is bad.
      chunk_size: the most clips of one chunk.
      report: filled while reading.

    Yields:
      ClipSets of 1 to `chunk_size` clips: embeddings [clips, max_segments, M] uint8 or float32, M
      and dtype being those of the first record that has a segment; labels ascending. Nothing, where
      no record is good.

    Raises:
      UserError: an argument is out of range; or, while reading, a bad record, with its file, index
        within the file, video id where it can be read, and what is wrong.
    """
    _check_choice("long_clips", long_clips, ("error", "crop"))
    _check_choice("bad_records", bad_records, ("error", "skip"))
    for name, value in (
        ("num_classes", num_classes),
        ("max_segments", max_segments),
        ("chunk_size", chunk_size),
    ):
        if value < 1:
            raise UserError(f"{name} is {value}; it must be 1 or more")
    rules = Rules(num_classes, max_segments, long_clips == "crop", needs_labels)
    report = ReadReport() if report is None else report
    paths = [Path(file) for file in files]
    return _chunks(paths, rules, bad_records == "skip", chunk_size, report)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")


def _chunks(
    paths: Sequence[Path], rules: Rules, skip: bool, chunk_size: int, report: ReadReport
) -> Iterator[ClipSet]:
    numbers = {path: n for n, path in enumerate(paths, start=1)}
    layout = None
    for frames in _batches(read_frames(paths), chunk_size):
        layout = layout or _find_layout(frames)
        # Without a layout no record has a segment, so none is good whatever the layout.
        clips, cropped, faults = _decode(frames, layout or Layout("bytes_list", 128), rules)
        for i in sorted(faults):
            bad = (str(frames[i].path), frames[i].number, _read_id(frames[i].payload), faults[i])
            if not skip:
                raise UserError(_describe(*bad))
            report.skipped.append(bad)
        report.files = numbers[frames[-1].path]
        if clips is not None:
            report.clips += len(clips)
            report.cropped += cropped
            yield clips


def _describe(path: str, number: int, video_id: str, fault: str) -> str:
    named = f", video id {video_id!r}" if video_id else ""
    return (
        f"{path}, record {number}{named}: {fault}; mend or replace it, or leave bad records out "
        "with bad_records=skip"
    )


def _batches(frames: Iterable[Frame], chunk_size: int) -> Iterator[list[Frame]]:
    """Up to `chunk_size` frames and, but for the last of them, less than `_BATCH_BYTES`."""
    batch: list[Frame] = []
    size = 0
    for frame in frames:
        batch.append(frame)
        size += len(frame.payload)
        if len(batch) == chunk_size or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _decode(
    frames: Sequence[Frame], layout: Layout, rules: Rules
) -> tuple[ClipSet | None, int, dict[int, str]]:
    """The clips of the good frames, how many were cropped, what is wrong with each bad frame."""
    faults = {i: frame.fault for i, frame in enumerate(frames) if frame.fault}
    # TensorFlow's batched parsing reads past the end of some payloads that are no protocol message: it takes
    # them for good, or crashes. Parsing each as a message first costs some microseconds.
    for i, frame in enumerate(frames):
        if not frame.fault and _message(frame.payload) is None:
            faults[i] = "it is not a tf.train.SequenceExample"
    rows = [i for i in range(len(frames)) if i not in faults]
    try:
        columns = _parse([frames[i].payload for i in rows], layout)
    except tf.errors.OpError:  # at least one cannot be parsed
        for i in _unparsable(frames, rows, layout):
            faults[i] = _describe_unparsable(frames[i].payload, layout)
        rows = [i for i in rows if i not in faults]
        columns = _parse([frames[i].payload for i in rows], layout)
    wrong = find_faults(columns, layout, rules)
    faults.update((rows[j], reason) for j, reason in wrong.items())
    good = np.ones(len(rows), bool)
    good[list(wrong)] = False
    if not good.any():
        return None, 0, faults
    cropped = int((columns.segments[good] > rules.max_segments).sum())
    return to_clips(columns, good, rules), cropped, faults


def _parse(payloads: list[bytes], layout: Layout) -> Columns:
    """Parses records in one call.

    Raises:
      tf.errors.OpError: some payload is no SequenceExample or has values of another kind.
    """
    is_bytes = layout.kind == "bytes_list"
    context, lists, _ = tf.io.parse_sequence_example(
        tf.constant(payloads, tf.string, [len(payloads)]),
        context_features={
            "video_id": tf.io.RaggedFeature(tf.string),
            "start_time_seconds": tf.io.RaggedFeature(tf.float32),
            "labels": tf.io.RaggedFeature(tf.int64),
        },
        # Ragged, not padded: one absurdly long record must not multiply the memory of all others.
        sequence_features={EMBEDDING: tf.io.RaggedFeature(tf.string if is_bytes else tf.float32)},
    )
    items = lists[EMBEDDING]  # [records, (segments), (strings or floats)]
    sizes = np.diff(items.values.row_splits.numpy())
    owner = np.repeat(np.arange(len(sizes)), sizes)
    if is_bytes:
        single = sizes == 1
        sizes = np.zeros_like(sizes)
        sizes[single] = tf.strings.length(items.flat_values).numpy()[single[owner]]
        values = tf.io.decode_raw(items.flat_values, tf.uint8, fixed_length=layout.features).numpy()
    else:
        values = items.flat_values.numpy()
    whole = sizes == layout.features
    vectors = np.zeros((len(sizes), layout.features), values.dtype)
    vectors[whole] = values[whole[owner]].reshape(-1, layout.features)
    return Columns(
        ids=_values_and_counts(context["video_id"]),
        starts=_values_and_counts(context["start_time_seconds"]),
        labels=_values_and_counts(context["labels"]),
        segments=np.diff(items.row_splits.numpy()),
        sizes=sizes,
        vectors=vectors,
    )


def _values_and_counts(ragged: Any) -> tuple[np.ndarray, np.ndarray]:
    return ragged.values.numpy(), np.diff(ragged.row_splits.numpy())


def _unparsable(frames: Sequence[Frame], rows: list[int], layout: Layout) -> list[int]:
    """Which of `rows` cannot be parsed, by halving."""
    try:
        _parse([frames[i].payload for i in rows], layout)
        return []
    except tf.errors.OpError:
        if len(rows) == 1:
            return rows
    half = len(rows) // 2
    return _unparsable(frames, rows[:half], layout) + _unparsable(frames, rows[half:], layout)


def _describe_unparsable(payload: bytes, layout: Layout) -> str:
    example = tf.train.SequenceExample.FromString(payload)
    for name, kind in _CONTEXT_KINDS.items():
        found = example.context.feature[name].WhichOneof("kind")
        if found not in (None, kind):
            return f"its {name} is a {found}; it must be a {kind}"
    for feature in example.feature_lists.feature_list[EMBEDDING].feature:
        found = feature.WhichOneof("kind")
        if found not in (None, layout.kind):
            return f"its {EMBEDDING} is a {found}; that of the first record is a {layout.kind}"
    return "TensorFlow cannot parse it"


def _find_layout(frames: Sequence[Frame]) -> Layout | None:
    """How the first record that has a segment stores it."""
    for frame in frames:
        example = None if frame.fault else _message(frame.payload)
        if example is None:
            continue
        for feature in example.feature_lists.feature_list[EMBEDDING].feature[:1]:
            if floats := feature.float_list.value:
                return Layout("float_list", len(floats))
            if (strings := feature.bytes_list.value) and strings[0]:
                return Layout("bytes_list", len(strings[0]))
    return None


def _message(payload: bytes) -> Any:
    """The protocol message, or None if the payload is not one."""
    try:
        return tf.train.SequenceExample.FromString(payload)
    except Exception:  # of several kinds by implementation, and of a payload that may be damaged
        return None


def _read_id(payload: bytes) -> str:
    """The video id as far as it can be read, or an empty string."""
    example = _message(payload)
    ids = example.context.feature["video_id"].bytes_list.value if example is not None else []
    return ids[0].decode(errors="replace") if ids else ""


def dataset(files: Iterable[str | Path], **options: Any) -> tf.data.Dataset:
    """The same clips as a `tf.data.Dataset`, one element a clip, for pipelines that want one.

    Args:
      files: the record files, as from `find_record_files`.
      **options: those of `read_records`.

    Returns:
      A dataset of dictionaries: `video_id` string, `start_time` float32, `num_segments` int32, `embeddings`
      [max_segments, M] uint8 or float32, `labels` [K] bool.

    Raises:
      UserError: no record is good. A bad record ends an iteration as in `read_records`.
    """
    paths = list(files)
    first = next(read_records(paths, **{**options, "chunk_size": 1, "report": None}), None)
    if first is None:
        raise UserError("there is no usable record in these files")

    def chunks() -> Iterator[dict[str, np.ndarray]]:
        for clips in read_records(paths, **options):
            yield {
                "video_id": clips.video_ids,
                "start_time": clips.start_times,
                "num_segments": clips.num_segments,
                "embeddings": clips.embeddings,
                "labels": clips.multi_hot(),
            }

    shape = (None, first.max_segments, first.num_features)
    signature = {
        "video_id": tf.TensorSpec((None,), tf.string),
        "start_time": tf.TensorSpec((None,), tf.float32),
        "num_segments": tf.TensorSpec((None,), tf.int32),
        "embeddings": tf.TensorSpec(shape, tf.as_dtype(first.embeddings.dtype)),
        "labels": tf.TensorSpec((None, first.num_classes), tf.bool),
    }
    return tf.data.Dataset.from_generator(chunks, output_signature=signature).unbatch()
