"""The one door for data: what a path names, local or in a bucket, whole or as a stream of chunks.

A path becomes a local one here, and the format that recognizes it reads it; formats know nothing of buckets.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from mla_jax.config import DataConfig
from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.data.formats import table
from mla_jax.data.formats.format import Chunk, Format, ReadOptions
from mla_jax.data.formats.found_files import not_read
from mla_jax.data.formats.manifest import MANIFEST
from mla_jax.data.formats.packed import Packed
from mla_jax.data.formats.tfds import DataSource
from mla_jax.data.same_embedding import warn_of_bytes_as_floats
from mla_jax.data.skipped import Skipped
from mla_jax.errors import UserError
from mla_jax.storage import paths
from mla_jax.storage.cache import LocalCopy, local_copy
from mla_jax.storage.parts import files_at, state_of


class StreamPart(NamedTuple):
    """Some clips of a stream, which are read together.

    Attributes:
      number: its place, from 0.
      chunks: the clips, in order.
      skipped: the bad records that were left out.
    """

    number: int
    chunks: list[ClipSet]
    skipped: list[Skipped]


class ClipStream:
    """Clips that are read as they are taken, a chunk at a time, so that data of any size take little memory.

    Attributes:
      chunks: the clips, in order, to be taken once.
      total: how many clips there are, or 0 where that is not known (records).
      time: T of packed clips and array files; 0 for records.
      files: how many files they are in.
      clips: how many have been taken so far.
      done: how much has been read so far: clips, or files begun where `total` is not known.
      cropped: how many of the clips taken were longer than T and were cut.
      skipped: the bad records that were left out so far.
      num_parts: how many parts have been met by `parts`, read or not; in the end, all.
    """

    def __init__(
        self, copy: LocalCopy, data: Format, options: ReadOptions, chunks: Iterator[Chunk]
    ) -> None:
        self.total, self.time, self.files = data.shape.clips, data.shape.time, data.files
        self.clips = self.done = self.cropped = self.num_parts = 0
        self.skipped: list[Skipped] = []
        self._copy, self._options, self._data = copy, options, data
        self.chunks = self._take(chunks)

    @property
    def place(self) -> str:
        """Which file is being read, for a person; empty where clips are counted instead."""
        return "" if self.total else f"file {self.done:,} of {self.files:,}"

    def parts(self, wanted: Callable[[int], bool]) -> Iterator[StreamPart]:
        """Reads some parts of the data; to be taken instead of `chunks`.

        Args:
          wanted: given the number of a part, from 0, says whether it is to be read.
        """
        with self._copy.naming():
            for number, read in enumerate(self._data.parts(self._options)):
                self.num_parts = number + 1
                if not wanted(number):
                    continue
                found, before = [], len(self.skipped)
                for chunk in read():
                    self._count(chunk)
                    if len(chunk.clips):
                        found.append(self._described(chunk.clips))
                yield StreamPart(number, found, self.skipped[before:])
        self._warn()

    def state(self) -> dict[str, Any]:
        """What changes when the data do: of each file its size and when it was written."""
        if self._copy.folder:  # whose name has the versions of what is in the bucket
            return {"copy": os.path.basename(self._copy.folder)}
        files = self._data.made_of or files_at(self._copy.path)
        return {os.fspath(file): state_of(file) for file in files}

    def require_clips(self, clips: int) -> None:
        """Raises UserError where no clip could be used in all of the data."""
        if not clips:
            raise UserError(
                f"{self._copy.path} has no record that can be used; bad_records=error says why"
            )

    def _take(self, chunks: Iterator[Chunk]) -> Iterator[ClipSet]:
        with self._copy.naming():
            for chunk in chunks:
                self._count(chunk)
                if len(chunk.clips):
                    yield self._described(chunk.clips)
            self.require_clips(self.clips)
        self._warn()

    def _described(self, clips: ClipSet) -> ClipSet:
        embedding = self._options.stated.on(
            clips.embedding, self._copy.url, keeps_scaling=self._data.keeps_scaling
        )
        warn_of_bytes_as_floats(self._copy.url, clips.embeddings, embedding)
        return dataclasses.replace(clips, embedding=embedding)

    def _count(self, chunk: Chunk) -> None:
        for file, number, video_id, fault in chunk.skipped:
            file = self._copy.named(file)
            if self._options.bad_records == "error":
                named = f", video id {video_id!r}" if video_id else ""
                raise UserError(
                    f"{file}, record {number}{named}: {fault}{_more(len(chunk.skipped))}; mend or replace "
                    "it, or leave bad records out with bad_records=skip"
                )
            self.skipped.append((file, number, video_id, fault))
        self.clips += len(chunk.clips)
        self.cropped += chunk.cropped
        self.done = chunk.done

    @property
    def notes(self) -> list[str]:
        """What was taken for what, for a person; complete when all chunks have been taken."""
        return [self._copy.named(note) for note in self._data.notes if note]

    def _warn(self) -> None:
        url, names = self._copy.url, self._data.passed_over
        if names:
            logging.warning("%s", not_read(url, names))
        for note in self.notes:
            logging.warning("%s", note)
        if self.skipped:
            file, number, _, reason = self.skipped[0]
            logging.warning(
                "%s: %d bad records left out, the first of them %s, record %d: %s",
                url,
                len(self.skipped),
                file,
                number,
                reason,
            )
        if self.cropped:
            most = self._options.max_segments
            logging.warning("%s: %d clips cut to %d segments", url, self.cropped, most)


def _more(bad: int) -> str:
    return f" ({bad - 1:,} more are bad)" if bad > 1 else ""


def stream_clips(path: str, options: ReadOptions) -> ClipStream:
    """Opens the clips at a data path to read them in chunks.

    Args:
      path: a packed folder; a folder, file or glob of TFRecords; or an HDF5 or .npz file.
      options: how to read.

    Raises:
      UserError: nothing is there, it cannot be read, or it is of another number of classes; what only
        reading shows is raised as chunks are taken.
    """
    copy, data = open_format(path, options)
    return ClipStream(copy, data, options, data.chunks(options))


def stream_format(path: str, data: Format, options: ReadOptions, whole: bool = False) -> ClipStream:
    """As `stream_clips`, of data that a path alone does not open, since they are made as they are read.

    Args:
      path: where they are, for messages.
      data: the data.
      options: how to read.
      whole: the chunks are to be joined.
    """
    chunks = data.whole(options) if whole else data.chunks(options)
    return ClipStream(LocalCopy(path, path), data, options, chunks)


def open_clips(path: str, options: ReadOptions, skipped: list[Skipped] | None = None) -> ClipSet:
    """Opens all clips at a data path: packed ones memory-mapped, others read into memory.

    Args:
      path: as for `stream_clips`.
      options: how to read.
      skipped: the bad records that are left out are appended to it; a warning is logged as well. (What
        was left out when a folder was packed is listed in that folder.)

    Raises:
      UserError: as `stream_clips`.
    """
    copy, data = open_format(path, options)
    stream = ClipStream(copy, data, options, data.whole(options))
    clips = concatenate(list(stream.chunks))
    if skipped is not None:
        skipped += stream.skipped
    return clips


def open_format(
    path: str, options: ReadOptions | None = None, labels: str = ""
) -> tuple[LocalCopy, Format]:
    """Data at a path, opened at a local copy: sizes and headers at most are read.

    Raises:
      UserError: nothing is there, it cannot be read, or it is of another number of classes.
    """
    copy = local_copy(path, choose=table.choose, check=table.verify)
    labels = options.labels if options else labels
    with copy.naming():
        data = table.open_local(copy.path, local_copy(labels).path if labels else "")
    if options and data.shape.classes not in (0, options.num_classes):
        raise UserError(
            f"{path} has {data.shape.classes} classes, but {options.num_classes} are in use; give data "
            "of the same classes, or the class list that belongs to it; to tag it, leave out its labels"
        )
    return copy, data


def is_packed(folder: str | Path) -> bool:
    """Whether a folder, local or in a bucket, is a packed one."""
    return Packed.recognizes(paths.as_path(folder))


def open_packed(folder: str | Path, *, verify: bool = False) -> ClipSet:
    """Opens a packed folder; the arrays are memory-mapped.

    Args:
      folder: what `pack` wrote.
      verify: also read everything, compare the checksums, and check every value.

    Raises:
      UserError: it is no packed folder, or of another schema; its files are not those of the manifest; or
        a clip is not as it must be.
    """
    if not is_packed(folder):  # else all that is there would be fetched
        raise UserError(f"{folder} is not a packed data set: it has no {MANIFEST}")
    copy = local_copy(folder, choose=Packed.choose, check=table.verify)
    with copy.naming():
        packed = Packed(copy.path)
        if verify:
            packed.verify()
            packed.check_values()
    return packed.clips


def open_data_source(
    source: Any, split: str = "", *, max_segments: int = 10, shard: tuple[int, int] = (0, 1)
) -> ClipSet:
    """Reads a data source into memory; as `read_data_source`, which says more."""
    return concatenate(
        list(read_data_source(source, split, max_segments=max_segments, shard=shard))
    )


def read_data_source(
    source: Any,
    split: str = "",
    *,
    max_segments: int = 10,
    shard: tuple[int, int] = (0, 1),
    chunk_size: int = 4096,
) -> Iterator[ClipSet]:
    """Reads clips in the order of a data source of TensorFlow Datasets, for example for `pack`.

    source = tfds.data_source("audioset_embeddings", split="bal_train")
    chunks = read_data_source(source, shard=(jax.process_index(), jax.process_count()))

    Args:
      source: what `tfds.data_source` or a builder's `as_data_source` gives; or the folder of a data set
        that was built in a format of random access, `.../audioset_embeddings/v1/1.0.0`.
      split: with a folder, what to read of it: `eval`, `bal_train[:10%]`.
      max_segments: the size of the time axis; shorter clips are padded with zero.
      shard: (index, count): which of `count` parts to read. The parts are those of
        `tfds.even_splits(split, count)`: consecutive, disjoint, together everything.
      chunk_size: the most clips of one chunk.

    Yields:
      ClipSets of 1 to `chunk_size` clips: embeddings [clips, max_segments, M] of the data source's dtype,
      labels ascending.

    Raises:
      UserError: there is no such data set or split, it has other features or no random access, the
        shard has no clips, or a clip cannot be read or has more than `max_segments` segments.
    """
    copy = LocalCopy("", "")
    if isinstance(source, str | os.PathLike):
        copy = local_copy(source)
        source = copy.path
    with copy.naming():
        data = DataSource(source, split, shard)
        options = ReadOptions(data.shape.classes, max_segments=max_segments, chunk_size=chunk_size)
        return ClipStream(copy, data, options, data.chunks(options)).chunks


def require_used(config: DataConfig, *places: str) -> None:
    """Checks that some of the data take the file of labels, and the feature list of records, that are named.

    Raises:
      UserError: none does.
    """
    there = [place for place in places if place]
    if config.labels and not any(
        open_format(p, labels=config.labels)[1].takes_labels for p in there
    ):
        raise UserError(
            f"labels={config.labels} is not used: {', '.join(there)} has labels of its own; they belong to "
            "recordings in .npy or .npz files"
        )
    if config.feature != DataConfig.feature and not any(
        open_format(p)[1].takes_feature for p in there
    ):
        raise UserError(
            f"feature={config.feature} is not used: it names a feature list of TFRecords, and "
            f"{', '.join(there)} has none; leave it out"
        )


def warn_of_own_time(path: str, time: int, config: DataConfig) -> None:
    """Warns where `max_segments` was set but the data have a time axis of their own, of another size."""
    if time and config.max_segments not in (time, DataConfig.max_segments):
        logging.warning(
            "%s: max_segments=%d is not used, its clips have %d segments of their own",
            path,
            config.max_segments,
            time,
        )
