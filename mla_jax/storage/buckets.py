"""Objects in Google's buckets (`gs://`): listed, fetched, put, moved, removed.

Only this module knows the storage client (gcsfs) and etils, which gives its paths the methods of pathlib;
they are imported when the first URL is met. What the client raises becomes a UserError that names the URL.
"""

import contextlib
import functools
import glob
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

from mla_jax.errors import UserError
from mla_jax.storage.checksums import crc32c

# etils, through which Orbax opens paths too, would import TensorFlow for gs:// if it is installed; it decides
# once, so this stands before anything that imports it. Training must never import TensorFlow.
os.environ.setdefault("EPATH_USE_TF", "false")

_Item = TypeVar("_Item")

_CONNECT_SECONDS = 10.0
_THREADS = 16
# Objects up to this size are fetched in one request instead of three.
_SMALL_BYTES = 8 * 1024 * 1024


class Object(NamedTuple):
    """An object as the bucket lists it.

    Attributes:
      url: where it is.
      size: its bytes.
      version: changes with every write: its generation, or what the bucket has instead.
      crc32c: checksum of its bytes, as the bucket states it (base64); "" if it states none.
    """

    url: str
    size: int
    version: str
    crc32c: str

    @property
    def name(self) -> str:
        """The part of the URL after its last slash."""
        return self.url.rpartition("/")[2]

    def require_same(self, file: Path) -> None:
        """Raises UserError unless `file` has the size and the checksum of this object."""
        same = file.is_file() and file.stat().st_size == self.size
        if not same or (self.crc32c and crc32c(file) != self.crc32c):
            raise UserError(f"{self.url} was damaged in transfer, or changed meanwhile; try again")


def path_of(url: str) -> Path:
    """The `etils.epath.Path` of a URL.

    Raises:
      UserError: gcsfs is not installed, or the bucket cannot be used.
    """
    with _client_for(url):
        from etils import epath

    found: Any = epath.Path(url)
    return cast(Path, found)  # it has pathlib's methods, as far as they are used here


def find(url: str) -> list[Object]:
    """The objects that a URL names: one, those directly in a folder, or those that match a glob; sorted.

    Raises:
      UserError: the bucket cannot be read. That there is nothing is an empty list.
    """
    with _client_for(url) as client, contextlib.suppress(FileNotFoundError):
        found = client.glob(url, detail=True) if glob.has_magic(url) else client.ls(url, True)
        return sorted(_objects(found.values() if isinstance(found, dict) else found))
    return []


def _objects(listed: Iterable[dict[str, Any]]) -> Iterator[Object]:
    for info in listed:
        # Programs that show folders mark empty ones by an object whose name ends in a slash.
        if info["type"] == "file" and not info["name"].endswith("/"):
            version = info.get("generation") or info.get("etag") or info.get("mtime")
            url = f"gs://{info['name']}"
            yield Object(url, int(info["size"]), str(version), info.get("crc32c", ""))


