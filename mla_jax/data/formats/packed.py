"""Packed clips: a folder of memory-mappable .npy files and a manifest, which opens at once at any size."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.formats.format import CHUNK_BYTES, Chunk, Format, ReadOptions, Shape
from mla_jax.data.formats.manifest import (
    ARRAYS,
    BESIDE,
    MANIFEST,
    ExpectedArray,
    ExpectedFile,
    read_manifest,
)
from mla_jax.errors import UserError


class Packed(Format):
    """A packed folder.

    Attributes:
      clips: all of it, memory-mapped.
    """

    keeps_scaling = True

    def __init__(self, path: str | Path) -> None:
        self._folder = Path(path)
        self.clips = _open(self._folder)
        time, features = self.clips.embeddings.shape[1:]
        self.shape = Shape(len(self.clips), time, features, self.clips.num_classes)

    @staticmethod
    def recognizes(path: Path) -> bool:
        """A folder with a manifest."""
        return (path / MANIFEST).is_file()

    @staticmethod
    def choose(names: list[str]) -> list[str]:
        """What `pack` writes; nothing of a folder without a manifest."""
        known = {MANIFEST, *BESIDE, *(f"{name}.npy" for name in ARRAYS)}
        return sorted(known & set(names)) if MANIFEST in names else []

    def verify(self) -> None:
        """Reads every byte and compares it with the checksums of the manifest."""
        _open(self._folder, verify=True)

    def check_values(self) -> None:
        """Checks that every clip is as it must be, whoever wrote it, and that the class list fits.

        Raises:
          UserError: one is not.
        """
        try:
            self.clips.check_values()
        except UserError as error:
            raise UserError(f"{self._folder}: {error}; pack the data again") from error
        if (self._folder / FILE_NAME).is_file():
            classes = ClassList.read(self._folder / FILE_NAME)
            if len(classes) != self.clips.num_classes:
                raise UserError(
                    f"{self._folder / FILE_NAME} has {len(classes)} classes, the clips have "
                    f"{self.clips.num_classes}; give the list that belongs to the data"
                )

    def chunks(self, options: ReadOptions) -> Iterator[Chunk]:
        """Slices, each mapped anew, so that what was read before does not stay in memory."""
        clip_bytes = self.clips.embeddings[:1].nbytes
        size = max(1, min(options.chunk_size, CHUNK_BYTES // max(1, clip_bytes)))
        for start in range(0, len(self.clips), size):
            clips = _open(self._folder)[start : start + size]
            yield Chunk(clips, skipped=[], cropped=0, done=start + len(clips))

    def whole(self, options: ReadOptions) -> Iterator[Chunk]:
        """All clips, memory-mapped."""
        yield Chunk(self.clips, skipped=[], cropped=0, done=len(self.clips))


def _open(folder: Path, *, verify: bool = False) -> ClipSet:
    manifest = read_manifest(folder)
    arrays: dict[str, Any] = {
        name: _open_array(folder / f"{name}.npy", what, verify)
        for name, what in manifest.arrays.items()
    }
    for name, expected in manifest.beside.items():
        _check_beside(folder / name, expected, verify)
    try:
        return ClipSet(**arrays, num_classes=manifest.num_classes, embedding=manifest.embedding)
    except UserError as error:
        raise UserError(f"{folder / MANIFEST}: {error}; pack the data again") from error


def _check_size(path: Path, expected: ExpectedArray | ExpectedFile) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"{path} is missing ({error.strerror}); pack the data again") from error
    if size != expected.size:
        raise UserError(
            f"{path} has {size} bytes, not the {expected.size} that were written; pack the data again"
        )


def _check_beside(path: Path, expected: ExpectedFile, verify: bool) -> None:
    _check_size(path, expected)
    if verify and hashlib.sha256(path.read_bytes()).hexdigest() != expected.checksum:
        raise UserError(f"{path} is not what was written (its checksum differs); pack it again")


def _open_array(path: Path, expected: ExpectedArray, verify: bool) -> np.ndarray:
    _check_size(path, expected)
    try:
        # Not `numpy.load`, which opens archives as well; this reads arrays alone, and never objects.
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # of a damaged header NumPy raises errors of many kinds
        raise UserError(
            f"{path} is damaged ({type(error).__name__}); pack the data again"
        ) from error
    if (
        array.shape != expected.shape
        or not array.dtype.str.startswith(expected.dtype)
        or not array.flags.c_contiguous
        or array.offset + array.nbytes != expected.size
    ):
        raise UserError(
            f"{path} holds {list(array.shape)} of {array.dtype}, the manifest says "
            f"{list(expected.shape)} of {np.dtype(expected.dtype)} in {expected.size} bytes; pack the "
            "data again"
        )
    if verify and hashlib.sha256(array.data).hexdigest() != expected.checksum:
        raise UserError(f"{path} is not what was written (its checksum differs); pack it again")
    return array
