"""A ClipSet on disk: a folder of memory-mappable .npy files and a manifest.

Opening is instant at any size and needs no TensorFlow. The folder appears whole or not at all.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mla_jax import paths
from mla_jax.cache import LocalCopy, adopt, local_copy, root
from mla_jax.data.clips import ClipSet, require_alike
from mla_jax.data.labels import FILE_NAME, ClassList
from mla_jax.data.manifest import (
    ARRAYS,
    MANIFEST,
    ExpectedArray,
    ExpectedFile,
    describe_beside,
    read_manifest,
    write_manifest,
)
from mla_jax.data.skipped import SKIPPED_FILE, Skipped, to_jsonl
from mla_jax.errors import UserError


def is_packed(path: str | Path) -> bool:
    """Whether `path` is a packed folder."""
    return (paths.as_path(path) / MANIFEST).is_file()


def pack(
    chunks: Iterable[ClipSet],
    folder: str | Path,
    *,
    classes: ClassList | None = None,
    source: dict[str, Any] | None = None,
    skipped: Sequence[Skipped] = (),
) -> ClipSet:
    """Writes clips as they come; only a chunk of embeddings is in memory at a time.

    Args:
      chunks: sets of equal time, features, dtype, classes and scaling.
      folder: where to write; must not exist, or be empty.
      classes: written beside the data if given.
      source: where the clips come from, kept in the manifest; read when the last chunk is in.
      skipped: what was left out, listed in `skipped_records.jsonl` if anything was; read likewise.

    Returns:
      The packed set, opened.

    Raises:
      UserError: the folder is taken or cannot be written, there are no clips, or the chunks differ
        in shape or kind. Nothing is left behind then.
    """
    folder = paths.as_path(folder)
    remote = paths.is_remote(folder)
    try:
        if paths.is_taken(folder):
            raise UserError(f"{folder} already exists; give another output, or remove it first")
        # What goes to a bucket becomes this machine's copy of it.
        place = root() if remote else folder.parent
        place.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=place, prefix=f".{folder.name}."))
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror or error}") from error
    try:
        manifest = _write_arrays(chunks, partial)
        manifest["source"] = source or {}
        if classes is not None:
            (partial / FILE_NAME).write_text(classes.to_csv(), encoding="utf-8")
        if skipped:
            (partial / SKIPPED_FILE).write_text(to_jsonl(skipped), encoding="utf-8")
        manifest["beside"] = describe_beside(partial)
        write_manifest(partial, manifest)
        os.chmod(partial, 0o755)
        if remote:
            folder = _put(partial, str(folder))
        else:
            partial.replace(folder)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            reason = error.strerror or " ".join(str(error).split())
            raise UserError(
                f"cannot write {folder}: {reason}; nothing of it is kept, make room or give another output"
            ) from error
        raise
    return open_packed(folder)


def _put(partial: Path, url: str) -> Path:
    """Puts a folder into a bucket, the manifest last: without one it is no packed folder.

    Returns:
      This machine's copy.
    """
    from mla_jax import buckets

    arrays = sorted(f for f in partial.iterdir() if f.name != MANIFEST)
    try:
        buckets.put([(file, f"{url}/{file.name}") for file in arrays])
        buckets.put([(partial / MANIFEST, f"{url}/{MANIFEST}")])
        return adopt(partial, url)
    except BaseException:
        with contextlib.suppress(UserError):
            buckets.remove_below(url)
        raise


def _write_arrays(chunks: Iterable[ClipSet], folder: Path) -> dict[str, Any]:
    """Streams the embeddings, gathers the rest (some 50 bytes a clip), returns the manifest."""
    first: ClipSet | None = None
    small: dict[str, list[np.ndarray]] = {name: [] for name in ARRAYS if name != "embeddings"}
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
                small[name].append(np.array(getattr(chunk, name), ARRAYS[name]))
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
        with open(folder / f"{name}.npy", "wb") as file:
            # Not `numpy.save`: of a small array it does not notice that the disk is full.
            header = np.lib.format.header_data_from_array_1_0(array)
            np.lib.format.write_array_header_1_0(file, header)
            file.write(array.data)
        checksums[name] = hashlib.sha256(array.data).hexdigest()
    return {
        "clips": num_clips,
        "time": first.max_segments,
        "features": first.num_features,
        "classes": first.num_classes,
        "dtype": first.embeddings.dtype.name,
        "scaling": {"offset": first.scaling.offset, "scale": first.scaling.scale},
        "labels": num_labels,
        "sha256": checksums,
        "bytes": {name: (folder / f"{name}.npy").stat().st_size for name in ARRAYS},
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
    copy = _local(folder)
    with copy.naming():
        return _open(Path(copy.path), verify)


def _local(folder: str | Path) -> LocalCopy:
    if paths.is_remote(folder) and not is_packed(folder):  # else all that is there would be fetched
        raise UserError(f"{folder} is not a packed data set: it has no {MANIFEST}")
    return local_copy(folder)


def _open(folder: Path, verify: bool) -> ClipSet:
    if not is_packed(folder):
        raise UserError(f"{folder} is not a packed data set: it has no {MANIFEST}")
    manifest = read_manifest(folder)
    arrays = {
        name: _open_array(folder / f"{name}.npy", what, verify)
        for name, what in manifest.arrays.items()
    }
    for name, expected in manifest.beside.items():
        _check_beside(folder / name, expected, verify)
    return ClipSet(**arrays, num_classes=manifest.num_classes, scaling=manifest.scaling)


def verify(folder: str | Path) -> ClipSet:
    """Opens a packed folder, reads all of it, and checks the checksums and every value.

    Raises:
      UserError: as `open_packed`; or a file is not what was written, or a clip is not as it must be.
    """
    copy = _local(folder)
    with copy.naming():
        return _verify(Path(copy.path))


def _verify(folder: Path) -> ClipSet:
    clips = open_packed(folder, verify=True)
    try:
        clips.check_values()
    except UserError as error:
        raise UserError(f"{folder}: {error}; pack the data again") from error
    if (folder / FILE_NAME).is_file():
        classes = ClassList.read(folder / FILE_NAME)
        if len(classes) != clips.num_classes:
            raise UserError(
                f"{folder / FILE_NAME} has {len(classes)} classes, the clips have {clips.num_classes}; "
                "give the list that belongs to the data"
            )
    return clips


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