def fetch(
    objects: Iterable[Object],
    base: str,
    folder: Path,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> None:
    """Fetches objects into a folder, several at once.

    Args:
      objects: what to fetch, all below the URL `base`.
      base, folder: what is `base/a/b` in the bucket becomes `folder/a/b`.
      on_bytes: called with the number of bytes that came, from any thread.

    Raises:
      UserError: one cannot be fetched, or what came is not what the bucket lists.
    """

    def one(found: Object) -> None:
        from fsspec.callbacks import Callback
        from fsspec.utils import check_contained

        file = folder / found.url.removeprefix(base).lstrip("/")
        with _client_for(found.url) as client:
            check_contained(os.fspath(folder), [os.fspath(file)])  # a name may have ".." in it
            file.parent.mkdir(parents=True, exist_ok=True)
            if found.size <= _SMALL_BYTES:
                file.write_bytes(client.cat_file(found.url))
                on_bytes(found.size)
            else:
                callback = Callback()
                callback.relative_update = on_bytes
                client.get_file(found.url, os.fspath(file), callback=callback)
        found.require_same(file)

    _at_once(one, objects)


def put_folder(folder: Path, url: str, *, last: str = "") -> None:
    """Puts all files of a folder, and of the folders within it, below a URL, several at once.

    Each appears when it is complete, in the place of an older object; the file named `last` after all others.

    Raises:
      UserError: one cannot be put.
    """

    def one(file: Path) -> None:
        target = f"{url}/{file.relative_to(folder)}"
        with _client_for(target) as client:
            client.put_file(os.fspath(file), target)

    files = sorted(file for file in folder.rglob("*") if file.is_file())
    _at_once(one, [file for file in files if file != folder / last])
    _at_once(one, [file for file in files if file == folder / last])


def move(source: str, target: str) -> None:
    """Moves all objects below `source` to below `target`; they are copied first, and then removed.

    Raises:
      UserError: one cannot be moved.
    """
    with _client_for(source) as client:
        names = client.find(f"{source}/")
        start = source.removeprefix("gs://")
        client.copy(names, [target + name.removeprefix(start) for name in names])
        client.rm(names)


def remove(url: str) -> None:
    """Removes all objects below a URL.

    Raises:
      UserError: one cannot be removed.
    """
    with _client_for(url) as client:
        if names := client.find(f"{url}/"):
            client.rm(names)


def _at_once(function: Callable[[_Item], None], items: Iterable[_Item]) -> None:
    """Calls it with each of `items`, several at once; after an error, not with the rest."""
    from concurrent.futures import ThreadPoolExecutor  # local use should not wait for its import

    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(function, items):
            pass


# Access


@contextlib.contextmanager
def _client_for(url: str) -> Iterator[Any]:
    """The storage client, for what is done with `url`, in a bucket that is there."""
    _require_bucket("gs://" + url.removeprefix("gs://").split("/")[0])
    with errors_naming(url):
        yield _client()


@functools.cache
def _client() -> Any:
    """The storage client, set up once.

    Raises:
      UserError: it is not installed.
    """
    try:
        import fsspec
        import gcsfs  # noqa: F401  (fsspec looks for it by name)
    except ImportError as error:
        raise UserError(
            f"gs:// needs {error.name}, which is not installed: pip install 'mla_jax[gcs]'"
        ) from error
    # A listing that is kept would hide what other processes write. This holds for etils, and so Orbax, too.
    fsspec.config.conf.setdefault("gcs", {}).setdefault("use_listings_cache", False)
    _forget_tensorflow()
    # It logs every error that it raises, with a stack trace.
    if (logger := logging.getLogger("gcsfs")).level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
    return fsspec.filesystem("gcs")


def _forget_tensorflow() -> None:
    """What used etils before this module was imported may have made it choose TensorFlow."""
    from etils.epath import gpath

    decided: Any = getattr(gpath, "_is_tf_installed", None)
    if hasattr(decided, "cache_clear"):
        decided.cache_clear()


@functools.cache
def _require_bucket(url: str) -> None:
    """Asks once for one name. Else a mistyped bucket would be made by the first `mkdir`, or look empty."""
    with errors_naming(url):
        client = _client()
        _require_reachable(url, client)
        try:
            client.call("GET", "b/{}/o", url.removeprefix("gs://"), maxResults=1, json_out=True)
        except FileNotFoundError:
            raise UserError(
                f"there is no bucket {url}, or you may not see it; check its name, or make it"
            ) from None


def _require_reachable(url: str, client: Any) -> None:
    """Fails at once where nothing listens: gcsfs would try for half a minute."""
    if client.session_kwargs:  # by way of a proxy, perhaps
        return
    server = urlsplit(client.base)
    port = server.port or (443 if server.scheme == "https" else 80)
    try:
        socket.create_connection((server.hostname or "", port), _CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"{url}: {server.hostname}:{port} cannot be reached ({error.strerror or error}); check the "
            "network"
        ) from error


@contextlib.contextmanager
def errors_naming(url: str) -> Iterator[None]:
    """Turns what the storage client raises in the block into a UserError of one line that names the URL."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{url} does not exist") from error
    except Exception as error:
        line = " ".join(str(error).split()) or type(error).__name__
        hint = ""
        if str(getattr(error, "code", "")) in ("401", "403") or line.startswith("Forbidden"):
            hint = "; log in (gcloud auth application-default login), or have the bucket's owner let you in"
        raise UserError(f"{url}: {line[:300]}{hint}") from error
