"""Packs clips, or whatever a data path names, into a folder that opens at once."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from mla_jax.config import DataConfig
from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.data_classes import (
    count_classes,
    find_classes,
    require_list_of_labels,
    require_same_classes,
)
from mla_jax.data.formats.format import ReadOptions
from mla_jax.data.formats.manifest import MANIFEST
from mla_jax.data.formats.packed_writer import write_packed
from mla_jax.data.skipped import Skipped
from mla_jax.data.sources import (
    ClipStream,
    open_packed,
    require_used,
    stream_clips,
    warn_of_own_time,
)
from mla_jax.errors import UserError
from mla_jax.progress import Progress
from mla_jax.storage.folders import new_folder


def pack(
    chunks: Iterable[ClipSet],
    folder: str | Path,
    *,
    classes: ClassList | None = None,
    source: dict[str, Any] | None = None,
    skipped: Sequence[Skipped] = (),
) -> ClipSet:
    """Writes clips as they come; only a chunk of embeddings is in memory at a time.

    Args:
      chunks: sets of equal time, features, dtype, classes and scaling.
      folder: where to write; must not exist, or be empty.
      classes: written beside the data; if left out, those that the clips name.
      source: where the clips come from, kept in the manifest; read when the last chunk is in.
      skipped: what was left out, listed in `skipped_records.jsonl` if anything was; read likewise.

    Returns:
      The packed set, opened.

    Raises:
      UserError: the folder is taken or cannot be written, there are no clips, or the chunks differ
        in shape or kind. Nothing is left behind then.
    """
    with new_folder(folder, last=MANIFEST) as partial:
        write_packed(chunks, partial, classes=classes, source=source, skipped=skipped)
    return open_packed(folder)


def pack_data(path: str, output: str | Path, config: DataConfig) -> list[str]:
    """Packs what a data path names, in bounded memory.

    The class list, if there is one, is written beside the packed clips, and so is the list of the bad
    records that were left out, if any were.

    Args:
      path: a folder, file or glob of TFRecords; or an HDF5 or .npz file.
      output: the folder to write; must not exist yet.
      config: its class_list, num_classes and bad_records; for records max_segments, long_clips and no_label.

    Returns:
      What was packed, as lines for a person.

    Raises:
      UserError: nothing is there, a record is bad, or the output is taken.
    """
    require_used(config, path)
    classes = find_classes(config, path)
    if classes is not None:
        _require_fits(path, classes, config)
    options = ReadOptions.of(config, count_classes(config, classes, path), classes=classes)
    stream = stream_clips(path, options)
    warn_of_own_time(path, stream.time, config)
    clips = pack(
        _shown(stream),
        output,
        classes=classes,
        source={"input": str(path), "files": stream.files, "skipped": stream.skipped},
        skipped=stream.skipped,
    )
    return [f"packed {output}", *_account(clips, stream, classes)]


def _require_fits(path: str, classes: ClassList, config: DataConfig) -> None:
    """Checks that the class list can be that of the data. One that is named goes before one beside them."""
    require_list_of_labels(path, classes, config)
    try:
        require_same_classes(path, classes)
    except UserError as error:  # only a list that was named can be another
        logging.warning("%s is used: %s", config.class_list, error)


def _shown(stream: ClipStream) -> Iterator[ClipSet]:
    """The chunks of a stream, while progress is shown."""
    size, unit = (stream.total, "clips") if stream.total else (stream.files, "files")
    progress = Progress("read", size, unit)
    try:
        for chunk in stream.chunks:
            progress.update(stream.done, "" if stream.total else f"{stream.clips:,} clips")
            yield chunk
    finally:
        progress.close()


def _account(clips: ClipSet, stream: ClipStream, classes: ClassList | None) -> list[str]:
    """What was packed, as lines for a person."""
    lengths = [
        f"{n}: {count:,}" for n, count in enumerate(np.bincount(clips.num_segments)) if count
    ]
    counts, known = clips.class_counts(), clips.label_mask
    background = np.count_nonzero(np.diff(clips.label_offsets) == 0)
    present = counts[counts > 0]
    least, median = (present.min(), np.median(present)) if present.size else (0, 0)
    names = (classes or ClassList.numbered(clips.num_classes)).names
    absent = [names[k] for k in np.flatnonzero(counts == 0)]
    no_list = " (no class list found: classes are shown by index; --class_list gives one)"
    rows = {
        "files": f"{stream.files:,}",
        "clips": f"{len(clips):,}, of {clips.max_segments} segments x {clips.num_features} features, "
        f"{clips.embeddings.dtype}",
        "video ids": _shared_ids(clips),
        "clips by segments": ", ".join(lengths),
        "embeddings": str(clips.embedding),
        "labels": f"{counts.sum():,} of {clips.num_classes} classes{'' if classes else no_list}",
        f"clips of no {'' if known is None else 'known '}class": f"{background:,}"
        if background
        else "",
        "known labels": f"{known.mean():.1%}" if known is not None else "",
        "positives per class": f"min {least:,}, median {median:,g}, max {counts.max():,}",
        "without positives": f"{len(absent)}: {_shortened(absent)}" if absent else "no class",
        "cropped clips": f"{stream.cropped:,}" if stream.cropped else "",
        "skipped records": f"{len(stream.skipped):,}",
    }
    return [f"{name:<21}{text}" for name, text in rows.items() if text] + [
        f"  {file}, record {index}" + (f" ({video_id})" if video_id else "") + f": {reason}"
        for file, index, video_id, reason in stream.skipped
    ]


def _shared_ids(clips: ClipSet) -> str:
    """How many video ids there are, where several clips share one; else nothing."""
    ids, counts = np.unique(clips.video_ids, return_counts=True)
    if len(ids) == len(clips):
        return ""
    most = ids[counts.argmax()].decode(errors="replace")
    return f"{len(ids):,}, so that clips share them; {counts.max():,} clips have the id {most!r}"


def _shortened(names: list[str], most: int = 20) -> str:
    """The names, or the first of them and how many more; some names have commas in them."""
    more = len(names) - most
    return "; ".join(names[:most]) + (f"; and {more} more" if more > 0 else "")
