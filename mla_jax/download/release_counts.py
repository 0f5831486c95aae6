"""How many clips an AudioSet split has, and whether they are those of its list of segments.

The release has a few clips fewer than the lists of an earlier day: a difference is told, and is no error.
"""

import re
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np

from mla_jax.data.frames import read_frames
from mla_jax.download.disk import in_bytes
from mla_jax.download.video_ids import read_video_id
from mla_jax.errors import UserError
from mla_jax.files import read_json, write_json
from mla_jax.progress import Progress

COUNTS_FILE = "counts.json"
SUFFIX = ".tfrecord"

_ROW = re.compile(rb'([^\s,"#][^\s,]*), *[0-9.]+, *[0-9.]+, *"[^"]+"\r?\n?')


@dataclass(frozen=True)
class SplitCounts:
    """What a split holds, beside what its list of segments says.

    Attributes:
      files: its record files.
      size: their bytes.
      list_size: the bytes of the list; 0 where there is none, and so are the three after `first_fault`.
      clips: records, the damaged ones left out.
      damaged: records, or ends of files, that cannot be read.
      first_fault: the first of them.
      listed: rows of the list.
      only_records: video ids that are in the records alone.
      only_list: video ids that are in the list alone.
    """

    files: int
    size: int
    list_size: int
    clips: int = 0
    damaged: int = 0
    first_fault: str = ""
    listed: int = 0
    only_records: int = 0
    only_list: int = 0


def record_files(folder: Path) -> list[Path]:
    """The record files of a split."""
    return sorted(p for p in folder.iterdir() if p.name.endswith(SUFFIX)) if folder.is_dir() else []


def read_segment_ids(path: str | Path) -> np.ndarray:
    """The video ids of a segments CSV, [rows] bytes, in its order.

    Raises:
      UserError: it cannot be read, or is no such list.
    """
    ids = []
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.startswith(b"#"):
                    continue
                if (match := _ROW.fullmatch(line)) is None:
                    raise UserError(
                        f"{path}, line {number}, is not of the form `video id, start, end, "
                        '"labels"`: it is no list of segments'
                    )
                ids.append(match[1])
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if not ids:
        raise UserError(f"{path} lists no segment")
    return np.array(ids)


def count_splits(
    folder: Path, lists: dict[str, Path], say: Callable[[str], None] = print
) -> list[str]:
    """Counts the splits that are there, and says what differs from their lists.

    What was counted is kept in `counts.json`, and not counted again while files and list are of the
    same number and size.

    Args:
      folder: holds a folder for each split.
      lists: the segments CSV of each split; it may be missing.
      say: takes warnings.

    Returns:
      A line for each split that is there.

    Raises:
      UserError: a list is no such list, or `counts.json` cannot be written.
    """
    path, kept = folder / COUNTS_FILE, _read_kept(folder / COUNTS_FILE)
    counts, lines = {}, []
    for split, list_path in lists.items():
        files = record_files(folder / split)
        if not files:
            continue
        size = sum(file.stat().st_size for file in files)
        list_size = list_path.stat().st_size if list_path.is_file() else 0
        found = kept.get(split)
        if found is None or (found.files, found.size, found.list_size) != (
            len(files),
            size,
            list_size,
        ):
            found = _count(split, files, size, list_path if list_size else None)
        counts[split] = found
        lines.append(_describe(split, found, list_path))
        _warn(split, found, list_path, say)
    if counts != kept:
        write_json(path, {split: asdict(c) for split, c in counts.items()})
    return lines


def _read_kept(path: Path) -> dict[str, SplitCounts]:
    try:
        kept = {split: SplitCounts(**values) for split, values in read_json(path).items()}
    except (UserError, AttributeError, TypeError):
        return {}  # counted again
    return {
        split: counts
        for split, counts in kept.items()
        if all(type(v) is f.type for f, v in zip(fields(counts), astuple(counts), strict=True))
    }


def _count(split: str, files: list[Path], size: int, list_path: Path | None) -> SplitCounts:
    progress = Progress(f"count {split}", len(files), "files")
    ids: list[bytes] = []
    damaged, first_fault = 0, ""
    done, last = 0, files[0]
    try:
        for frame in read_frames(files):
            if frame.path != last:
                done, last = done + 1, frame.path
                progress.update(done, f"{len(ids):,} clips")
            video_id = None if frame.fault else read_video_id(frame.payload)
            if video_id is not None:
                ids.append(video_id)
            else:
                damaged += 1
                fault = frame.fault or "it has no video id"
                first_fault = first_fault or f"{frame.path}, record {frame.number}: {fault}"
        progress.update(len(files), f"{len(ids):,} clips")
    finally:
        progress.close()
    counts = SplitCounts(
        files=len(files),
        size=size,
        list_size=0,
        clips=len(ids),
        damaged=damaged,
        first_fault=first_fault,
    )
    if list_path is None:
        return counts
    found, listed = np.array(ids or [b""]), read_segment_ids(list_path)
    return replace(
        counts,
        list_size=list_path.stat().st_size,
        listed=len(listed),
        only_records=len(np.setdiff1d(found[: len(ids)], listed)),
        only_list=len(np.setdiff1d(listed, found[: len(ids)])),
    )


def _describe(split: str, counts: SplitCounts, list_path: Path) -> str:
    line = (
        f"{split:<12} {counts.clips:,} clips in {counts.files:,} files, {in_bytes(counts.size)}; "
    )
    if not counts.list_size:
        return line + f"{list_path.name} is not here to compare with"
    line += f"{list_path.name} lists {counts.listed:,}: "
    if counts.only_records == counts.only_list == 0 and counts.clips == counts.listed:
        return line + "the same video ids"
    return line + (
        f"{counts.only_records:,} video ids are in the records alone, {counts.only_list:,} in the "
        "list alone"
    )


def _warn(split: str, counts: SplitCounts, list_path: Path, say: Callable[[str], None]) -> None:
    if counts.damaged:
        say(
            f"warning: {split} has {counts.damaged:,} records that cannot be read, the first of them "
            f"{counts.first_fault}"
        )
    if counts.list_size and (
        counts.only_records or counts.only_list or counts.clips != counts.listed
    ):
        say(f"warning: {split} does not have exactly the clips that {list_path.name} lists")
