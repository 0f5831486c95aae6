"""Objects in a bucket (`gs://`): listed, fetched, put, moved."""

import base64
import glob
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c

from mla_jax import paths
from mla_jax.bucket_access import file_system, speaking_of
from mla_jax.errors import UserError

_THREADS = 16
# Objects up to this size are fetched in one request instead of three.
_SMALL_BYTES = 8 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024


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


def find(url: str) -> list[Object]:
    """The objects that a URL names: one, those directly in a folder, or those that match a glob.

    Raises:
      UserError: the bucket cannot be read. That there is nothing is an empty list.
    """
    paths.as_path(url)
    system = file_system()
    with speaking_of(url):
        try:
            listed = (
                system.glob(url, detail=True).values()
                if glob.has_magic(url)
                else system.ls(url, detail=True)
            )
        except FileNotFoundError:
            return []
    return _objects(listed)


def find_below(url: str) -> list[Object]:
    """All objects in a folder and in the folders within it.

    Raises:
      UserError: the bucket cannot be read.
    """
    paths.as_path(url)
    with speaking_of(url):
        return _objects(file_system().find(f"{url.rstrip('/')}/", detail=True).values())


def _objects(listed: Iterable[dict[str, Any]]) -> list[Object]:
    return [
        Object(
            f"gs://{info['name']}",
            int(info["size"]),
            str(info.get("generation") or info.get("etag") or info.get("mtime")),
            info.get("crc32c", ""),
        )
        for info in listed
        # Programs that show folders mark empty ones by an object whose name ends in a slash.
        if info["type"] == "file" and not info["name"].endswith("/")
    ]


def fetch(
    objects: Sequence[tuple[Object, Path]], on_bytes: Callable[[int], None] = lambda _: None
) -> None:
    """Fetches objects to files in folders that are there, several at once.

    Args:
      objects: what to fetch, and to which files.
      on_bytes: told of bytes as they come, from any thread.

    Raises:
      UserError: one cannot be fetched, or what came is not what the bucket lists.
    """
    system = file_system()

    def one(found: Object, file: Path) -> None:
        with speaking_of(found.url):
            if found.size <= _SMALL_BYTES:
                file.write_bytes(system.cat_file(found.url))
                on_bytes(found.size)
            else:
                system.get_file(found.url, os.fspath(file), callback=_callback(on_bytes))
        if file.stat().st_size != found.size or crc32c(file) != (found.crc32c or crc32c(file)):
            raise UserError(f"{found.url} was damaged in transfer, or changed meanwhile; try again")

    _all(one, objects)


def put(files: Sequence[tuple[Path, str]]) -> None:
    """Puts files into a bucket, several at once; each appears whole, and in the place of an older one.

    Raises:
      UserError: one cannot be put.
    """
    for _, url in files:
        paths.as_path(url)
    system = file_system()

    def one(file: Path, url: str) -> None:
        with speaking_of(url):
            system.put_file(os.fspath(file), url)

    _all(one, files)


def move_below(source: str, target: str) -> None:
    """Moves all objects below `source` to below `target`, copies first.

    Raises:
      UserError: one cannot be moved.
    """
    found = find_below(source)
    system = file_system()

    def one(url: str) -> None:
        with speaking_of(url):
            system.cp_file(url, target + url.removeprefix(source))

    _all(one, [(f.url,) for f in found])
    _remove(found)


def remove_below(url: str) -> None:
    """Removes all objects below a URL.

    Raises:
      UserError: one cannot be removed.
    """
    _remove(find_below(url))


def _remove(found: Sequence[Object]) -> None:
    system = file_system()

    def one(url: str) -> None:
        with speaking_of(url):
            system.rm_file(url)

    _all(one, [(f.url,) for f in found])


def crc32c(file: Path) -> str:
    """The checksum of a file as buckets state it: base64 of four bytes, big end first."""
    checksum = google_crc32c.Checksum()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            checksum.update(block)
    return base64.b64encode(checksum.digest()).decode()


def _all(function: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> None:
    """Calls it with all of `arguments`, several at once; after an error, not with the rest."""
    with ThreadPoolExecutor(min(_THREADS, max(1, len(arguments)))) as pool:
        futures = [pool.submit(function, *each) for each in arguments]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _callback(on_bytes: Callable[[int], None]) -> Any:
    from fsspec.callbacks import Callback

    class Told(Callback):
        def relative_update(self, inc: int = 1) -> None:
            on_bytes(inc)

    return Told()
