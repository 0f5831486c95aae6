"""How many clips an AudioSet split has, and whether they are those of its list of segments.

The release has a few clips fewer than the older lists: a difference is a warning, not an error.
"""

import re
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np

from mla_jax.data.formats.format import ReadOptions
from mla_jax.errors import UserError
from mla_jax.progress import Progress
from mla_jax.storage.disk import in_bytes
from mla_jax.storage.files import read_json, write_json

COUNTS_FILE = "counts.json"
SUFFIX = ".tfrecord"

_ROW = re.compile(rb'([^\s,"#][^\s,]*), *[0-9.]+, *[0-9.]+, *"[^"]+"\r?\n?')
_ANY_CLASS = 2**31 - 1  # labels are not looked at


@dataclass(frozen=True)
class SplitCounts:
    """What a split holds, beside what its list of segments says.

    Attributes:
      files, size: its record files, and their bytes.
      list_size: the bytes of the list; 0 without a list, as are `listed`, `only_records` and `only_list`.
      clips: records that can be read.
      damaged: records, or ends of files, that cannot.
      first_fault: the first of them.
      listed: rows of the list.
      only_records, only_list: video ids that are in the one but not in the other.
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

    @property
    def as_listed(self) -> bool:
        """Whether the clips are those of the list."""
        return self.only_records == self.only_list == 0 and self.clips == self.listed


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
    """Counts the clips of each split that is there, and compares them with its list.

    The counts are kept in `counts.json`, and used again as long as files and list have the same number and
    size.

    Args:
      folder: holds a folder for each split.
      lists: the path of each split's segments CSV, which need not exist.
      say: called with each warning.

    Returns:
      A line for each split that is there.

    Raises:
      UserError: a list cannot be read, or `counts.json` cannot be written.
    """
    path = folder / COUNTS_FILE
    kept, counts, lines = _read_kept(path), {}, []
    for split, list_path in lists.items():
        files = record_files(folder / split)
        if not files:
            continue
        size = sum(file.stat().st_size for file in files)
        list_size = list_path.stat().st_size if list_path.is_file() else 0
        found = SplitCounts(len(files), size, list_size)
        old = kept.get(split)
        if old and (old.files, old.size, old.list_size) == (len(files), size, list_size):
            found = old
        else:
            found = _count(folder / split, list_path, found)
        counts[split] = found
        lines.append(_describe(split, found, list_path.name))
        for warning in _warnings(split, found, list_path.name):
            say(f"warning: {warning}")
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


def _count(folder: Path, list_path: Path, sizes: SplitCounts) -> SplitCounts:
    from mla_jax.data.formats.tfrecords import RecordFiles  # TensorFlow takes seconds to import

    options = ReadOptions(_ANY_CLASS, long_clips="crop", needs_labels=False)
    ids, skipped = [np.array([], "S1")], []
    with Progress(f"count {folder.name}", sizes.files, "files") as progress:
        for chunk in RecordFiles(str(folder)).chunks(options):
            ids.append(chunk.clips.video_ids)
            skipped += chunk.skipped
            progress.update(chunk.done, f"{sum(map(len, ids)):,} clips")
    found = np.concatenate(ids)
    file, number, _, fault = skipped[0] if skipped else ("", 0, "", "")
    counts = replace(
        sizes,
        clips=len(found),
        damaged=len(skipped),
        first_fault=f"{file}, record {number}: {fault}" if fault else "",
    )
    if not sizes.list_size:
        return counts
    listed = read_segment_ids(list_path)
    return replace(
        counts,
        listed=len(listed),
        only_records=len(np.setdiff1d(found, listed)),
        only_list=len(np.setdiff1d(listed, found)),
    )


def _describe(split: str, counts: SplitCounts, list_name: str) -> str:
    line = (
        f"{split:<12} {counts.clips:,} clips in {counts.files:,} files, {in_bytes(counts.size)}; "
    )
    if not counts.list_size:
        return line + f"{list_name} is not here to compare with"
    line += f"{list_name} lists {counts.listed:,}: "
    if counts.as_listed:
        return line + "the same video ids"
    return line + (
        f"{counts.only_records:,} video ids are in the records alone, {counts.only_list:,} in the "
        "list alone"
    )


def _warnings(split: str, counts: SplitCounts, list_name: str) -> list[str]:
    found = []
    if counts.damaged:
        found.append(
            f"{split} has {counts.damaged:,} records that cannot be read, the first of them "
            f"{counts.first_fault}"
        )
    if counts.list_size and not counts.as_listed:
        found.append(f"{split} does not have exactly the clips that {list_name} lists")
    return found
