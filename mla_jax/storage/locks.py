"""Locks between the processes of a machine: one writer in a folder, one process at a time elsewhere."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import logging

from mla_jax.errors import UserError
from mla_jax.storage import paths

try:
    import fcntl
except ImportError:  # Windows has no flock, and goes without
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"
_KNOWN = fcntl is not None
_SECONDS_BETWEEN_TRIES = 0.05


class InUseError(UserError):
    """Another process writes in the folder."""


def held_elsewhere(path: object) -> UserError:
    """What to tell of a file whose library says that it is locked (`BlockingIOError`)."""
    return UserError(
        f"{path} cannot be read: another process has it open for writing; wait until it is closed"
    )


def _lock(handle: int, place: Path, *, wait: bool = False, shared: bool = False) -> bool:
    """Locks an open file; False, and a warning, where the system or the disk has no locks.

    Raises:
      BlockingIOError: another process holds it, and `wait` is False.
    """
    if not _KNOWN:
        return False
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:  # some network disks answer that they know no locks
        logging.warning(
            "%s: the disk has no locks (%s), so nothing guards it against a second writer: see that one "
            "process alone writes there",
            place,
            error.strerror or error,
        )
        return False
    return True


@contextlib.contextmanager
def one_writer(folder: str | Path) -> Iterator[None]:
    """Holds the lock of a folder while the block runs, or fails at once; makes the folder if need be.

    The lock is the kernel's (`flock` on the file `.lock`), so a process that dies, however it dies, leaves
    none behind. It holds between processes of one machine, and over NFS where the server supports it. In a
    bucket, or on a disk without locks, nothing is held, and a warning says so.

    Raises:
      InUseError: another process holds it; the message says which.
      UserError: the folder cannot be written.
    """
    if paths.is_remote(folder):
        logging.warning(
            "%s: a bucket has no locks, so nothing guards it against a second writer: see that one process "
            "alone writes there",
            folder,
        )
        yield
        return
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Not truncated: it holds the id of the process that has the lock.
        handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror or error}") from error
    try:
        try:
            _lock(handle, folder)
        except BlockingIOError as error:
            holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            raise InUseError(
                f"{folder} is in use by process {holder}; wait for it, or give another folder"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def waiting(file: Path, until: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Waits for the lock of `file`, and holds it while the block runs; the empty file stays.

    Args:
      file: the lock file.
      until: waiting ends without the lock, too, once this is true.

    Yields:
      Whether it is held; False too where the system or the disk has no locks.
    """
    with file.open("w") as handle:
        yield _wait(handle.fileno(), file, until)


def _wait(handle: int, file: Path, until: Callable[[], bool]) -> bool:
    told = False
    while True:
        try:
            return _lock(handle, file)
        except BlockingIOError:
            if until():
                return False
        if not told:
            logging.warning("waiting for another process, which has locked %s", file)
            told = True
        time.sleep(_SECONDS_BETWEEN_TRIES)


@contextlib.contextmanager
def if_free(file: Path) -> Iterator[bool]:
    """Holds the lock of `file` while the block runs, if nobody else has it; the file stays as it is.

    Yields:
      Whether it is held; False too where the system or the disk has no locks.
    """
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            held = _lock(handle, file)
        except BlockingIOError:
            held = False
        yield held
    finally:
        os.close(handle)


def share(file: Path) -> int:
    """Takes a shared lock of `file`, for which it waits: others may have it too, but no exclusive one.

    Returns:
      A handle; the lock lasts until that is closed, or the process ends.
    """
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    _lock(handle, file, wait=True, shared=True)
    return handle
