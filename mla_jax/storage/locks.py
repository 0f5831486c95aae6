"""Locks between the processes of a machine: one writer in a folder, one process at a time elsewhere."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from mla_jax.errors import UserError
from mla_jax.storage import paths

try:
    import fcntl
except ImportError:  # Windows has no flock, and goes without
    fcntl = None  # type: ignore[assignment]

KNOWN = fcntl is not None
"""Whether this system has locks; where it has none, nothing is held."""


@contextlib.contextmanager
def one_writer(folder: str | Path) -> Iterator[None]:
    """Holds the lock of a folder while the block runs, or fails at once; makes the folder if need be.

    The lock is the kernel's (`flock` on the file `.lock`), so a process that dies, however it dies, leaves
    none behind. It holds between processes of one machine, and over NFS where the server supports it. In a
    bucket nothing is held, and a warning says so.

    Raises:
      UserError: another process holds it; the message says which.
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
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror or error}") from error
    try:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
                raise UserError(
                    f"{folder} is in use by process {holder}; wait for it, or give another folder"
                ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def waiting(file: Path) -> Iterator[None]:
    """Waits for the lock of `file`, and holds it while the block runs; the empty file stays."""
    with file.open("w") as handle:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                logging.warning("waiting for another process, which has locked %s", file)
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
