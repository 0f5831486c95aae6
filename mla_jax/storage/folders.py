"""New folders that appear only when they are complete, on a disk or in a bucket."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mla_jax.errors import UserError
from mla_jax.storage import buckets, cache, files, outputs, paths


@contextlib.contextmanager
def new_folder(folder: str | Path, *, last: str = "", alone: bool = False) -> Iterator[Path]:
    """A folder on this machine to fill; it becomes `folder` when the block ends well, and else vanishes.

    A bucket has no folders that could appear at once, and neither can an empty folder that is there, which
    may be a mount point or what a link leads to: the file `last` is put after all others, and readers must
    take a folder without it for none. What was put into a bucket is then this machine's copy of it.

    Args:
      folder: a path, or a URL; nothing is there, or an empty folder.
      last: the name of the file that makes the folder what it is.
      alone: no other process makes the same folder now, so what dead ones left of it is removed.

    Raises:
      UserError: the folder is taken or cannot be written.
    """
    path = paths.as_path(folder)
    try:
        outputs.require_new_folder(path)
        if paths.is_remote(path):
            making = _new_in_bucket(os.fspath(path), last)
        else:
            making = files.atomic_folder(path, alone=alone, last=last)
        with making as filled:
            yield filled
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise UserError(
            f"cannot write {path}: {reason}; nothing of it is kept, make room or give another output"
        ) from error


@contextlib.contextmanager
def _new_in_bucket(url: str, last: str) -> Iterator[Path]:
    cache.root().mkdir(parents=True, exist_ok=True)
    name = url.rpartition("/")[2]
    with tempfile.TemporaryDirectory(dir=cache.root(), prefix=f".{name}.") as staged:
        filled = Path(staged) / name
        filled.mkdir()
        yield filled
        try:
            buckets.put_folder(filled, url, last=last)
            cache.keep(Path(staged), url)
        except BaseException:
            with contextlib.suppress(UserError):
                buckets.remove(url)
            raise
