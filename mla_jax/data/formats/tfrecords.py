"""AudioSet's TFRecord files as a data format."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from mla_jax.data.formats.format import Chunk, Format, ReadOptions, Shape
from mla_jax.data.formats.record_batches import find_layout, read_batches
from mla_jax.data.formats.rules import check
from mla_jax.data.formats.sequence_examples import AUDIOSET
from mla_jax.errors import UserError

SUFFIX = ".tfrecord"


class RecordFiles(Format):
    """The record files of a folder (its `*.tfrecord`), a single file, or the files that match a glob.

    Attributes:
      paths: the files, in the byte order of their names.
    """

    shape = Shape()

    def __init__(self, path: str) -> None:
        self.paths = find_record_files(path)
        self.files = len(self.paths)

    @staticmethod
    def recognizes(path: Path) -> bool:
        """Any path: records are what no other format recognizes."""
        return True

    @staticmethod
    def choose(names: list[str]) -> list[str]:
        """The record files of a folder."""
        return [name for name in names if name.endswith(SUFFIX)]

    def is_like_audioset(self) -> bool:
        """Whether the first record that has a segment has one of 128 bytes."""
        return find_layout(self.paths) == AUDIOSET

    def chunks(self, options: ReadOptions) -> Iterator[Chunk]:
        """Reads the clips; M and dtype are those of the first record that has a segment."""
        begun = {path: k for k, path in enumerate(self.paths, start=1)}
        for batch, columns in read_batches(self.paths, options.chunk_size):
            done = begun[batch.frames[-1].path]
            yield check(columns, batch.place, batch.faults, options, done)


def find_record_files(path: str) -> list[Path]:
    """The record files that a local path names, in the byte order of their names.

    Raises:
      UserError: there are none.
    """
    place = Path(path)
    if place.is_dir():
        found = [p for p in place.iterdir() if p.name.endswith(SUFFIX)]
    else:
        found = [place] if place.exists() else [Path(p) for p in glob.glob(path, recursive=True)]
    found = sorted((p for p in found if p.is_file()), key=os.fsencode)
    if not found:
        raise UserError(
            f"no record files at {path}; give a folder of *{SUFFIX} files, a file, a glob"
        )
    return found
