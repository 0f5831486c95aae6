"""Writing files so that a reader finds the old one or the new one, never a half."""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from mla_jax import paths
from mla_jax.errors import UserError


@contextlib.contextmanager
def replacing(path: str | Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """A new file that takes the place of `path` when the block ends well, and else vanishes.

    Text in UTF-8, unless `binary`. For a bucket it is written on this machine first, and then put there,
    which is at once too.

    Raises:
      UserError: the file cannot be written there.
    """
    mode, encoding = ("wb", None) if binary else ("w", "utf-8")
    if paths.is_remote(path):
        paths.as_path(path)  # what cannot be used should be said before the work is done
        with _putting(os.fspath(path)) as name, open(name, mode, encoding=encoding) as file:
            yield file
        return
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        with os.fdopen(handle, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp's files are private
        os.replace(name, path)
    except BaseException as error:
        os.unlink(name)
        if isinstance(error, OSError):
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
        raise


@contextlib.contextmanager
def _putting(url: str) -> Iterator[str]:
    """A file on this machine that is put at `url` when the block ends well."""
    from mla_jax import buckets

    try:
        with tempfile.TemporaryDirectory(prefix="mla_jax-") as folder:
            file = Path(folder) / "file"
            yield os.fspath(file)
            buckets.put([(file, url)])
    except OSError as error:
        raise UserError(f"cannot write {url}: {error.strerror or error}") from error


def write_text(path: str | Path, text: str) -> None:
    """Replaces `path` by a file of this text, in one move; makes its folder if need be."""
    with replacing(path) as file:
        file.write(text)


def write_json(path: str | Path, value: Any, *, indent: int | None = 1) -> None:
    """Writes JSON; numbers that JSON does not have (NaN, infinities) become null."""
    write_text(path, json.dumps(plain(value), indent=indent, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Reads JSON.

    Raises:
      UserError: there is no such file, or it is not JSON.
    """
    place = paths.as_path(path)
    try:
        return json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"cannot read {path}: No such file or directory") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: it is not JSON ({error})") from error


def plain(value: Any) -> Any:
    """The same value of dicts, lists, strings, bools, ints, finite floats and None alone."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
