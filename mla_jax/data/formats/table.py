"""The data formats that a path may be of."""

import glob
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mla_jax.data.formats.format import Format
from mla_jax.errors import UserError

FORMATS = (
    "mla_jax.data.formats.packed.Packed",
    "mla_jax.data.formats.recordings.RecordingFiles",
    "mla_jax.data.formats.arrays.ArrayFile",
    "mla_jax.data.formats.tfrecords.RecordFiles",
)
"""The classes of the formats. The first that recognizes a path reads it, so the order counts."""


def formats() -> Iterator[type[Format]]:
    """The formats in turn; the module of each is imported then, since TensorFlow takes seconds."""
    for path in FORMATS:
        module, _, name = path.rpartition(".")
        yield getattr(importlib.import_module(module), name)


def find(path: str) -> type[Format]:
    """The format of the data at a local path: a file, a folder or a glob.

    Raises:
      UserError: nothing is there.
    """
    if not Path(path).exists() and not glob.has_magic(path):
        what = "is a link that leads nowhere" if Path(path).is_symlink() else "does not exist"
        raise UserError(
            f"{path} {what}; give packed clips, records, an HDF5 or .npz file, or .npy files"
        )
    return next(found for found in formats() if found.recognizes(Path(path)))


def open_local(path: str, labels: str = "") -> Format:
    """Opens the data at a local path.

    Args:
      path: a file, a folder or a glob.
      labels: a local file of labels, for formats that take one.

    Raises:
      UserError: nothing is there, or it cannot be used.
    """
    found: Any = find(path)
    opened: Format = found(path, labels) if found.takes_labels else found(path)
    return opened


def choose(names: list[str]) -> list[str]:
    """Of the names of a folder's files those that are read: of the first format that reads any."""
    return next((chosen for found in formats() if (chosen := found.choose(names))), [])


def verify(path: Path) -> None:
    """Compares the data at `path` with their checksums, if their format keeps any.

    Raises:
      UserError: they differ, or cannot be used.
    """
    open_local(str(path)).verify()
