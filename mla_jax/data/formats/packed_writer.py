"""Writes clips as a packed folder: their arrays, a manifest, and what lies beside them."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.data.clips import ClipSet, require_alike
from mla_jax.data.embedding import Embedding
from mla_jax.data.formats.manifest import ARRAYS, describe_beside, write_manifest
from mla_jax.data.skipped import SKIPPED_FILE, Skipped, to_jsonl
from mla_jax.errors import UserError


def write_packed(
    chunks: Iterable[ClipSet],
    folder: Path,
    *,
    classes: ClassList | None = None,
    source: dict[str, Any] | None = None,
    skipped: Sequence[Skipped] = (),
) -> None:
    """Fills `folder`, which is there and which nobody reads yet; arguments and errors as for `pack`."""
    manifest, named = _write_arrays(chunks, folder)
    if classes is not None and named is not None:
        classes.require_same(named, "the class list of the clips themselves")
    classes = classes or named
    manifest["source"] = source or {}
    if classes is not None:
        (folder / FILE_NAME).write_text(classes.to_csv(), encoding="utf-8")
    if skipped:
        (folder / SKIPPED_FILE).write_text(to_jsonl(skipped), encoding="utf-8")
    manifest["beside"] = describe_beside(folder)
    write_manifest(folder, manifest)


def _write_arrays(
    chunks: Iterable[ClipSet], folder: Path
) -> tuple[dict[str, Any], ClassList | None]:
    """Streams the embeddings, gathers the rest (some 50 bytes a clip); gives the manifest and classes."""
    first: ClipSet | None = None
    embedding: Embedding | None = None
    whole = ("embeddings", "label_mask")
    small: dict[str, list[np.ndarray]] = {name: [] for name in ARRAYS if name not in whole}
    masks: list[tuple[int, np.ndarray | None]] = []
    num_clips = num_labels = 0
    digest = hashlib.sha256()
    with open(folder / "embeddings.npy", "wb") as file:
        for chunk in chunks:
            if first is None:
                first = chunk
                _write_header(file, first, 0)
            require_alike(first, chunk)
            embedding = chunk.embedding.joined(embedding or chunk.embedding)
            data = np.ascontiguousarray(chunk.embeddings)
            file.write(data.data)
            digest.update(data.data)
            for name in ("num_segments", "label_ids", "video_ids", "start_times"):
                small[name].append(np.array(getattr(chunk, name), ARRAYS[name]))
            small["label_offsets"].append(np.asarray(chunk.label_offsets[1:]) + num_labels)
            masks.append((len(chunk), chunk.label_mask))
            num_clips += len(chunk)
            num_labels += len(chunk.label_ids)
        if first is None or embedding is None or num_clips == 0:
            raise UserError("there are no clips to pack; nothing was written")
        _write_header(file, first, num_clips)
    small["label_offsets"].insert(0, np.zeros(1, np.int64))
    if any(mask is not None for _, mask in masks):
        size = first.num_classes
        small["label_mask"] = [np.ones((n, size), bool) if m is None else m for n, m in masks]
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
        "embedding": embedding.to_json(),
        "labels": num_labels,
        "sha256": checksums,
        "bytes": {name: (folder / f"{name}.npy").stat().st_size for name in checksums},
    }, first.classes


def _write_header(file: BinaryIO, like: ClipSet, num_clips: int) -> None:
    """Writes the .npy header for `num_clips`; its length does not depend on the number."""
    file.seek(0)
    header = {
        "descr": np.lib.format.dtype_to_descr(like.embeddings.dtype),
        "fortran_order": False,
        "shape": (num_clips, like.max_segments, like.num_features),
    }
    np.lib.format.write_array_header_1_0(file, header)
