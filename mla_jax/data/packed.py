"""A ClipSet on disk: a folder of memory-mappable .npy files and a manifest.

Opening is instant at any size and needs no TensorFlow. The folder appears whole or not at all.
"""

import hashlib
import operator
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mla_jax.data.clips import ClipSet, Scaling, require_alike
from mla_jax.data.labels import FILE_NAME, ClassList
from mla_jax.errors import UserError
from mla_jax.files import read_json, write_json, write_text

MANIFEST = "manifest.json"
SCHEMA = "mla_jax.clips/1"
# As NumPy writes the dtypes; that of the embeddings stands in the manifest, as does the size of every file.
_ARRAYS = {
    "embeddings": "",
    "num_segments": "<i4",
    "label_offsets": "<i8",
    "label_ids": "<i4",
    "video_ids": "|S",
    "start_times": "<f4",
}


def is_packed(path: str | Path) -> bool:
    """Whether `path` is a packed folder."""
    return (Path(path) / MANIFEST).is_file()


def pack(
    chunks: Iterable[ClipSet],
    folder: str | Path,
    *,
    classes: ClassList | None = None,
    source: dict[str, Any] | None = None,
) -> ClipSet:
    """Writes clips as they come; only a chunk of embeddings is in memory at a time.

    Args:
      chunks: sets of equal time, features, dtype, classes and scaling.
      folder: where to write; must not exist, or be empty.
      classes: written beside the data if given.
      source: where the clips come from, kept in the manifest; read when the last chunk is in.

    Returns:
      The packed set, opened.

    Raises:
      UserError: the folder is taken or cannot be made, there are no clips, or the chunks differ in
        shape or kind.
    """
    folder = Path(folder)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} already exists; give another output, or remove it first")
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        manifest = _write_arrays(chunks, partial)
        manifest["source"] = source or {}
        if classes is not None:
            write_text(partial / FILE_NAME, classes.to_csv())
        write_json(partial / MANIFEST, manifest)
        os.chmod(partial, 0o755)
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return open_packed(folder)


def _write_arrays(chunks: Iterable[ClipSet], folder: Path) -> dict[str, Any]:
    """Streams the embeddings, gathers the rest (some 50 bytes a clip), returns the manifest."""
    first: ClipSet | None = None
    small: dict[str, list[np.ndarray]] = {name: [] for name in _ARRAYS if name != "embeddings"}
    num_clips = num_labels = 0
    digest = hashlib.sha256()
    with open(folder / "embeddings.npy", "wb") as file:
        for chunk in chunks:
            if first is None:
                first = chunk
                _write_header(file, first, 0)
            require_alike(first, chunk)
            data = np.ascontiguousarray(chunk.embeddings)
            file.write(data.data)
            digest.update(data.data)
            for name in ("num_segments", "label_ids", "video_ids", "start_times"):
                small[name].append(np.array(getattr(chunk, name), _ARRAYS[name]))
            small["label_offsets"].append(np.asarray(chunk.label_offsets[1:]) + num_labels)
            num_clips += len(chunk)
            num_labels += len(chunk.label_ids)
        if first is None or num_clips == 0:
            raise UserError("there are no clips to pack; nothing was written")
        _write_header(file, first, num_clips)
    small["label_offsets"].insert(0, np.zeros(1, np.int64))
    checksums = {"embeddings": digest.hexdigest()}
    for name, parts in small.items():
        array = np.concatenate(parts)
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
        checksums[name] = hashlib.sha256(array.data).hexdigest()
    return {
        "schema": SCHEMA,
        "clips": num_clips,
        "time": first.max_segments,
        "features": first.num_features,
        "classes": first.num_classes,
        "dtype": first.embeddings.dtype.name,
        "scaling": {"offset": first.scaling.offset, "scale": first.scaling.scale},
        "labels": num_labels,
        "sha256": checksums,
        "bytes": {name: (folder / f"{name}.npy").stat().st_size for name in _ARRAYS},
    }


def _write_header(file: BinaryIO, like: ClipSet, num_clips: int) -> None:
    """Writes the .npy header for `num_clips`; its length does not depend on the number."""
    file.seek(0)
    header = {
        "descr": np.lib.format.dtype_to_descr(like.embeddings.dtype),
        "fortran_order": False,
        "shape": (num_clips, like.max_segments, like.num_features),
    }
    np.lib.format.write_array_header_1_0(file, header)


def open_packed(folder: str | Path, *, verify: bool = False) -> ClipSet:
    """Opens a packed folder; the arrays are memory-mapped.

    Args:
      folder: what `pack` wrote.
      verify: also read everything, and compare the checksums.

    Raises:
      UserError: not a packed folder, of another schema, or its files are not those of the manifest.
    """
    folder = Path(folder)
    if not is_packed(folder):
        raise UserError(f"{folder} is not a packed data set: it has no {MANIFEST}")
    path = folder / MANIFEST
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise UserError(
            f"{path} is not of the schema {SCHEMA} that this version reads; pack the data again"
        )
    try:
        expected = _expected_arrays(manifest)
        num_classes = operator.index(manifest["classes"])
        scaling = manifest["scaling"]
        scaling = Scaling(float(scaling["offset"]), float(scaling["scale"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged: it lacks a value or has a wrong one ({error!r}); pack the data again"
        ) from error
    arrays = {
        name: _open_array(folder / f"{name}.npy", what, verify) for name, what in expected.items()
    }
    return ClipSet(**arrays, num_classes=num_classes, scaling=scaling)


class _Expected(NamedTuple):
    """What the manifest says of an array: its size as a file, checksum, dtype and shape."""

    size: int
    checksum: str
    dtype: str
    shape: tuple[int, ...]


def _expected_arrays(manifest: dict[str, Any]) -> dict[str, _Expected]:
    """Raises KeyError, TypeError or ValueError where the manifest is not as `pack` writes it."""
    clips, time, features, num_labels = (
        operator.index(manifest[name]) for name in ("clips", "time", "features", "labels")
    )
    shapes = {"embeddings": (clips, time, features), "label_offsets": (clips + 1,)}
    shapes["label_ids"] = (num_labels,)
    return {
        name: _Expected(
            size=operator.index(manifest["bytes"][name]),
            checksum=manifest["sha256"][name],
            dtype=dtype or np.dtype(manifest["dtype"]).str,
            shape=shapes.get(name, (clips,)),
        )
        for name, dtype in _ARRAYS.items()
    }


def _open_array(path: Path, expected: _Expected, verify: bool) -> np.ndarray:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"{path} is missing ({error.strerror}); pack the data again") from error
    if size != expected.size:
        raise UserError(
            f"{path} has {size} bytes, not the {expected.size} that were written; pack the data again"
        )
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # of a damaged header NumPy raises errors of many kinds
        raise UserError(
            f"{path} is damaged ({type(error).__name__}); pack the data again"
        ) from error
    if (
        array.shape != expected.shape
        or not array.dtype.str.startswith(expected.dtype)
        or not array.flags.c_contiguous
    ):
        raise UserError(
            f"{path} holds {list(array.shape)} of {array.dtype}, the manifest says "
            f"{list(expected.shape)} of {np.dtype(expected.dtype)}; pack the data again"
        )
    if verify and hashlib.sha256(array.data).hexdigest() != expected.checksum:
        raise UserError(f"{path} is not what was written (its checksum differs); pack it again")
    return array
