"""Clips from an HDF5 or .npz file of arrays, such as the HDF5 that the original programs train on.

Its arrays, n clips of up to T segments of M features, of K classes:

- `x` [n, T, M], or [n, M] for clips of one segment: embeddings, see `mla_jax.data.casts`;
- `y` [n, K] of 0 and 1, NaN where that is not known; or one column, see `mla_jax.data.labels`;
- `label_mask` [n, K], if there: 1 where it is known whether a clip has a class;
- `video_id_list` [n] strings; where it is missing, ids are numbered: clip0000000, clip0000001, ...;
- `num_segments` [n] integers 1 to T, if there: how many vectors of a clip are real;
- `start_times` [n] seconds, if there; else 0;
- `embedding`, if there, a string (in HDF5 an attribute of the file): what the embeddings mean, as JSON, see
  `mla_jax.data.stated`.

OpenMIC-2018's `X`, `Y_true`, `Y_mask` and `sample_key` are taken for the first four. Other arrays are not
read, which is said; what looks like a mask or like lengths under another name is refused.

The original files say nothing of lengths: there, short clips were filled up with zero bytes. So without
`num_segments` the all-zero vectors at the end of a clip are padding, but for its first vector. In
AudioSet's features no real vector is all zero, so that this gives back the lengths exactly.

T is the file's own, as with packed clips. A clip must keep to the same rules as a record (`rules`), but may
have no label: that says that it is of none of the classes.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mla_jax.data import casts, labels
from mla_jax.data.embedding import Embedding
from mla_jax.data.formats.array_columns import (
    HDF5_SUFFIXES,
    NPZ_SUFFIX,
    Column,
    list_arrays,
    open_columns,
    read_text,
)
from mla_jax.data.formats.array_names import unread
from mla_jax.data.formats.format import CHUNK_BYTES, Chunk, Format, ReadOptions, Shape
from mla_jax.data.formats.rules import Columns, check
from mla_jax.data.labels import Labels
from mla_jax.data.stated import Stated
from mla_jax.errors import UserError


class _Form(NamedTuple):
    """What an array must be: its number of axes and its dtype, and both in words."""

    ndim: tuple[int, ...]
    accepts: Callable[[Column], bool]
    words: str


_FORMS = {
    "x": _Form(
        (2, 3),
        lambda column: column.dtype.kind in "iuf",
        "[clips, segments, features], or [clips, features], of uint8, float16 or float32",
    ),
    "y": _Form(
        (1, 2),
        lambda column: column.dtype.kind in "biuf" or column.is_text,
        "[clips, classes] of 0 and 1, or [clips] of class indices or names",
    ),
    "label_mask": _Form(
        (2,), lambda column: column.dtype.kind in "biuf", "[clips, classes] of 0 and 1"
    ),
    "video_id_list": _Form((1,), lambda column: column.is_text, "[clips] of strings"),
    "num_segments": _Form((1,), lambda column: column.dtype.kind in "iu", "[clips] of integers"),
    "start_times": _Form((1,), lambda column: column.dtype.kind in "iuf", "[clips] of seconds"),
}
_OPENMIC = {
    **{"X": "x", "Y_true": "y", "Y_mask": "label_mask", "sample_key": "video_id_list"},
    **{"num_segments": "num_segments", "start_times": "start_times"},
}
_TEXT = "embedding"
# OpenMIC-2018 states how likely a clip has a class; its authors take it from here on.
_LIKELY = 0.5


class ArrayFile(Format):
    """An HDF5 or .npz file, told by its suffix."""

    def __init__(self, path: str) -> None:
        self._path = path
        there = list_arrays(path)
        self._names = _names(path, there)
        left = unread(path, there, self._names, _TEXT)
        with open_columns(path, list(self._names)) as stored:
            columns = self._by_role(stored)
            clips, time, features = _check_forms(columns)
            dtype = columns["x"].dtype
            self._notes = [casts.note_of(columns["x"].dtype, columns["x"].name)]
            self._y = columns["y"].name if "y" in columns else ""
            self._column: np.ndarray | None = None
            self._column_note = ""
            classes = 0
            # A single column is of indices or names, unless it has a mask, as a matrix has.
            if self._y and ("label_mask" in columns or columns["y"].shape[1:] not in ((), (1,))):
                classes = columns["y"].shape[1]
            elif self._y:
                self._column = _whole(columns["y"])
                found = labels.of_column(self._column, name=self._y)
                self.classes, self.least_classes = found.classes, found.num_classes
                self._column_note = found.note
        self.shape = Shape(clips, time, features, classes)
        dtype = casts.cast(np.empty(0, dtype), "x").dtype
        text = read_text(path, _TEXT)
        stated = Stated.from_text(text, f"{path}, {_TEXT}") if text else Stated()
        self._embedding = stated.on(Embedding.of(np.empty((0, features), dtype)), path)
        if self._names is _OPENMIC:
            self._notes.append(
                f"{path} has the arrays of OpenMIC-2018: x is its X, y its Y_true from {_LIKELY} on, where "
                "Y_mask says that it is known"
            )
        if left:
            more = f" and {len(left) - 8} more" if len(left) > 8 else ""
            self._notes.append(f"{path}: arrays not read: {', '.join(left[:8])}{more}")

    def _by_role(self, stored: dict[str, Column]) -> dict[str, Column]:
        return {self._names[name]: column for name, column in stored.items()}

    @property
    def notes(self) -> list[str]:
        """What arrays were taken for, and which were not read."""
        return [*self._notes, self._column_note]

    @staticmethod
    def recognizes(path: Path) -> bool:
        """By the suffix; the file need not exist."""
        return path.suffix.lower() in (*HDF5_SUFFIXES, NPZ_SUFFIX) and not path.is_dir()

    def chunks(self, options: ReadOptions) -> Iterator[Chunk]:
        """Reads the clips; embeddings are of the dtype of `x`, in the machine's byte order.

        Without labels `y` may be missing as a whole.
        """
        path, shape = self._path, self.shape
        if options.needs_labels and not self._y:
            raise UserError(_missing(path, "y", list_arrays(path)))
        of_column = self._read_column(options)
        with open_columns(path, list(self._names)) as stored:
            columns = self._by_role(stored)
            options = dataclasses.replace(options, max_segments=shape.time, no_label="background")
            kept = casts.kept_as(columns["x"].dtype, columns["x"].name)
            clip_bytes = shape.time * shape.features * kept.itemsize
            if shape.classes:
                clip_bytes += shape.classes * columns["y"].dtype.itemsize
            rows = max(1, min(options.chunk_size, CHUNK_BYTES // clip_bytes))
            start = 0
            for blocks in zip(*(column.blocks(rows) for column in columns.values()), strict=True):
                arrays = dict(zip(columns, blocks, strict=True))
                found = (
                    of_column[start : start + rows]
                    if of_column
                    else self._read_matrix(arrays, start)
                )
                yield self._to_chunk(arrays, found, start, options)
                start += len(arrays["x"])

    def _read_column(self, options: ReadOptions) -> "_Rows | None":
        """The labels of all clips, where they are one column."""
        if self._column is None:
            return None
        classes = options.classes or self.classes
        found = labels.of_column(self._column, options.num_classes, classes, name=self._y)
        self._column_note = found.note  # with a list of classes 0 and 1 are two of them
        if found.num_classes != options.num_classes:
            raise UserError(
                f"{self._y} has the names of {found.num_classes} classes, but {options.num_classes} are in "
                "use; give the class list that belongs to the data"
            )
        return _Rows(found.labels)

    def _read_matrix(self, arrays: dict[str, np.ndarray], start: int) -> Labels:
        """The labels of the rows from `start` on."""
        matrix = arrays.get("y")
        if matrix is None:
            return Labels.none(len(arrays["x"]))
        if self._names is _OPENMIC and matrix.dtype.kind == "f":
            matrix = _likely(matrix, arrays["label_mask"], self._y, start)
        return labels.of_matrix(matrix, arrays.get("label_mask"), name=self._y, first=start)

    def _to_chunk(
        self, arrays: dict[str, np.ndarray], found: Labels, start: int, options: ReadOptions
    ) -> Chunk:
        """The rows from `start` on."""
        columns, faults = _to_columns(
            arrays, found, self._embedding, self.shape.time, start, f"{self._path}, x"
        )
        done = start + len(columns.segments)
        return check(columns, lambda row: (self._path, start + row), faults, options, done)


class _Rows:
    """Labels of all clips, to be sliced."""

    def __init__(self, all_labels: Labels) -> None:
        self._labels = all_labels
        self._offsets = np.append(0, np.cumsum(all_labels.counts))

    def __getitem__(self, rows: slice) -> Labels:
        counts = self._labels.counts[rows]
        first = self._offsets[rows.start]
        return Labels(counts, self._labels.ids[first : first + counts.sum()])


def _likely(matrix: np.ndarray, mask: np.ndarray, name: str, first: int) -> np.ndarray:
    """Which classes clips have, of how likely they have them: 1, 0 or NaN.

    Raises:
      UserError: where it is known, it is outside 0 to 1.
    """
    wrong = np.argwhere(((matrix < 0) | (matrix > 1)) & (mask != 0))
    if wrong.size:
        i, k = wrong[0].tolist()
        raise UserError(
            f"{name}: row {first + i}, column {k} is {matrix[i, k]}; it must hold how likely a clip has a "
            "class, 0 to 1"
        )
    return np.where(np.isnan(matrix), np.nan, matrix >= _LIKELY)


def _names(path: str, there: Sequence[str]) -> dict[str, str]:
    """By the name of each array that is looked for, what it is."""
    if "x" in there:
        return {name: name for name in _FORMS}
    if {"X", "Y_true", "Y_mask"} <= set(there):
        return _OPENMIC
    raise UserError(_missing(path, "x", there))


def _missing(path: str, name: str, there: Iterable[str]) -> str:
    found = ", ".join(there) or "nothing"
    return (
        f"{path} has no array {name}, only {found}; it needs x, {_FORMS['x'].words}, and y, "
        f"{_FORMS['y'].words}"
    )


def _whole(column: Column) -> np.ndarray:
    return np.concatenate(list(column.blocks(1 << 16)))


def _check_forms(columns: dict[str, Column]) -> tuple[int, int, int]:
    """Clips, segments, features."""
    for name, column in columns.items():
        form = _FORMS[name]
        if len(column.shape) not in form.ndim or not form.accepts(column):
            raise UserError(
                f"{column.name}: it is {list(column.shape)} of {column.dtype}; it must be {form.words}"
            )
    shape = columns["x"].shape
    for column in columns.values():
        if 0 in column.shape:
            raise UserError(f"{column.name}: it is empty, {list(column.shape)}; give some clips")
        if column.shape[0] != shape[0]:
            raise UserError(
                f"{column.name}: it has {column.shape[0]} rows, but x has {shape[0]}; every array needs "
                "a row for each clip"
            )
    y, mask = columns.get("y"), columns.get("label_mask")
    if mask is not None and (y is None or y.shape != mask.shape):
        raise UserError(
            f"{mask.name}: it is {list(mask.shape)}; it must be of the shape of the label matrix, "
            f"{list(y.shape) if y else 'which is missing'}"
        )
    return shape[0], shape[1] if len(shape) == 3 else 1, shape[-1]


def _to_columns(
    arrays: dict[str, np.ndarray],
    found: Labels,
    embedding: Embedding,
    time: int,
    start: int,
    x_name: str,
) -> tuple[Columns, dict[int, str]]:
    """The rows from `start` on, and the faults that only array files have."""
    embeddings = casts.cast(arrays["x"], x_name).reshape(-1, time, embedding.num_features)
    count = len(embeddings)
    faults: dict[int, str] = {}
    if "num_segments" in arrays:
        stated = arrays["num_segments"].astype(np.int64)
        segments = stated.clip(1, time)
        for i in np.flatnonzero(stated != segments).tolist():
            faults[i] = f"its num_segments is {stated[i]}; it must be 1 to {time}"
    else:
        segments = _count_segments(embeddings)
    ones = np.ones(count, np.int64)
    columns = Columns(
        ids=(_ids(arrays.get("video_id_list"), start, count), ones),
        starts=(casts.seconds(arrays.get("start_times", np.zeros(count)), "start_times"), ones),
        labels=(found.ids, found.counts),
        segments=segments,
        sizes=np.full(int(segments.sum()), embedding.num_features),
        vectors=embeddings[np.arange(time) < segments[:, None]],
        embedding=embedding,
        known=found.known,
    )
    return columns, faults


def _count_segments(embeddings: np.ndarray) -> np.ndarray:
    """Up to the last vector that is not all zero, at least 1: [clips] int64."""
    place = np.arange(1, embeddings.shape[1] + 1)
    return np.maximum((embeddings.any(axis=2) * place).max(axis=1), 1)


def _ids(values: np.ndarray | None, start: int, count: int) -> np.ndarray:
    """Ids as bytes, in an array of objects: one of bytes strings would drop zero bytes at the end."""
    names = [f"clip{start + i:07d}" for i in range(count)] if values is None else values.tolist()
    ids = np.empty(count, object)
    ids[:] = [v.encode(errors="replace") if isinstance(v, str) else v for v in names]
    return ids
