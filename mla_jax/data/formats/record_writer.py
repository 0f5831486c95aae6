"""Writes clips as AudioSet was released: TFRecord files of `tf.train.SequenceExample`."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from mla_jax.data.class_list import write_class_list
from mla_jax.data.clips import ClipSet
from mla_jax.data.formats.record_names import SUFFIX
from mla_jax.data.formats.sequence_examples import to_record
from mla_jax.data.tensorflow import tf
from mla_jax.errors import UserError
from mla_jax.storage.paths import require_local


def write_records(
    clips: ClipSet,
    folder: str | Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Writes clips as AudioSet was released: one file for each two first characters of video ids.

    uint8 embeddings become byte strings, others float lists (float16 reads back as float32). Files
    of the same names are replaced, each in one step; others in the folder stay. The class list of clips whose
    labels were given by name is written beside the records, which have indices alone.

    Args:
      clips: what to write; each file has its clips in their order.
      folder: made if it does not exist.
      progress: called after each file with the clips written and the clips in all.

    Returns:
      The files in byte order; read in this order they give the same clips, sorted by file.

    Raises:
      UserError: not all labels are known, another class list is in the folder, a video id is empty or begins
        with what cannot be a file name, the folder cannot be written, or it takes the names 'AB' and 'ab' for
        one.
    """
    if clips.label_mask is not None:
        raise UserError(
            "records have no place for labels that are not known; pack these clips (mla_jax.pack) instead"
        )
    folder = Path(require_local(folder, "folder"))
    members: dict[str, list[int]] = {}
    for i in range(len(clips)):
        members.setdefault(_prefix(clips, i), []).append(i)
    paths, written = [], 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if clips.classes is not None:
            write_class_list(clips.classes, folder)
        for prefix in sorted(members, key=os.fsencode):
            paths.append(folder / f"{prefix}{SUFFIX}")
            _write_file(paths[-1], (to_record(clips, i) for i in members[prefix]))
            written += len(members[prefix])
            if progress is not None:
                progress(written, len(clips))
        lost = {path.name for path in paths} - set(os.listdir(folder))
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"cannot write records to {folder}: {reason}") from error
    if lost:
        raise UserError(
            f"{folder} does not keep names apart that differ in case only, and lost "
            f"{', '.join(sorted(lost))}; write to a file system that does"
        )
    return paths


def write_record_file(chunks: Iterable[ClipSet], path: str | Path) -> None:
    """Writes clips as they come into one TFRecord file, which appears when it is complete.

    Raises:
      UserError: the file cannot be written.
    """
    place = Path(require_local(path, "path"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        records = (to_record(clips, i) for clips in chunks for i in range(len(clips)))
        _write_file(place, records)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"cannot write {place}: {reason}") from error


def _prefix(clips: ClipSet, i: int) -> str:
    prefix = os.fsdecode(clips.video_ids[i])[:2]
    if not prefix or prefix.startswith(".") or "/" in prefix or "\0" in prefix:
        raise UserError(
            f"{clips.describe(i)}: {prefix!r} cannot begin a file name; choose another video id"
        )
    return prefix


def _write_file(path: Path, records: Iterable[bytes]) -> None:
    """Writes a TFRecord file under a temporary name and renames it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with tf.io.TFRecordWriter(os.fsencode(temporary)) as writer:
            for record in records:
                writer.write(record)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
