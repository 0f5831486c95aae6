"""Clips from an HDF5 or .npz file of arrays, such as the HDF5 that the original programs train on.

Its arrays, n clips of up to T segments of M features, of K classes:

- `x` [n, T, M] uint8, float16 or float32;
- `y` [n, K] bool, or integers 0 and 1;
- `video_id_list` [n] strings; where it is missing, ids are numbered: clip0000000, clip0000001, ...;
- `num_segments` [n] integers 1 to T, if there: how many vectors of a clip are real;
- `start_times` [n] seconds, if there; else 0;
- `embedding`, if there, a string (in HDF5 an attribute of the file): what the embeddings mean, as JSON, see
  `mla_jax.data.stated`.

The original files say nothing of lengths: there, short clips were filled up with zero bytes. So without
`num_segments` the all-zero vectors at the end of a clip are padding, but for its first vector. In
AudioSet's features no real vector is all zero, so that this gives back the lengths exactly.

T is the file's own, as with packed clips. A clip must keep to the same rules as a record (`rules`).
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mla_jax.data.embedding import EMBEDDING_DTYPES, Embedding
from mla_jax.data.formats.array_columns import (
    HDF5_SUFFIXES,
    NPZ_SUFFIX,
    Column,
    open_columns,
    read_text,
)
from mla_jax.data.formats.format import CHUNK_BYTES, Chunk, Format, ReadOptions, Shape
from mla_jax.data.formats.rules import Columns, check
from mla_jax.data.stated import Stated
from mla_jax.errors import UserError


class _Form(NamedTuple):
    """What an array must be: its number of axes and its dtype, and both in words."""

    ndim: int
    accepts: Callable[[Column], bool]
    words: str


_FORMS = {
    "x": _Form(
        3,
        lambda column: column.dtype.name in EMBEDDING_DTYPES,
        "[clips, segments, features] of uint8, float16 or float32",
    ),
    "y": _Form(
        2,
        lambda column: column.dtype.kind in "biu",
        "[clips, classes] of bool, or integers 0 and 1",
    ),
    "video_id_list": _Form(1, lambda column: column.is_text, "[clips] of strings"),
    "num_segments": _Form(1, lambda column: column.dtype.kind in "iu", "[clips] of integers"),
    "start_times": _Form(1, lambda column: column.dtype.kind in "iuf", "[clips] of seconds"),
}


class ArrayFile(Format):
    """An HDF5 or .npz file, told by its suffix."""

    def __init__(self, path: str) -> None:
        self._path = path
        with open_columns(path, list(_FORMS)) as columns:
            self.shape = _check_forms(path, columns)
            plain = Embedding.of(np.empty((0, self.shape.features), columns["x"].dtype))
        text = read_text(path, "embedding")
        stated = Stated.from_text(text, f"{path}, embedding") if text else Stated()
        self._embedding = stated.on(plain, path)

    @staticmethod
    def recognizes(path: Path) -> bool:
        """By the suffix; the file need not exist."""
        return path.suffix.lower() in (*HDF5_SUFFIXES, NPZ_SUFFIX) and not path.is_dir()

    def chunks(self, options: ReadOptions) -> Iterator[Chunk]:
        """Reads the clips; embeddings are of the dtype of `x`, in the machine's byte order.

        Without labels `y` may be missing as a whole.
        """
        path, shape = self._path, self.shape
        if options.needs_labels and not shape.classes:
            raise UserError(_missing(path, "y"))
        with open_columns(path, list(_FORMS)) as columns:
            options = dataclasses.replace(options, max_segments=shape.time)
            x = columns["x"]
            clip_bytes = shape.time * shape.features * x.dtype.itemsize
            if "y" in columns:
                clip_bytes += shape.classes * columns["y"].dtype.itemsize
            rows = max(1, min(options.chunk_size, CHUNK_BYTES // clip_bytes))
            start = 0
            for blocks in zip(*(column.blocks(rows) for column in columns.values()), strict=True):
                arrays = dict(zip(columns, blocks, strict=True))
                yield self._to_chunk(arrays, start, options)
                start += len(arrays["x"])

    def _to_chunk(self, arrays: dict[str, np.ndarray], start: int, options: ReadOptions) -> Chunk:
        """The rows from `start` on."""
        columns, faults = _to_columns(
            arrays, self.shape, self._embedding, start, f"{self._path}, y"
        )
        done = start + len(columns.segments)
        return check(columns, lambda row: (self._path, start + row), faults, options, done)


def _missing(path: str, name: str) -> str:
    return (
        f"{path} has no array {name}; it needs x, {_FORMS['x'].words}, and y, {_FORMS['y'].words}"
    )


def _check_forms(path: str, columns: dict[str, Column]) -> Shape:
    """The sizes; of no classes where there is no `y`."""
    if "x" not in columns:
        raise UserError(_missing(path, "x"))
    for name, column in columns.items():
        form = _FORMS[name]
        if len(column.shape) != form.ndim or not form.accepts(column):
            raise UserError(
                f"{column.name}: it is {list(column.shape)} of {column.dtype}; it must be {form.words}"
            )
    clips, time, features = columns["x"].shape
    for column in columns.values():
        if 0 in column.shape:
            raise UserError(f"{column.name}: it is empty, {list(column.shape)}; give some clips")
        if column.shape[0] != clips:
            raise UserError(
                f"{column.name}: it has {column.shape[0]} rows, but x has {clips}; every array needs "
                "a row for each clip"
            )
    return Shape(clips, time, features, columns["y"].shape[1] if "y" in columns else 0)


def _to_columns(
    arrays: dict[str, np.ndarray], shape: Shape, embedding: Embedding, start: int, y_name: str
) -> tuple[Columns, dict[int, str]]:
    """The rows from `start` on, and the faults that only array files have."""
    embeddings = arrays["x"]
    embeddings = embeddings.astype(embeddings.dtype.newbyteorder("="), copy=False)
    count = len(embeddings)
    faults: dict[int, str] = {}
    if "num_segments" in arrays:
        stated = arrays["num_segments"].astype(np.int64)
        segments = stated.clip(1, shape.time)
        for i in np.flatnonzero(stated != segments).tolist():
            faults[i] = f"its num_segments is {stated[i]}; it must be 1 to {shape.time}"
    else:
        segments = _count_segments(embeddings)
    owner, labels = np.zeros((2, 0), np.int64)
    if "y" in arrays:
        owner, labels = _labels(arrays["y"], start, y_name)
    ones = np.ones(count, np.int64)
    columns = Columns(
        ids=(_ids(arrays.get("video_id_list"), start, count), ones),
        starts=(arrays.get("start_times", np.zeros(count)).astype(np.float64), ones),
        labels=(labels, np.bincount(owner, minlength=count)),
        segments=segments,
        sizes=np.full(int(segments.sum()), shape.features),
        vectors=embeddings[np.arange(shape.time) < segments[:, None]],
        embedding=embedding,
    )
    return columns, faults


def _count_segments(embeddings: np.ndarray) -> np.ndarray:
    """Up to the last vector that is not all zero, at least 1: [clips] int64."""
    place = np.arange(1, embeddings.shape[1] + 1)
    return np.maximum((embeddings.any(axis=2) * place).max(axis=1), 1)


def _labels(matrix: np.ndarray, start: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(row, class) of every 1, in order."""
    if matrix.dtype == bool:
        matrix = matrix.view(np.uint8)  # a damaged file can hold bytes that are neither
    wrong = np.argwhere((matrix != 0) & (matrix != 1))
    if wrong.size:
        i, k = wrong[0].tolist()
        raise UserError(
            f"{name}: row {start + i}, column {k} is {matrix[i, k]}; it must hold only 0 and 1"
        )
    owner, labels = np.nonzero(matrix)
    return owner, labels


def _ids(values: np.ndarray | None, start: int, count: int) -> np.ndarray:
    """Ids as bytes, in an array of objects: one of bytes strings would drop zero bytes at the end."""
    names = [f"clip{start + i:07d}" for i in range(count)] if values is None else values.tolist()
    ids = np.empty(count, object)
    ids[:] = [v.encode(errors="replace") if isinstance(v, str) else v for v in names]
    return ids
