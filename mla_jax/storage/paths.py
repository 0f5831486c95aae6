"""Paths that are local or in a bucket: `gs://BUCKET/...` is taken wherever a path is.

Importing this is cheap, and of local paths nothing is asked: the storage client is imported when the first
URL is met.
"""

import os
import re
import shutil
from pathlib import Path

from mla_jax.errors import UserError
from mla_jax.storage import buckets

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]+(/|$)")


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is in a bucket, a `gs://` URL.

    Raises:
      UserError: it is a URL of another kind, or one without a bucket.
    """
    text = os.fspath(path)
    scheme = _SCHEME.match(text)
    if scheme is None:
        if text.startswith("gs:/"):
            raise UserError(
                f"{text} is no URL: pathlib.Path takes one of its slashes; give gs://BUCKET/... as a string"
            )
        return False
    if scheme[1] != "gs":
        raise UserError(
            f"{text}: {scheme[1]}:// is not supported; paths are local, or gs://BUCKET/..."
        )
    if not _BUCKET.match(text):
        raise UserError(f"{text} names no bucket; give gs://BUCKET/...")
    return True


def as_path(path: str | os.PathLike[str]) -> Path:
    """A `pathlib.Path` of a local path; of a URL an `etils.epath.Path`, which has the same methods.

    A `~` at the start of a local path is the home folder.

    A bucket is asked, the first time, whether it is there and can be listed. It has no folders: one
    "exists" where an object's name begins with it, and `mkdir` makes nothing.

    Raises:
      UserError: the URL is not valid, gcsfs is not installed, or the bucket cannot be used.
    """
    return buckets.path_of(os.fspath(path)) if is_remote(path) else Path(expanded(path))


def expanded(path: str | os.PathLike[str]) -> str:
    """The path with `~` at its start as the home folder, as shells write it; a folder named so is `./~`."""
    return os.path.expanduser(os.fspath(path))


def absolute(path: str | os.PathLike[str]) -> Path:
    """The same path, independent of the current folder; a URL is so by itself."""
    return as_path(path) if is_remote(path) else as_path(path).absolute()


def resolved(path: str | os.PathLike[str]) -> Path:
    """The same path without links and dots; a URL has neither."""
    return as_path(path) if is_remote(path) else Path(os.path.realpath(expanded(path)))


def parent(path: Path) -> Path | None:
    """The folder that `path` lies in; None above a bucket."""
    if is_remote(path) and os.fspath(path.parent) in ("gs:", "gs:/", "gs://"):
        return None
    return path.parent


def require_local(path: str | os.PathLike[str], flag: str) -> str:
    """Returns `path`, which must be local: for what only works on a disk.

    Raises:
      UserError: it is a URL; the message has the `flag` that it was given for.
    """
    if is_remote(path):
        raise UserError(f"{flag}={os.fspath(path)}: this needs a local path, not one in a bucket")
    return os.fspath(path)


def is_of_bucket(error: BaseException) -> bool:
    """Whether the storage client raised an error; its exceptions share no base class."""
    home = type(error).__module__
    return home.startswith(("google.", "gcsfs.", "fsspec.", "aiohttp."))


def is_taken(folder: Path) -> bool:
    """Whether something other than an empty folder is there, if only a link that leads nowhere."""
    if not is_remote(folder) and folder.is_symlink() and not folder.exists():
        return True  # a link that leads nowhere
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def move(source: Path, target: Path) -> None:
    """Moves a folder to a place where nothing is; in a bucket object by object, so not at once."""
    if is_remote(source):
        buckets.move(os.fspath(source), os.fspath(target))
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)


def remove_folder(folder: Path) -> None:
    """Removes a folder and all that is in it."""
    if is_remote(folder):
        buckets.remove(os.fspath(folder))
    else:
        shutil.rmtree(folder)
