"""The manifest of a packed folder: what its files must be, with sizes and checksums of all of them.

It carries a checksum of its own contents, so that an edited one is noticed; those that older versions
wrote have none, and are read as they are. File names never come from a manifest: they are the names
known here, in the folder of the manifest.
"""

import hashlib
import json
import operator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mla_jax.data.class_list import FILE_NAME
from mla_jax.data.embedding import Embedding, Scaling
from mla_jax.data.skipped import SKIPPED_FILE
from mla_jax.errors import UserError
from mla_jax.storage.files import read_json, to_json

MANIFEST = "manifest.json"
SCHEMA = "mla_jax.clips/1"
# As NumPy writes the dtypes; that of the embeddings stands in the manifest, as does the size of every file.
ARRAYS = {
    "embeddings": "",
    "num_segments": "<i4",
    "label_offsets": "<i8",
    "label_ids": "<i4",
    "video_ids": "|S",
    "start_times": "<f8",
    "label_mask": "|b1",
}
# In folders whose manifest says nothing of the embeddings but their scaling.
_OLD = {"start_times": "<f4"}
# Not there where all labels are known, nor in what older versions wrote.
OPTIONAL = ("label_mask",)
# Files that may lie beside the arrays; those that were packed stand in the manifest.
BESIDE = (FILE_NAME, SKIPPED_FILE)
_CHECKSUM = "manifest_sha256"


class ExpectedArray(NamedTuple):
    """What the manifest says of an array: its size as a file, checksum, dtype and shape."""

    size: int
    checksum: str
    dtype: str
    shape: tuple[int, ...]


class ExpectedFile(NamedTuple):
    """What the manifest says of a file beside the arrays."""

    size: int
    checksum: str


class Manifest(NamedTuple):
    """A manifest that is sound in itself; whether the files fit it is another matter."""

    arrays: dict[str, ExpectedArray]
    beside: dict[str, ExpectedFile]
    num_classes: int
    embedding: Embedding


def describe_beside(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifest's entry about the files beside the arrays that are there."""
    found = {name: (folder / name).read_bytes() for name in BESIDE if (folder / name).is_file()}
    return {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in found.items()
    }


def write_manifest(folder: Path, values: dict[str, Any]) -> None:
    """Writes the manifest, with its own checksum, into a folder that nobody reads yet."""
    values = {"schema": SCHEMA, **values}
    values = json.loads(to_json(values))  # as it will be read
    values[_CHECKSUM] = _checksum(values)
    (folder / MANIFEST).write_text(to_json(values, indent=1) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a packed folder.

    Raises:
      UserError: it is missing, is not JSON, is of another schema, was edited, or lacks a value.
    """
    path = folder / MANIFEST
    values = read_json(path)
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise UserError(
            f"{path} is not of the schema {SCHEMA} that this version reads; pack the data again"
        )
    if _CHECKSUM in values and values[_CHECKSUM] != _checksum(values):
        raise UserError(
            f"{path} is not what was written (its own checksum differs); pack the data again"
        )
    try:
        return Manifest(
            arrays=_expected_arrays(values),
            beside=_expected_files(values.get("beside", {})),
            # Clips that were never labelled have no classes.
            num_classes=_at_least(1 if values["labels"] else 0, values["classes"]),
            embedding=_embedding(values),
        )
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        SyntaxError,
        TypeError,
        ValueError,
    ) as error:
        raise UserError(
            f"{path} is damaged: it lacks a value or has a wrong one ({error!r}); pack the data again"
        ) from error


def _checksum(values: dict[str, Any]) -> str:
    """Of everything else in the manifest, however it is laid out as text."""
    rest = {name: value for name, value in values.items() if name != _CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


# The functions below raise what `read_manifest` turns into one line.


def _expected_arrays(values: dict[str, Any]) -> dict[str, ExpectedArray]:
    clips, time, features, num_labels = (
        _at_least(0, values[name]) for name in ("clips", "time", "features", "labels")
    )
    shapes = {"embeddings": (clips, time, features), "label_offsets": (clips + 1,)}
    shapes["label_ids"] = (num_labels,)
    dtypes = ARRAYS if "embedding" in values else ARRAYS | _OLD
    shapes["label_mask"] = (clips, _at_least(1 if num_labels else 0, values["classes"]))
    return {
        name: ExpectedArray(
            size=_at_least(0, values["bytes"][name]),
            checksum=values["sha256"][name],
            dtype=dtype or np.dtype(values["dtype"]).str,
            shape=shapes.get(name, (clips,)),
        )
        for name, dtype in dtypes.items()
        if name not in OPTIONAL or name in values["bytes"]
    }


def _expected_files(values: dict[str, Any]) -> dict[str, ExpectedFile]:
    if unknown := set(values.keys()) - set(BESIDE):
        raise ValueError(f"no file of a packed folder is called {min(unknown)!r}")
    return {
        name: ExpectedFile(_at_least(0, what["bytes"]), what["sha256"])
        for name, what in values.items()
    }


def _embedding(values: dict[str, Any]) -> Embedding:
    """What the embeddings mean; of folders of older versions the scaling alone is known."""
    if "embedding" in values:
        return Embedding.from_json(values["embedding"])
    scaling = Scaling.from_json(values["scaling"])
    return Embedding(np.dtype(values["dtype"]).name, _at_least(1, values["features"]), scaling)


def _at_least(least: int, value: Any) -> int:
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{number} is less than {least}")
    return number
