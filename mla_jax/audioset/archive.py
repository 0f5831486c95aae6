"""Unpacks a .tar.gz that is not trusted: whole or not at all, and nothing outside its folder.

Paths and devices that `tarfile` would refuse or quietly change (filter='data') are errors here, and so are
links of any kind, sparse files and names that come twice. `tarfile` takes a damaged header, or a file that
breaks off, for the end of the archive; here only the end mark is the end.
"""

import gzip
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from mla_jax.errors import UserError
from mla_jax.progress import Progress

# tarfile reads contents in small pieces, but a header whole, however long it is.
_LONGEST_READ = 1 << 20
MOST_MEMBERS = 100_000  # more than any release has
_BLOCK = 512


class DamagedArchiveError(UserError):
    """The archive itself is at fault, so unpacking it again will not help."""


class Unpacked(NamedTuple):
    """How many files an archive held, and their bytes."""

    files: int
    size: int


def unpack(
    archive: str | Path, folder: str | Path, *, most_bytes: int, most_members: int = MOST_MEMBERS
) -> Unpacked:
    """Unpacks a .tar.gz of files and folders into `folder`.

    Args:
      archive: the .tar.gz.
      folder: must not exist; if this fails or is interrupted, it does not exist afterwards.
      most_bytes: the most that may come out, all headers included.
      most_members: the most files and folders that it may have.

    Raises:
      DamagedArchiveError: it is no .tar.gz, is cut or damaged, is larger, or has a member that is neither a
        file nor a folder, would lie outside `folder`, or comes twice.
      UserError: it cannot be read, or `folder` cannot be written.
    """
    archive, folder = Path(archive), Path(folder)
    if not hasattr(tarfile, "data_filter"):  # Python 3.11.0 to 3.11.3
        raise UserError("this Python cannot unpack archives safely; use 3.11.4 or newer")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise _unwritable(archive, folder, error) from error
    try:
        return _unpack(archive, folder, most_bytes, most_members)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if named := _named(archive, folder, error):
            raise named from error
        raise


def _named(archive: Path, folder: Path, error: BaseException) -> UserError | None:
    """The error for the user, if this is one: damaged archives raise many kinds."""
    if isinstance(error, UserError):
        return None
    if isinstance(error, gzip.BadGzipFile | EOFError | zlib.error | tarfile.TarError):
        return DamagedArchiveError(f"{archive} is damaged: {_words(error)}")
    if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
        return DamagedArchiveError(f"{archive} has members that are in each other's way")
    if isinstance(error, OverflowError | ValueError):
        return DamagedArchiveError(f"{archive} has a member of no use: {_words(error)}")
    if isinstance(error, OSError):
        return _unwritable(archive, folder, error)
    return None


def _unwritable(archive: Path, folder: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot unpack {archive} into {folder}: {_words(error)}; nothing was kept of it, run it again "
        "when that is mended"
    )


def _unpack(archive: Path, folder: Path, most_bytes: int, most_members: int) -> Unpacked:
    files = size = 0
    with (
        Progress("unpack", -(-archive.stat().st_size // 10**6), "MB") as progress,
        open(archive, "rb") as raw,
        gzip.GzipFile(fileobj=raw) as plain,
    ):
        stream = _Bounded(archive, plain, most_bytes)
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as tar:
            for number, member in enumerate(tar):
                if number == most_members:
                    raise DamagedArchiveError(f"{archive} has more than {most_members:,} members")
                _require_harmless(archive, member, folder)
                tar.extract(member, folder, filter="data")
                files += member.isfile()
                size += member.size
                progress.update(raw.tell() // 10**6, f"{files:,} files")
        stream.require_end()
    return Unpacked(files, size)


def _require_harmless(archive: Path, member: tarfile.TarInfo, folder: Path) -> None:
    path = PurePosixPath(member.name)
    wrong = ""
    if not (member.isfile() or member.isdir()) or member.issparse():
        wrong = "is neither a plain file nor a folder"
    elif path.is_absolute() or ".." in path.parts:
        wrong = "leads out of its folder"
    elif member.isfile() and os.path.lexists(folder / path):
        wrong = "comes twice, or on a disk that does not tell upper case from lower"
    if wrong:
        raise DamagedArchiveError(
            f"{archive} is not safe to unpack: {member.name!r} {wrong}; nothing was kept"
        )


class _Bounded:
    """A stream that is read forwards only, up to a limit, in pieces that fit into memory."""

    def __init__(self, archive: Path, stream: gzip.GzipFile, most_bytes: int) -> None:
        self._archive, self._stream, self._most = archive, stream, most_bytes
        self._position = 0
        self._last = b""

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        if size > _LONGEST_READ:
            raise DamagedArchiveError(f"{self._archive} is damaged: a header of {size:,} bytes")
        self._last = self._stream.read(size)
        self._position += len(self._last)
        if self._position > self._most:
            raise DamagedArchiveError(
                f"{self._archive} holds more than the {self._most:,} bytes that are taken from an "
                "archive of its size; nothing was kept"
            )
        return self._last

    def seek(self, position: int) -> None:
        while self._position < position and self.read(min(position - self._position, 1 << 14)):
            pass

    def require_end(self) -> None:
        """Checks that tarfile stopped at the end mark; reads the rest, so that gzip checks its checksum."""
        if self._last != bytes(_BLOCK):
            raise DamagedArchiveError(
                f"{self._archive} is damaged: it breaks off after {self._position:,} bytes, unpacked"
            )
        while self.read(1 << 14):
            pass


def _words(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
