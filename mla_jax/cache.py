"""Local copies of what is read from a bucket: fetched once, whole or not at all; then read as files are.

A copy lies in `$MLA_JAX_CACHE`, or `~/.cache/mla_jax`, in a folder whose name has a hash of the URL and of
the objects' sizes and versions: what changes in the bucket is fetched anew. Copies are never removed by this
program; while nothing runs, any of them may be.
"""

import contextlib
import dataclasses
import fnmatch
import glob
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mla_jax import locks, paths
from mla_jax.download.disk import require_room
from mla_jax.errors import UserError
from mla_jax.progress import Progress

if TYPE_CHECKING:
    from mla_jax.buckets import Object

Check = Callable[[Path], None]
"""Looks at what was fetched, before it is a copy; raises UserError if it is not as it must be."""


@dataclasses.dataclass(frozen=True)
class LocalCopy:
    """What a path names, on this machine.

    Attributes:
      path: where it is read. A glob stays one.
      url: where it came from; for local data `path` itself.
    """

    path: str
    url: str
    _folder: str = ""
    _base: str = ""

    def named(self, text: str) -> str:
        """The text with the copy's names given as the URLs that the user knows."""
        return text.replace(self._folder, self._base) if self._folder else text

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """User errors of the block name URLs."""
        try:
            yield
        except UserError as error:
            if self._folder and self._folder in str(error):
                raise UserError(self.named(str(error))) from error
            raise


def local_copy(path: str | os.PathLike[str], *, pattern: str = "*") -> LocalCopy:
    """A copy on this machine of an object, of a folder's objects, or of those that match a glob.

    A packed folder is compared with the checksums of its manifest as it is fetched. Of folders within a
    folder nothing is fetched. Local paths are what they are.

    Args:
      path: a URL, or a local path.
      pattern: which objects of a folder that is not a packed one.

    Raises:
      UserError: nothing is there, it cannot be read, is damaged, or does not fit on the disk.
    """
    text = os.fspath(path)
    if not paths.is_remote(text):
        return LocalCopy(text, text)
    from mla_jax import buckets

    url = text.rstrip("/")
    found = sorted(buckets.find(url))
    if [f.url for f in found] == [url]:
        base, wanted = url.rpartition("/")[0], found
    elif glob.has_magic(url):
        base, wanted = _above_magic(url), found
    else:
        base, wanted = url.rpartition("/")[0], _of_folder(url, found, pattern)
    if not wanted:
        raise UserError(f"{url} does not exist, or has nothing to read; check the URL")
    folder = _entry(url, wanted)
    if not folder.is_dir():
        check = _check_of(url, wanted)
        with _one_at_a_time(folder):
            if not folder.is_dir():  # another process may have made it meanwhile
                _fetch(url, base, wanted, folder, check)
    local = os.fspath(folder)
    local = (glob.escape(local) if glob.has_magic(url) else local) + url.removeprefix(base)
    return LocalCopy(local, url, os.fspath(folder), base)


def root() -> Path:
    """Where the copies are."""
    named = os.environ.get("MLA_JAX_CACHE")
    return Path(named).absolute() if named else Path.home() / ".cache" / "mla_jax"


def adopt(folder: Path, url: str) -> Path:
    """Makes a packed folder, which was just put at `url`, the copy of it, instead of fetching it again.

    Raises:
      UserError: what is in the bucket is not what is in the folder.
    """
    from mla_jax import buckets

    found = sorted(buckets.find(url))
    for one in found:
        file = folder / one.url.rpartition("/")[2]
        if not file.is_file() or (one.crc32c and buckets.crc32c(file) != one.crc32c):
            raise UserError(f"{one.url} was damaged in transfer, or changed meanwhile; try again")
    entry = _entry(url, found)
    with _one_at_a_time(entry):
        if not entry.is_dir():
            partial = _fresh_partial(entry)
            folder.rename(partial / url.rpartition("/")[2])
            partial.rename(entry)
    shutil.rmtree(folder, ignore_errors=True)
    return entry / url.rpartition("/")[2]


def _above_magic(url: str) -> str:
    """The part of a glob before the first folder, or name, that has a wildcard."""
    parts = url.split("/")
    return "/".join(parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])


def _of_folder(url: str, found: "list[Object]", pattern: str) -> "list[Object]":
    from mla_jax.data import manifest

    names = {f.url.rpartition("/")[2] for f in found}
    if manifest.MANIFEST in names:
        known = {manifest.MANIFEST, *manifest.BESIDE, *(f"{a}.npy" for a in manifest.ARRAYS)}
        return [f for f in found if f.url.rpartition("/")[2] in known]
    return [f for f in found if fnmatch.fnmatchcase(f.url.rpartition("/")[2], pattern)]


def _check_of(url: str, wanted: "list[Object]") -> Check:
    from mla_jax.data import manifest, packed

    if f"{url}/{manifest.MANIFEST}" not in {f.url for f in wanted}:
        return lambda _: None

    def check(folder: Path) -> None:
        packed.open_packed(folder, verify=True)

    return check


def _entry(url: str, wanted: "list[Object]") -> Path:
    told = repr([url, *((f.url, f.size, f.version) for f in wanted)])
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", url.removeprefix("gs://"))[-80:]
    return root() / f"{readable}-{hashlib.sha256(told.encode()).hexdigest()[:20]}"


def _fetch(url: str, base: str, wanted: "list[Object]", folder: Path, check: Check) -> None:
    from mla_jax import buckets

    size = sum(f.size for f in wanted)
    partial = _fresh_partial(folder)
    try:
        require_room(partial, (size, f"for {url}"))
        targets = [(f, partial / f.url.removeprefix(base).lstrip("/")) for f in wanted]
        for _, file in targets:
            file.parent.mkdir(parents=True, exist_ok=True)
        buckets.fetch(targets, _Shown(url, size).add)
        made = LocalCopy("", url, os.fspath(partial), base)
        with made.naming():
            check(partial / url.removeprefix(base).lstrip("/"))
        partial.rename(folder)
    except OSError as error:
        raise UserError(f"cannot copy {url} to {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fresh_partial(entry: Path) -> Path:
    """A folder to fill; what a dead process left of the same is removed. The entry's lock is held."""
    for old in entry.parent.glob(f".{glob.escape(entry.name)}.*"):
        if old.is_dir() and locks.KNOWN:
            shutil.rmtree(old, ignore_errors=True)
    partial = entry.parent / f".{entry.name}.{os.getpid()}"
    partial.mkdir()
    return partial


@contextlib.contextmanager
def _one_at_a_time(entry: Path) -> Iterator[None]:
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with locks.waiting(entry.parent / f".{entry.name}.lock"):
            yield
    except OSError as error:
        raise UserError(
            f"cannot write in {entry.parent}: {error.strerror or error}; MLA_JAX_CACHE=FOLDER names "
            "another place for copies of what is in buckets"
        ) from error


class _Shown:
    """Progress in megabytes, told by several threads."""

    def __init__(self, url: str, size: int) -> None:
        self._progress = Progress(f"fetch {url}", -(-size // 10**6), "MB")
        self._bytes, self._size = 0, size
        self._lock = threading.Lock()

    def add(self, more: int) -> None:
        with self._lock:
            self._bytes += more
            done = self._bytes >= self._size
            self._progress.update(-(-self._bytes // 10**6) if done else self._bytes // 10**6)
            if done:
                self._progress.close()
