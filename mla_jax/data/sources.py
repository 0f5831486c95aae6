"""Opens whatever a data path names, whole or as a stream: packed clips, records, or a file of arrays."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from mla_jax import paths
from mla_jax.cache import LocalCopy, local_copy
from mla_jax.config import DataConfig
from mla_jax.data import array_columns, array_files, labels, packed
from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.data.labels import ClassList
from mla_jax.data.skipped import Skipped
from mla_jax.errors import UserError

AUDIOSET_CLASSES = 527
RECORD_SUFFIX = ".tfrecord"

# Of a streamed chunk: progress is told by chunks, and a chunk's embeddings are what is in memory.
_CHUNK_CLIPS = 2000
_CHUNK_BYTES = 64 * 1024 * 1024


def find_classes(config: DataConfig, *places: str) -> ClassList | None:
    """The class list that `config` names, or the one beside the first of `places` that has one."""
    return labels.resolve(config.class_list, [_folder_of(place) for place in places if place])


def _folder_of(place: str) -> Path:
    path = paths.as_path(place)
    return path if path.is_dir() else paths.parent(path) or path


def count_classes(config: DataConfig, classes: ClassList | None, *places: str) -> int:
    """K: the config's, else the class list's, else that of the data if it knows, else AudioSet's 527.

    Packed data and array files know it, records do not.

    Raises:
      UserError: the config and the class list differ, or an array file cannot be read.
    """
    if classes is not None:
        if config.num_classes not in (0, len(classes)):
            raise UserError(
                f"num_classes={config.num_classes}, but the class list has {len(classes)} classes; "
                "give the list that belongs to the data with class_list"
            )
        return len(classes)
    if config.num_classes:
        return config.num_classes
    for path in places:
        if path and packed.is_packed(path):
            return packed.open_packed(path).num_classes
        if path and array_files.is_array_file(path):
            return array_files.read_shape(path).classes
    return AUDIOSET_CLASSES


def require_same_classes(path: str, classes: ClassList) -> None:
    """Checks that the class list beside `path`, if there is one, is `classes`.

    Raises:
      UserError: it is another; class indices would be mixed up.
    """
    found = find_classes(DataConfig(), path)
    if found is not None and any(classes.mids) and found.mids != classes.mids:
        raise UserError(
            f"the class list beside {path} is not the one in use, so class indices would be mixed up; give "
            "data of the same classes"
        )


def open_clips(
    path: str,
    config: DataConfig,
    num_classes: int,
    skipped: list[Skipped] | None = None,
    *,
    needs_labels: bool = True,
) -> ClipSet:
    """Opens a packed folder, or reads TFRecords (a folder, file or glob) or an array file into memory.

    What `bad_records=skip` leaves out is warned of, and appended to `skipped`. (What was left out when a
    folder was packed is listed in that folder.) Without `needs_labels`, clips may do without labels.

    Raises:
      UserError: nothing is there, it cannot be read, or it is of another number of classes.
    """
    copy = local_data(path)
    with copy.naming():
        return _open_clips(copy, config, num_classes, skipped, needs_labels)


def local_data(path: str) -> LocalCopy:
    """The data that `path` names, on this machine: itself, or a copy from a bucket."""
    return local_copy(path, pattern=f"*{RECORD_SUFFIX}")


def _open_clips(
    copy: LocalCopy,
    config: DataConfig,
    num_classes: int,
    skipped: list[Skipped] | None,
    needs_labels: bool,
) -> ClipSet:
    path = copy.path
    if packed.is_packed(path):
        return _open_packed(path, num_classes)
    if array_files.is_array_file(path):
        left_out: list[Skipped] = []
        clips = array_files.read_array_file(
            path,
            num_classes=num_classes,
            bad_records=config.bad_records,
            needs_labels=needs_labels,
            skipped=left_out,
        )
        _tell_of_skipped(copy, left_out, skipped)
        return clips
    # TensorFlow takes seconds to import, and packed data must not need it.
    from mla_jax.data import records

    report = records.ReadReport()
    chunks = list(
        records.read_records(
            records.find_record_files(path),
            num_classes=num_classes,
            max_segments=config.max_segments,
            long_clips=config.long_clips,
            bad_records=config.bad_records,
            needs_labels=needs_labels,
            report=report,
        )
    )
    if not chunks:
        raise UserError(_NOTHING.format(path))
    _tell_of_skipped(copy, report.skipped, skipped)
    if report.cropped:
        logging.warning(
            "%s: %d clips cut to %d segments", copy.url, report.cropped, config.max_segments
        )
    return concatenate(chunks)


@dataclasses.dataclass
class ClipStream:
    """Clips that are read as they are needed, a chunk at a time, so that data of any size take little memory.

    Attributes:
      chunks: the clips, in order; to be taken once. The time axis of a chunk of records is as long as its
        longest clip, that of other chunks is `time`.
      total: how many clips there are to come, or 0 where that is not known (records).
      time: T of packed clips and array files; 0 for records, whose clips may have any number of segments.
      clips: how many have been taken.
      skipped: what `bad_records=skip` has left out of them.
      place: where in the source the last chunk ended, for a person; may be empty.
    """

    chunks: Iterator[ClipSet]
    total: int = 0
    time: int = 0
    clips: int = 0
    skipped: list[Skipped] = dataclasses.field(default_factory=list)
    place: str = ""


def stream_clips(
    path: str,
    config: DataConfig,
    num_classes: int,
    *,
    num_features: int,
    needs_labels: bool = True,
) -> ClipStream:
    """Opens the same data as `open_clips`, without reading them; clips of records may be of any length.

    Args:
      path: a packed folder; a folder, file or glob of TFRecords; or an array file.
      config: its `bad_records`.
      num_classes: K.
      num_features: M, as far as known.
      needs_labels: whether clips must have labels.

    Raises:
      UserError: as `open_clips`; what only shows in reading is raised as chunks are taken.
    """
    copy = local_data(path)
    with copy.naming():
        return _stream_clips(copy, config, num_classes, num_features, needs_labels)


def _stream_clips(
    copy: LocalCopy, config: DataConfig, num_classes: int, num_features: int, needs_labels: bool
) -> ClipStream:
    stream, path = ClipStream(iter(())), copy.path
    if packed.is_packed(path):
        clips = _open_packed(path, num_classes)
        stream.total, stream.time = len(clips), clips.max_segments
        chunks = _packed_chunks(path, clips)
    elif array_files.is_array_file(path):
        with array_columns.open_columns(path, ["x"]) as columns:
            if (
                "x" in columns and len(columns["x"].shape) == 3
            ):  # else reading it says what is wrong
                stream.total, stream.time, _ = columns["x"].shape
        chunks = array_files.read_array_chunks(
            path,
            num_classes=num_classes,
            bad_records=config.bad_records,
            needs_labels=needs_labels,
            chunk_size=_CHUNK_CLIPS,
            skipped=stream.skipped,
        )
    else:
        chunks = _record_chunks(path, config, num_classes, num_features, needs_labels, stream)
    stream.chunks = _counted(copy, chunks, stream)
    return stream


def _counted(copy: LocalCopy, chunks: Iterator[ClipSet], stream: ClipStream) -> Iterator[ClipSet]:
    with copy.naming():
        for chunk in chunks:
            stream.clips += len(chunk)
            yield chunk
        if not stream.clips:
            raise UserError(_NOTHING.format(copy.path))
    _tell_of_skipped(copy, stream.skipped, None)


def _packed_chunks(path: str, clips: ClipSet) -> Iterator[ClipSet]:
    clip_bytes = clips.embeddings.itemsize * clips.max_segments * clips.num_features
    size = max(1, min(_CHUNK_CLIPS, _CHUNK_BYTES // max(1, clip_bytes)))
    for start in range(0, len(clips), size):
        # Mapped anew, so that what was read of the files before does not stay in memory.
        yield packed.open_packed(path)[start : start + size]


def _record_chunks(
    path: str,
    config: DataConfig,
    num_classes: int,
    num_features: int,
    needs_labels: bool,
    stream: ClipStream,
) -> Iterator[ClipSet]:
    """Clips of the records at `path`, which are looked for at once."""
    # TensorFlow takes seconds to import, and packed data must not need it.
    from mla_jax.data import recordings, records

    files = records.find_record_files(path)

    def on_file(begun: int) -> None:
        stream.place = f"file {begun:,} of {len(files):,}"

    return recordings.read_recordings(
        files,
        num_classes=num_classes,
        num_features=num_features,
        bad_records=config.bad_records,
        needs_labels=needs_labels,
        report=records.ReadReport(skipped=stream.skipped),
        on_file=on_file,
    )


_NOTHING = "{} has no record that can be used; bad_records=error says why"


def _open_packed(path: str, num_classes: int) -> ClipSet:
    clips = packed.open_packed(path)
    if clips.num_classes != num_classes:
        raise UserError(
            f"{path} has {clips.num_classes} classes, but {num_classes} are in use; give data of "
            "the same classes, or pack it again with the class list of the others"
        )
    return clips


def _tell_of_skipped(
    copy: LocalCopy, skipped: list[Skipped], gathered: list[Skipped] | None
) -> None:
    skipped[:] = named_skipped(copy, skipped)
    if gathered is not None:
        gathered += skipped
    for file, index, _, reason in skipped[:1]:
        logging.warning(
            "%s: %d bad records left out, the first of them %s, record %d: %s",
            copy.url,
            len(skipped),
            file,
            index,
            reason,
        )


def named_skipped(copy: LocalCopy, skipped: list[Skipped]) -> list[Skipped]:
    """The same list, with the files as the user knows them."""
    return [(copy.named(file), index, video_id, why) for file, index, video_id, why in skipped]
