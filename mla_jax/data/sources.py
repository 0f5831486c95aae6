"""Opens whatever a data path names: packed clips, records, or a file of arrays."""

from pathlib import Path

from absl import logging

from mla_jax.config import DataConfig
from mla_jax.data import array_files, labels, packed
from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.data.labels import ClassList
from mla_jax.data.skipped import Skipped
from mla_jax.errors import UserError

AUDIOSET_CLASSES = 527


def find_classes(config: DataConfig, *paths: str) -> ClassList | None:
    """The class list that `config` names, or the one beside the first of `paths` that has one."""
    folders = [Path(p) if Path(p).is_dir() else Path(p).parent for p in paths if p]
    return labels.resolve(config.class_list, folders)


def count_classes(config: DataConfig, classes: ClassList | None, *paths: str) -> int:
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
    for path in paths:
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
    if packed.is_packed(path):
        clips = packed.open_packed(path)
        if clips.num_classes != num_classes:
            raise UserError(
                f"{path} has {clips.num_classes} classes, but {num_classes} are in use; give data of "
                "the same classes, or pack it again with the class list of the others"
            )
        return clips
    if array_files.is_array_file(path):
        left_out: list[Skipped] = []
        clips = array_files.read_array_file(
            path,
            num_classes=num_classes,
            bad_records=config.bad_records,
            needs_labels=needs_labels,
            skipped=left_out,
        )
        _tell_of_skipped(path, left_out, skipped)
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
        raise UserError(f"{path} has no record that can be used; bad_records=error says why")
    _tell_of_skipped(path, report.skipped, skipped)
    if report.cropped:
        logging.warning(
            "%s: %d clips cut to %d segments", path, report.cropped, config.max_segments
        )
    return concatenate(chunks)


def _tell_of_skipped(path: str, skipped: list[Skipped], gathered: list[Skipped] | None) -> None:
    if gathered is not None:
        gathered += skipped
    for file, index, _, reason in skipped[:1]:
        logging.warning(
            "%s: %d bad records left out, the first of them %s, record %d: %s",
            path,
            len(skipped),
            file,
            index,
            reason,
        )
