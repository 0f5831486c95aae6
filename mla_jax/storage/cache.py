"""Local copies of what is read from a bucket: fetched once, whole or not at all; then read as files are.

A copy lies in `$MLA_JAX_CACHE`, or `~/.cache/mla_jax`, in a folder whose name has a hash of the URL and of
the objects' sizes and versions: what changes in the bucket is fetched anew. Together they take
`$MLA_JAX_CACHE_GB` at most, 50 GB if that is not set: before one is made, the least recently used ones that
no process uses are removed (`eviction`). While nothing runs, any of them may be.
"""

import contextlib
import dataclasses
import glob
import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from mla_jax.errors import UserError
from mla_jax.progress import Progress
from mla_jax.storage import buckets, eviction, files, locks, paths
from mla_jax.storage.disk import require_room


@dataclasses.dataclass(frozen=True)
class LocalCopy:
    """What a path names, on this machine.

    Attributes:
      path: where it is read. A glob stays one.
      url: where it came from; for local data `path` itself.
      folder: the folder of copies that it is in; "" for local data.
      base: the URL that `folder` stands for.
    """

    path: str
    url: str
    folder: str = ""
    base: str = ""

    def named(self, text: str) -> str:
        """The text with the copy's names given as the URLs that the user knows."""
        return text.replace(self.folder, self.base) if self.folder else text

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """User errors of the block name URLs."""
        try:
            yield
        except UserError as error:
            if self.folder and self.folder in str(error):
                raise UserError(self.named(str(error))) from error
            raise


def local_copy(
    path: str | os.PathLike[str],
    *,
    choose: Callable[[list[str]], Iterable[str]] = list,
    check: Callable[[Path], object] = lambda _: None,
) -> LocalCopy:
    """A copy on this machine of an object, of a folder's objects, or of those that match a glob.

    Local paths are returned as they are, and neither function is called. Of folders within a folder nothing
    is fetched.

    Args:
      path: a URL, or a local path.
      choose: given the names of a folder's objects, returns those to fetch.
      check: called with the place of what was fetched, before it becomes the copy; raises UserError to
        refuse it.

    Raises:
      UserError: nothing is there, it cannot be read, is damaged, or does not fit on the disk.
    """
    text = os.fspath(path)
    if not paths.is_remote(text):
        return LocalCopy(paths.expanded(text), text)
    url = text.rstrip("/")
    objects = buckets.find(url)
    if not glob.has_magic(url) and [found.url for found in objects] != [url]:
        names = set(choose([found.name for found in objects]))
        objects = [found for found in objects if found.name in names]
    if not objects:
        raise UserError(f"{url} does not exist, or has nothing to read; check the URL")
    entry = _entry(url, objects)
    _make_once(entry, url, lambda alone: _fetch(objects, entry, url, check, alone))
    return _copy_in(entry, url)


def root() -> Path:
    """Where the copies are."""
    named = os.environ.get("MLA_JAX_CACHE")
    return paths.absolute(named) if named else Path.home() / ".cache" / "mla_jax"


def keep(staged: Path, url: str) -> None:
    """Makes what was just put into a bucket this machine's copy of it, instead of fetching it again.

    Args:
      staged: a folder in `root()`. In it is the folder that was put, by the last name of the URL.
      url: where that was put.

    Raises:
      UserError: what is in the bucket is not what is in the folder.
    """
    objects = buckets.find(url)
    for found in objects:
        found.require_same(staged / url.rpartition("/")[2] / found.name)
    os.chmod(staged, 0o755)
    entry = _entry(url, objects)
    _make_once(entry, url, lambda _: staged.rename(entry))


def _copy_in(folder: Path, url: str) -> LocalCopy:
    """What `url` names, in a folder of copies."""
    base, local = _base(url), os.fspath(folder)
    escaped = glob.escape(local) if glob.has_magic(url) else local
    return LocalCopy(escaped + url.removeprefix(base), url, local, base)


def _base(url: str) -> str:
    """The URL that stands for the folder of copies: of a glob all before the first part with a wildcard."""
    parts = url.split("/")
    return "/".join(parts[: next((i for i, p in enumerate(parts) if glob.has_magic(p)), -1)])


def _entry(url: str, objects: Sequence[buckets.Object]) -> Path:
    """The folder of copies of these objects, as they are now."""
    told = repr([url, *((found.url, found.size, found.version) for found in objects)])
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", url.removeprefix("gs://"))[-80:]
    return root() / f"{readable}-{hashlib.sha256(told.encode()).hexdigest()[:20]}"


def _make_once(entry: Path, url: str, make: Callable[[bool], object]) -> None:
    """Calls `make` if there is no such entry; with True where a lock sees to it that no other process does.

    The entry is in use from then on, until this process ends.

    Raises:
      UserError: it cannot be written; the message has a way out.
    """
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        while not _use(entry):
            # Who has made it keeps it locked while using it, so the lock may not come for hours.
            with locks.waiting(eviction.lock_of(entry), until=entry.is_dir) as alone:
                if not entry.is_dir():  # another process may have made it meanwhile
                    make(alone)
    except OSError as error:
        raise UserError(
            f"cannot copy {url} to {entry.parent}: {error.strerror or error}; MLA_JAX_CACHE=FOLDER names "
            "another place for copies of what is in buckets"
        ) from error


_used: dict[Path, int] = {}
"""The entries that this process uses, with the handles of their locks."""


def _use(entry: Path) -> bool:
    """Notes that this process uses an entry, which nobody may remove then; False if it is not there."""
    lock = eviction.lock_of(entry)
    try:
        handle = _used[entry] if entry in _used else locks.share(lock)
        os.utime(lock)
    except OSError:  # a cache that may only be read, from which nothing is removed
        return entry.is_dir()
    if entry.is_dir():
        _used[entry] = handle
        return True
    _used.pop(entry, None)
    os.close(handle)
    return False


def _fetch(
    objects: Sequence[buckets.Object],
    entry: Path,
    url: str,
    check: Callable[[Path], object],
    alone: bool,
) -> None:
    size, done, lock = sum(found.size for found in objects), 0, threading.Lock()
    eviction.make_room(entry.parent, size)
    progress = Progress(f"fetch {url}", -(-size // 10**6), "MB")

    def on_bytes(more: int) -> None:
        nonlocal done
        with lock:
            done += more
            progress.update(-(-done // 10**6) if done >= size else done // 10**6)

    with files.atomic_folder(entry, alone=alone) as partial:
        require_room(partial, (size, f"for {url}"))
        copy = _copy_in(partial, url)
        try:
            buckets.fetch(objects, copy.base, partial, on_bytes)
        finally:
            progress.close()
        with copy.naming():
            check(Path(copy.path))
