"""Files, and folders on a disk, of which a reader finds the old one or the new one, never a half."""

import contextlib
import functools
import glob
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from mla_jax.errors import UserError
from mla_jax.storage import buckets, paths


@contextlib.contextmanager
def output_folder(folder: str | Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder on this machine to write in, for files that are to lie in a folder which may be in a bucket.

    Yields:
      Where to write: the folder itself, or for one in a bucket a temporary folder, whose files are put there
      when the block ends well; and a function that puts what was written so far, for blocks that take long.

    Raises:
      UserError: the bucket cannot be used; or, in the end, the files cannot be put there.
    """
    if not paths.is_remote(folder):
        yield Path(folder), lambda: None
        return
    paths.as_path(folder)  # what cannot be used should be said before the work is done
    with tempfile.TemporaryDirectory(prefix="mla_jax-") as temporary:
        publish = functools.partial(buckets.put_folder, Path(temporary), os.fspath(folder))
        yield Path(temporary), publish
        publish()


@contextlib.contextmanager
def replacing(path: str | Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """A new file that takes the place of `path` when the block ends well, and else vanishes.

    Text in UTF-8, unless `binary`.

    Raises:
      UserError: the file cannot be written there.
    """
    mode, encoding = ("wb", None) if binary else ("w", "utf-8")
    path = paths.as_path(path)
    try:
        with output_folder(path.parent) as (folder, _):
            folder.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.")
            try:
                with os.fdopen(handle, mode, encoding=encoding) as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(partial, 0o644)  # mkstemp's files are private
                os.replace(partial, folder / path.name)
            except BaseException:
                os.unlink(partial)
                raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def atomic_folder(path: Path, *, alone: bool = False) -> Iterator[Path]:
    """A folder on this disk to fill; it becomes `path` when the block ends well, and else vanishes.

    Args:
      path: a local path; nothing is there, or an empty folder.
      alone: no other process makes the same folder now, so what dead ones left of it is removed.

    Raises:
      OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f".{glob.escape(path.name)}.*") if alone else ():
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield partial
        os.chmod(partial, 0o755)  # mkdtemp's folders are private
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Replaces `path` by a file of this text, in one move; makes its folder if need be."""
    with replacing(path) as file:
        file.write(text)


def write_json(path: str | Path, value: Any) -> None:
    """Writes JSON; numbers that JSON does not have (NaN, infinities) become null."""
    write_text(path, json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n")


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
