"""AudioSet's TFRecord files as a data format."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from mla_jax.data.embedding import AUDIOSET, Embedding
from mla_jax.data.formats.format import Chunk, Format, ReadOptions, Shape
from mla_jax.data.formats.found_files import FoundFiles, find_files
from mla_jax.data.formats.record_batches import find_layout, read_batches
from mla_jax.data.formats.rules import check
from mla_jax.data.stated import Stated
from mla_jax.errors import UserError

SUFFIX = ".tfrecord"


class RecordFiles(Format):
    """The record files of a folder (its `*.tfrecord`), a single file, or the files that match a glob.

    Attributes:
      paths: the files, in the byte order of their names.
    """

    shape = Shape()

    def __init__(self, path: str) -> None:
        self.paths, self.passed_over = find_record_files(path)
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
        return find_layout(self.paths).embedding == AUDIOSET

    def chunks(self, options: ReadOptions) -> Iterator[Chunk]:
        """Reads the clips; M and dtype are those of the first record that has a segment."""
        begun = {path: k for k, path in enumerate(self.paths, start=1)}
        for batch, columns in read_batches(self.paths, options.chunk_size):
            done = begun[batch.frames[-1].path]
            columns = columns._replace(embedding=_described(columns.embedding, options.stated))
            yield check(columns, batch.place, batch.faults, options, done)


def _described(found: Embedding, stated: Stated) -> Embedding:
    """What records mean: that they are AudioSet's is assumed of their form, so what is stated goes before.

    VGGish's demo program writes the same form, by default with a hop of 0.96 s.
    """
    if found != AUDIOSET:
        return found
    given = stated.encoder or found.encoder, stated.postprocessing or found.postprocessing
    if given != (found.encoder, found.postprocessing):
        return Embedding(found.dtype, found.num_features, stated.scaling or found.scaling)
    return dataclasses.replace(
        found,
        hop_seconds=stated.hop_seconds or found.hop_seconds,
        example_seconds=stated.example_seconds or found.example_seconds,
    )


def find_record_files(path: str) -> FoundFiles:
    """The record files that a local path names.

    Raises:
      UserError: there are none.
    """
    found = find_files(path, lambda name: name.endswith(SUFFIX))
    if not found.files:
        raise UserError(
            f"no record files at {path}; give a folder of *{SUFFIX} files, a file, a glob"
        )
    return found
