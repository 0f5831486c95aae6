"""Records whose clips may be of any length, read in bounded memory.

`read_records` gives its clips a time axis of one size. Here that size follows from the records: files go
to it in runs, and no clip of a run can have more segments than its largest record has room for.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mla_jax.data import records
from mla_jax.data.clips import ClipSet
from mla_jax.data.frames import read_frames

# Records up to this size are read alike, so that the release's thousands of small files are one run.
_SMALL_BYTES = 64 * 1024
# Of a chunk. Most of it is padding that is never touched, and takes no memory.
_CHUNK_BYTES = 128 * 1024 * 1024
# The sizes of so many files are looked at before the first of them is read.
_FILES_AHEAD = 256


def read_recordings(
    files: Sequence[Path],
    *,
    num_classes: int,
    num_features: int,
    bad_records: str,
    needs_labels: bool,
    report: records.ReadReport,
    on_file: Callable[[int], None] | None = None,
) -> Iterator[ClipSet]:
    """Reads clips of any number of segments, in the order of `read_records`.

    Args:
      files: the record files, as from `find_record_files`.
      num_classes: labels must be below it.
      num_features: M of the clips, as far as known; a segment takes at least so many bytes.
      bad_records: error or skip, as for `read_records`.
      needs_labels: whether a record without a label is bad.
      report: filled while reading, but for `files`.
      on_file: called with the number of files begun, as chunks are taken.

    Yields:
      ClipSets; the time axis of each is as long as its longest clip.

    Raises:
      UserError: a bad record, as for `read_records`.
    """
    begun = 0
    for limit, paths in _runs(files):
        part = records.ReadReport(skipped=report.skipped)
        for chunk in records.read_records(
            paths,
            num_classes=num_classes,
            max_segments=max(1, limit // num_features),
            bad_records=bad_records,
            needs_labels=needs_labels,
            chunk_size=min(max(1, _CHUNK_BYTES // limit), 2000),
            report=part,
        ):
            report.clips += len(chunk)
            if on_file is not None:
                on_file(begun + part.files)
            longest = int(chunk.num_segments.max())
            yield dataclasses.replace(chunk, embeddings=chunk.embeddings[:, :longest])
        begun += len(paths)


def _runs(files: Sequence[Path]) -> Iterator[tuple[int, list[Path]]]:
    """Runs of files whose records have one limit, in the order of the files."""
    for first in range(0, len(files), _FILES_AHEAD):
        ahead = files[first : first + _FILES_AHEAD]
        for limit, run in itertools.groupby(ahead, _record_limit):
            yield limit, list(run)


def _record_limit(path: Path) -> int:
    """A size in bytes that no record of the file exceeds: `_SMALL_BYTES`, or twice, four times, ... that."""
    try:
        size = path.stat().st_size
    except OSError:  # of which `read_records` tells
        return _SMALL_BYTES
    if size > _SMALL_BYTES:
        size = max((len(frame.payload) for frame in read_frames([path])), default=0)
    limit = _SMALL_BYTES
    while limit < size:
        limit *= 2
    return limit
