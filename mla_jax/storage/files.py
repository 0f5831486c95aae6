"""Files, and folders on a disk, of which a reader finds the old one or the new one, never a half."""

import contextlib
import errno
import functools
import glob
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from mla_jax.errors import UserError
from mla_jax.storage import buckets, outputs, paths

_MAX_NAME = 180  # bytes of a name that a temporary one repeats; disks take 255


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
        yield paths.as_path(folder), lambda: None
        return
    paths.as_path(folder)  # what cannot be used should be said before the work is done
    with tempfile.TemporaryDirectory(prefix="mla_jax-") as temporary:
        publish = functools.partial(buckets.put_folder, Path(temporary), os.fspath(folder))
        yield Path(temporary), publish
        publish()


@contextlib.contextmanager
def replacing(path: str | Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """A new file that takes the place of `path` when the block ends well, and else vanishes.

    Text in UTF-8, unless `binary`. A new file has the permissions that the umask leaves, one that takes the
    place of another those of the other. A link is followed. A device, a pipe or an open stream such as
    `/dev/stdout` is no file that could be replaced: it is written to.

    Raises:
      UserError: the file cannot be written there.
      BrokenPipeError: it is the standard output, and nobody reads that any more.
    """
    place = paths.resolved(path)
    try:
        if not paths.is_remote(place) and outputs.is_stream(path):
            with _into_stream(paths.as_path(path), binary) as file:
                yield file
            return
        with output_folder(place.parent) as (folder, _):
            folder.mkdir(parents=True, exist_ok=True)
            partial = _temporary(folder, place.name)
            try:
                with _open(_create(partial), binary) as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                _put_in_place(partial, folder / place.name)
            except BaseException:
                partial.unlink()
                raise
    except OSError as error:
        if isinstance(error, BrokenPipeError) and outputs.is_standard_output(path):
            raise
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _open(handle: int, binary: bool) -> IO[Any]:
    # Text goes out as it is given, on every system; half of a character is shown, not refused.
    text = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    return os.fdopen(handle, "wb") if binary else os.fdopen(handle, "w", **text)  # type: ignore[call-overload]


def _create(file: Path) -> int:
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


@contextlib.contextmanager
def _into_stream(path: Path, binary: bool) -> Iterator[IO[Any]]:
    """The stream to write to; what is `binary` goes into it at the end, since its writers look back."""
    with _open(outputs.open_stream(path), binary) as stream:
        if not binary:
            yield stream
            return
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            shutil.copyfileobj(file, stream)


def _put_in_place(partial: Path, place: Path) -> None:
    """Makes one file the other, with the owner and the permissions of the one that was there."""
    with contextlib.suppress(OSError):
        old = place.stat()
        with contextlib.suppress(OSError):
            os.chown(partial, old.st_uid, old.st_gid)
        os.chmod(partial, stat.S_IMODE(old.st_mode))
    try:
        os.replace(partial, place)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        shutil.copyfile(partial, place)  # the file is mounted by itself: it can only be written to
        partial.unlink()


def _temporary(folder: Path, name: str) -> Path:
    return folder / f"{_prefix(name)}{secrets.token_hex(4)}"


def _prefix(name: str) -> str:
    """What temporary names begin with; its own for each name, and short enough for every disk."""
    raw = os.fsencode(name)
    if len(raw) > _MAX_NAME:
        name = f"{os.fsdecode(raw[:_MAX_NAME])}~{hashlib.sha256(raw).hexdigest()[:16]}"
    return f".{name}."


@contextlib.contextmanager
def atomic_folder(path: Path, *, alone: bool = False, last: str = "") -> Iterator[Path]:
    """A folder on this disk to fill; it becomes `path` when the block ends well, and else vanishes.

    An empty folder that is there stays the folder that it is, which may be a mount point, or what a link
    leads to: it is filled on its own disk, out of sight, and then what is in it moves up.

    Args:
      path: a local path; nothing is there, or an empty folder.
      alone: no other process makes the same folder now, so what dead ones left of it is removed.
      last: the name of the file that moves up last.

    Raises:
      OSError: the folder cannot be written.
    """
    path = Path(os.path.realpath(path))
    there = path.is_dir()
    parent = path if there else path.parent
    parent.mkdir(parents=True, exist_ok=True)
    for old in parent.glob(f"{glob.escape(_prefix(path.name))}*") if alone else ():
        if old.is_dir():
            shutil.rmtree(old, ignore_errors=True)
    partial = _temporary(parent, path.name)
    partial.mkdir()
    try:
        yield partial
        if there:
            _move_up(partial, last)
        else:
            partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move_up(folder: Path, last: str) -> None:
    """Moves what is in a folder into the one that it is in: all of it or, if that fails, nothing."""
    moved = []
    try:
        for file in sorted(folder.iterdir(), key=lambda file: (file.name == last, file.name)):
            moved.append(file.rename(folder.parent / file.name))
    except BaseException:
        for file in moved:
            file.rename(folder / file.name)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Replaces `path` by a file of this text, in one move; makes its folder if need be."""
    with replacing(path) as file:
        file.write(text)


def write_json(path: str | Path, value: Any) -> None:
    """Writes JSON, as `to_json` makes it."""
    write_text(path, to_json(value, indent=1) + "\n")


def read_json(path: str | Path) -> Any:
    """Reads JSON.

    Raises:
      UserError: there is no such file, or it is not JSON.
    """
    place = paths.as_path(path)
    try:
        return parse_json(place.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"cannot read {path}: No such file or directory") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: it is not JSON ({error})") from error


def parse_json(text: str) -> Any:
    """The value of JSON text; a ValueError for whatever is wrong with it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("brackets within brackets, many thousands deep") from None


@contextlib.contextmanager
def taken_as(path: str | Path, what: str) -> Iterator[None]:
    """Says that a JSON file is of another kind where the block does not find what it looks for in it.

    Args:
      path: the file, which was read.
      what: what the block takes it for, and what to do about it.

    Raises:
      UserError: a key, an item or a value of the right type is missing.
    """
    try:
        yield
    except UserError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is not {what}") from error


_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|-?Infinity|NaN')
_NUMBERS = {"Infinity": "1e999", "-Infinity": "-1e999", "NaN": "null"}
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON text that every reader takes.

    NaN is `null` (`number` reads it back), and infinity `1e999`, which reads as infinity. What a file's name
    has that is no UTF-8 is escaped, and read back as the same name.
    """
    text = json.dumps(plain(value), indent=indent, ensure_ascii=False)
    text = _TOKENS.sub(lambda token: _NUMBERS.get(token[0], token[0]), text)
    return _HALF_CHARACTER.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def number(value: float | None) -> float:
    """A number that was read from JSON, where null stands for NaN."""
    return math.nan if value is None else float(value)


def plain(value: Any) -> Any:
    """The same value of dicts, lists, strings, bools, ints, floats and None alone."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return value
