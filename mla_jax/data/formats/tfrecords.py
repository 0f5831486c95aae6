"""AudioSet's TFRecord files as a data format."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.data.embedding import AUDIOSET, Embedding
from mla_jax.data.formats.format import Chunk, Format, ReadOptions, Shape
from mla_jax.data.formats.found_files import FoundFiles, find_files
from mla_jax.data.formats.frames import describe_other
from mla_jax.data.formats.record_batches import Batch, find_layout, read_batches
from mla_jax.data.formats.record_names import WORDS, is_record_file
from mla_jax.data.formats.rules import Columns, check
from mla_jax.data.stated import Stated
from mla_jax.errors import UserError

_LOOKED_AT = 10  # files, before any is read


class RecordFiles(Format):
    """The record files of a folder (by their names), a single file, or the files that match a glob.

    Attributes:
      paths: the files, in the byte order of their names.
    """

    shape = Shape()
    takes_feature = True

    def __init__(self, path: str) -> None:
        self.paths, self.passed_over = find_record_files(path)
        self.files = len(self.paths)
        self._require_records(path)
        self._path = path
        self._folder = os.path.commonpath([p.parent for p in self.paths])
        self._named = self._begun = 0

    def _require_records(self, path: str) -> None:
        """Refuses a file by what it is, where all that the path names are of another kind.

        Raises:
          UserError: they are.
        """
        kinds = {describe_other(p) for p in self.paths[:_LOOKED_AT]}
        if ("", "") not in kinds:
            what, advice = describe_other(self.paths[0])
            raise UserError(f"{self.paths[0]} is {what}, no data that can be read here: {advice}")

    @property
    def notes(self) -> list[str]:
        """How many records got an id or a start time."""
        of_ids = (
            f"{self._path}: {self._named:,} records have no id, and are called by file and number"
        )
        of_starts = f"{self._path}: {self._begun:,} records have no start time, and begin at 0"
        return [note for count, note in ((self._named, of_ids), (self._begun, of_starts)) if count]

    @staticmethod
    def recognizes(path: Path) -> bool:
        """Any path: records are what no other format recognizes."""
        return True

    @staticmethod
    def choose(names: list[str]) -> list[str]:
        """The record files of a folder."""
        return [name for name in names if is_record_file(name)]

    def is_like_audioset(self, feature: str) -> bool:
        """Whether the first record that has a segment has one of 128 bytes."""
        return find_layout(self.paths, feature).embedding == AUDIOSET

    def chunks(self, options: ReadOptions) -> Iterator[Chunk]:
        """Reads the clips; M and dtype are those of the first record that has a segment."""
        begun = {path: k for k, path in enumerate(self.paths, start=1)}
        for batch, columns in read_batches(self.paths, options.chunk_size, options.feature):
            if not options.needs_labels:
                columns = self._with_ids(columns, batch)
            if not options.needs_labels or batch.layout.id_name == "id":
                columns = self._with_starts(columns)
            done = begun[batch.frames[-1].path]
            columns = columns._replace(embedding=_described(columns.embedding, options.stated))
            yield check(columns, batch.place, batch.faults, options, done)

    def _with_ids(self, columns: Columns, batch: Batch) -> Columns:
        """Records without an id are called by their file and number."""
        rows = [
            row for row in np.flatnonzero(columns.ids[1] == 0).tolist() if row not in batch.faults
        ]
        self._named += len(rows)
        return columns._replace(
            ids=_fill(columns.ids, rows, [self._name(*batch.place(r)) for r in rows])
        )

    def _name(self, file: str, number: int) -> bytes:
        name = os.path.relpath(file, self._folder)
        # The number of a shard, as in name.tfrecord-00000-of-00010, is no ending.
        whole = name.removesuffix(".tfrecord").removesuffix(".tfrecords")
        return os.fsencode(f"{whole}-{number}")

    def _with_starts(self, columns: Columns) -> Columns:
        """Records without a start time begin at 0."""
        rows = np.flatnonzero(columns.starts[1] == 0).tolist()
        self._begun += len(rows)
        return columns._replace(starts=_fill(columns.starts, rows, [0.0] * len(rows)))


def _fill(
    of_all: tuple[np.ndarray, np.ndarray], rows: list[int], values: list[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Values of all clips joined and how many each has, with one more for each of `rows`, which have none."""
    joined, counts = of_all
    counts = counts.copy()
    places = (np.cumsum(counts) - counts)[rows]
    counts[rows] = 1
    return np.insert(joined, places, values) if rows else joined, counts


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
    found = find_files(path, is_record_file)
    if not found.files:
        raise UserError(
            f"no record files at {path}; give a folder of files such as {WORDS}, a file, or a glob (sound: "
            "mla-predict and mla-evaluate take it as it is, all else what mla-embed makes of it)"
        )
    return found
