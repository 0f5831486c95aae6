"""Clips from an HDF5 or .npz file of arrays, such as the HDF5 that the original programs train on.

Its arrays, n clips of up to T segments of M features, of K classes:

- `x` [n, T, M] uint8, float16 or float32;
- `y` [n, K] bool, or integers 0 and 1;
- `video_id_list` [n] strings; where it is missing, ids are numbered: clip0000000, clip0000001, ...;
- `num_segments` [n] integers 1 to T, if there: how many vectors of a clip are real;
- `start_times` [n] seconds, if there; else 0.

The original files say nothing of lengths: there, short clips were filled up with zero bytes. So without
`num_segments` the all-zero vectors at the end of a clip are padding, but for its first vector. In
AudioSet's features no real vector is all zero, so that this gives back the lengths exactly.

T is the file's own, as with packed clips. A clip must keep to the same rules as a record
(`record_checks`), and what is wrong with one is said, or left out, in the same way.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mla_jax import paths
from mla_jax.data.array_columns import HDF5_SUFFIXES, NPZ_SUFFIX, Column, open_columns
from mla_jax.data.clips import EMBEDDING_DTYPES, ClipSet, concatenate
from mla_jax.data.record_checks import Columns, Layout, Rules, find_faults, to_clips
from mla_jax.data.skipped import Skipped
from mla_jax.errors import UserError

_BLOCK_BYTES = 64 * 1024 * 1024  # so that clips of any size are read in bounded memory


class ArrayShape(NamedTuple):
    """The sizes of a file's arrays: n, T, M and K."""

    clips: int
    time: int
    features: int
    classes: int


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


def is_array_file(path: str | Path) -> bool:
    """Whether `path` names an HDF5 or .npz file, by its suffix; the file need not exist."""
    path = paths.as_path(path)
    return path.suffix.lower() in (*HDF5_SUFFIXES, NPZ_SUFFIX) and not path.is_dir()


def read_shape(path: str | Path) -> ArrayShape:
    """The sizes, without reading the data.

    Raises:
      UserError: the file cannot be read, or its arrays are missing or of another form.
    """
    with open_columns(path, list(_FORMS)) as columns:
        return _check_forms(path, columns)


def read_array_file(
    path: str | Path,
    *,
    num_classes: int | None = None,
    bad_records: str = "error",
    needs_labels: bool = True,
    skipped: list[Skipped] | None = None,
) -> ClipSet:
    """Reads a whole file into memory; arguments and errors as for `read_array_chunks`.

    Raises:
      UserError: also, no clip can be used.
    """
    chunks = list(
        read_array_chunks(
            path,
            num_classes=num_classes,
            bad_records=bad_records,
            needs_labels=needs_labels,
            skipped=skipped,
        )
    )
    if not chunks:
        raise UserError(f"{path} has no clip that can be used; bad_records=error says why")
    return concatenate(chunks)


def read_array_chunks(
    path: str | Path,
    *,
    num_classes: int | None = None,
    bad_records: str = "error",
    needs_labels: bool = True,
    chunk_size: int = 4096,
    skipped: list[Skipped] | None = None,
) -> Iterator[ClipSet]:
    """Reads clips in the order of the rows, in bounded memory.

    Args:
      path: the file.
      num_classes: what the width of `y` must be, if given.
      bad_records: 'error' stops at the first clip that cannot be used, 'skip' leaves such clips out.
      needs_labels: whether a clip without a label cannot be used; if False, and `num_classes` is given,
        `y` may be missing as a whole.
      chunk_size: the most clips of one chunk.
      skipped: what is left out is appended to it.

    Yields:
      ClipSets of 1 to `chunk_size` clips; embeddings [clips, T, M] of the dtype of `x`, in the
      machine's byte order, zero beyond a clip's segments; labels ascending.

    Raises:
      UserError: the file cannot be read, its arrays are missing or of another form, `y` holds
        something other than 0 and 1; or a clip cannot be used, with its row and video id.
    """
    with open_columns(path, list(_FORMS)) as columns:
        unlabelled = None if needs_labels else num_classes
        shape = _check_forms(path, columns, unlabelled)
        if num_classes not in (None, shape.classes):
            raise UserError(
                f"{path}, y: it has {shape.classes} columns, but {num_classes} classes are in use; give "
                "data of the same classes, or the class list that belongs to it"
            )
        x = columns["x"]
        clip_bytes = shape.time * shape.features * x.dtype.itemsize
        if "y" in columns:
            clip_bytes += shape.classes * columns["y"].dtype.itemsize
        rows = max(1, min(chunk_size, _BLOCK_BYTES // clip_bytes))
        rules = Rules(shape.classes, shape.time, crop=False, needs_labels=needs_labels)
        layout = Layout("bytes_list" if x.dtype == np.uint8 else "float_list", shape.features)
        start = 0
        for blocks in zip(*(column.blocks(rows) for column in columns.values()), strict=True):
            arrays = dict(zip(columns, blocks, strict=True))
            table, faults = _to_table(arrays, shape, start, f"{path}, y")
            faults = find_faults(table, layout, rules) | faults
            bad = [
                (str(path), start + i, table.ids[0][i].decode(errors="replace"), faults[i])
                for i in sorted(faults)
            ]
            if bad and bad_records == "error":
                raise UserError(_describe(*bad[0]))
            if skipped is not None:
                skipped += bad
            good = np.ones(len(table.segments), bool)
            good[list(faults)] = False
            if good.any():
                yield to_clips(table, good, rules)
            start += len(good)


def _check_forms(
    path: str | Path, columns: dict[str, Column], unlabelled: int | None = None
) -> ArrayShape:
    """The sizes; `unlabelled` is the number of classes where `y` may be missing."""
    for name in ("x", "y"):
        if name not in columns and (name == "x" or unlabelled is None):
            raise UserError(
                f"{path} has no array {name}; it needs x, {_FORMS['x'].words}, and y, "
                f"{_FORMS['y'].words}"
            )
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
    classes = columns["y"].shape[1] if "y" in columns else unlabelled or 0
    return ArrayShape(clips, time, features, classes)


def _to_table(
    arrays: dict[str, np.ndarray], shape: ArrayShape, start: int, y_name: str
) -> tuple[Columns, dict[int, str]]:
    """The rows from `start` on as records would give them, and the faults that records cannot have."""
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
    return Columns(
        ids=(_ids(arrays.get("video_id_list"), start, count), ones),
        starts=(arrays.get("start_times", np.zeros(count)).astype(np.float32), ones),
        labels=(labels, np.bincount(owner, minlength=count)),
        segments=segments,
        sizes=np.full(int(segments.sum()), shape.features),
        vectors=embeddings[np.arange(shape.time) < segments[:, None]],
    ), faults


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


def _describe(path: str, row: int, video_id: str, fault: str) -> str:
    named = f", video id {video_id!r}" if video_id else ""
    return (
        f"{path}, record {row}{named}: {fault}; mend it, or leave bad records out with "
        "bad_records=skip"
    )
