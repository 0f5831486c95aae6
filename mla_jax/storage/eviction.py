"""Copies of what is in buckets make room for new ones: the least recently used go first, none that is in use.

A process that uses a copy holds a shared lock on the copy's lock file, beside it, until it ends, however it
ends; the file's time is that of the last use. A copy goes only under an exclusive lock, so that no process
has it, and none begins to use it meanwhile. Where the disk has no locks nothing is removed.
"""

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from absl import logging

from mla_jax.errors import UserError
from mla_jax.storage import locks
from mla_jax.storage.disk import in_bytes

VARIABLE = "MLA_JAX_CACHE_GB"
"""The environment variable that says how many GB (10^9 bytes) copies may take."""
DEFAULT_GB = 50.0

_COPY = re.compile(r"[^.].*-[0-9a-f]{20}")
_LEFT = ".evicted"


class Copy(NamedTuple):
    """A copy: when it was last used (seconds since 1970), its folder, and its bytes."""

    used: float
    folder: Path
    size: int


def limit() -> float:
    """How many bytes the copies may take together.

    Raises:
      UserError: the environment says something that is no number.
    """
    told = os.environ.get(VARIABLE) or str(DEFAULT_GB)
    try:
        found = float(told)
    except ValueError:
        found = -1.0
    if not found >= 0:
        raise UserError(f"{VARIABLE}={told} is not valid: it must be a number of GB, 0 or more")
    return found * 1e9


def lock_of(copy: Path) -> Path:
    """The lock file of a copy."""
    return copy.with_name(f".{copy.name}.lock")


def make_room(root: Path, coming: int) -> None:
    """Removes copies until `coming` bytes more are within the limit, or all that are left are in use.

    Args:
      root: the folder of the copies. What else lies there stays.
      coming: the size of the copy that is to be made.

    Raises:
      UserError: as `limit`.
    """
    allowed = limit()
    for left in root.glob(f".*{_LEFT}"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    copies = sorted(_copies(root))
    total = coming + sum(copy.size for copy in copies)
    for copy in copies:
        if total <= allowed:
            return
        if _remove(copy):
            total -= copy.size
    if total > allowed:
        logging.warning(
            "%s: copies of what is in buckets take %s, more than the %s that they may: what is in use is "
            "not removed; %s says how many GB they may take",
            root,
            in_bytes(total),
            in_bytes(allowed),
            VARIABLE,
        )


def _copies(root: Path) -> list[Copy]:
    found = []
    for folder in root.iterdir():
        if not _COPY.fullmatch(folder.name):
            continue
        try:
            lock = lock_of(folder)
            used = (lock if lock.exists() else folder).stat().st_mtime
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        except OSError:  # another process removes it
            continue
        found.append(Copy(used, folder, size))
    return found


def _remove(copy: Copy) -> bool:
    """Removes a copy; False if it is in use, or that cannot be known."""
    with locks.if_free(lock_of(copy.folder)) as free:
        if not free or not copy.folder.exists():
            return free
        hidden = copy.folder.with_name(f".{copy.folder.name}{_LEFT}")
        copy.folder.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)
    logging.info("%s removed, to make room for other copies", copy.folder)
    return True
