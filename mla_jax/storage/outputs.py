"""What a user names to be written to: looked at before the work begins, so that none is done in vain."""

import fnmatch
import os
import re
import socket
import stat
from collections.abc import Iterable
from pathlib import Path

from mla_jax.errors import UserError
from mla_jax.storage import paths

# The streams that a process has open, by number.
_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}
_OPEN_STREAM = re.compile(r"/dev/(stdin|stdout|stderr)|(?:/dev|/proc/self)/fd/(\d+)")


def require_writable(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Checks that a file can be written there; nothing is made or changed.

    Args:
      path: the file.
      inputs: paths and globs of files that are read: the file may be none of them.

    Raises:
      UserError: it cannot; the message says why.
    """
    place = paths.as_path(path)
    if paths.is_remote(place):
        return
    if os.path.isdir(place):  # pathlib's own raises for a name that is too long
        raise UserError(f"{path} is a folder; give the file to write")
    target = paths.resolved(path)
    for given in inputs:
        if not given:
            continue
        source = paths.resolved(given)
        if target == source or fnmatch.fnmatchcase(os.fspath(target), os.fspath(source)):
            raise UserError(f"{path} is also read or written by this command; give another output")
    if is_stream(path):
        return
    reason = _why_not(target)
    if reason:
        raise UserError(f"cannot write {path}: {reason}; give another output")


def _why_not(file: Path) -> str:
    """What keeps a file from being written; "" if nothing does."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        return error.strerror or str(error)
    if file.exists() and not os.access(file, os.W_OK):
        return "it may not be changed"
    folder = file.parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is not a folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"nothing may be written in {folder}"
    return ""


def require_new_folder(path: str | Path) -> None:
    """Checks that a folder can be made there, where nothing is, or an empty folder.

    Raises:
      UserError: it cannot; the message says why.
    """
    place = paths.as_path(path)
    if paths.is_taken(place):
        raise UserError(f"{path} already exists; give another output, or remove it first")
    if not paths.is_remote(place):
        reason = _why_not(paths.resolved(path) / "file")
        if reason:
            raise UserError(f"cannot write {path}: {reason}; give another output")


def is_stream(path: str | Path) -> bool:
    """Whether `path` is to be written to, not replaced: a device, a pipe, a socket, or what is open here.

    So is a file that may be changed, in a folder in which no other may be made.
    """
    if paths.is_remote(path):
        return False
    place = paths.as_path(path)
    if _OPEN_STREAM.fullmatch(os.fspath(place)):
        return True
    try:
        kind = place.stat().st_mode
    except OSError:
        return False
    if stat.S_ISREG(kind):
        return os.access(place, os.W_OK) and not os.access(paths.resolved(place).parent, os.W_OK)
    return not stat.S_ISDIR(kind)


def is_standard_output(path: str | Path) -> bool:
    """Whether what is written to `path` goes where `print` writes."""
    if not is_stream(path):
        return False
    try:
        return os.path.samestat(paths.as_path(path).stat(), os.fstat(1))
    except OSError:
        return False


def open_stream(path: Path) -> int:
    """A handle to write to a stream. One that this process has open goes on where it is.

    Raises:
      OSError: it cannot be written to.
    """
    named = _OPEN_STREAM.fullmatch(os.fspath(path))
    if named is None and path.is_socket():
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.fspath(path))
            return connection.detach()
    if named is None:
        return os.open(path, os.O_WRONLY | os.O_TRUNC)
    return os.dup(_STANDARD[named[1]] if named[1] else int(named[2]))
