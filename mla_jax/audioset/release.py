"""Downloads AudioSet's released features and lists from Google's servers into a folder.

    folder/csv/                            the class list, and the list of segments of each split
    folder/bal_train, eval, unbal_train    the records of each split
    folder/counts.json                     how many clips they have

A file or split gets its name only when it is whole. So what has its name is not fetched again, and a command
that was stopped goes on: a transfer where it broke off (`features.tar.gz.part`), unpacking from the beginning
(`.unpacking`, renamed to `.unpacked` when complete). Without `keep_archive` the archive is called
`features.tar.gz.fetched` until it is removed; a `features.tar.gz` that the user put there is used and kept.
"""

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from mla_jax.audioset import archive, transfer
from mla_jax.audioset.release_counts import count_splits, read_segment_ids, record_files
from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.errors import UserError
from mla_jax.storage.checksums import checksums
from mla_jax.storage.disk import in_bytes, require_case, require_room
from mla_jax.storage.locks import one_writer

SERVER = "https://storage.googleapis.com"
REGIONS = ("us", "eu", "asia")
PARTS = ("csv", "features")
LISTS = {
    "bal_train": "balanced_train_segments.csv",
    "eval": "eval_segments.csv",
    "unbal_train": "unbalanced_train_segments.csv",
}
"""The splits, each with its list of segments."""

ARCHIVE = "features.tar.gz"
ROOT = "audioset_v1_embeddings"
"""The folder in the archive that holds the splits."""

REPORTED_SHA256 = "cd95d500ab2422d4233cb822e25cf73033633e2068eab64d39024e85125cb760"
"""Of the archive, as someone else's program states it; not compared with the real one yet."""

# Disk space for unpacking, in archive sizes. An archive of the release's size, made of real records, took
# 1.22; one of balanced train and eval alone, whose files are small, 1.48 on a disk of 4 kB blocks.
ROOM = 1.5
_MOST = 4  # the most bytes that may come out, in archive sizes
_FETCHED = f"{ARCHIVE}.fetched"
_UNPACKING, _UNPACKED = ".unpacking", ".unpacked"

Say = Callable[[str], None]


def download_release(
    folder: str | Path,
    *,
    region: str = "us",
    base_url: str = SERVER,
    only: str = "",
    keep_archive: bool = False,
    retries: int = transfer.RETRIES,
    first_wait: float = 1.0,
    say: Say = print,
) -> list[str]:
    """Downloads into `folder` what it lacks of AudioSet's release.

    Args:
      folder: made if need be.
      region: `us`, `eu` or `asia`: which of Google's buckets.
      base_url: another server than Google's, with the same paths, bucket names included.
      only: `csv` or `features`; empty for both.
      keep_archive: keep `features.tar.gz` after unpacking.
      retries, first_wait: as `mla_jax.audioset.transfer.fetch` takes them, for each file.
      say: called with each line for the user; a warning begins with `warning:`.

    Returns:
      A line for each split that is there: its clips, and whether they are those of its list.

    Raises:
      UserError: something cannot be fetched, unpacked or written, there is not enough room, or another
        process is writing in the folder.
    """
    if region not in REGIONS or only not in ("", *PARTS):
        raise UserError(
            f"region={region!r}, only={only!r}: choose the region from {', '.join(REGIONS)}, and for "
            f"only {' or '.join(PARTS)}, or nothing"
        )
    if not base_url.startswith(("http://", "https://")):
        raise UserError(
            f"base_url={base_url!r} is no address: it must begin with http:// or https://"
        )
    folder = Path(folder)
    url = f"{base_url.rstrip('/')}/{region}_audioset/youtube_corpus/v1"
    download = _Download(folder, url, keep_archive, retries, first_wait, say)
    new = not folder.exists()
    with one_writer(folder):
        try:
            if only != "features":
                download.lists()
            if only != "csv":
                download.features()
            return count_splits(
                folder, {s: folder / "csv" / name for s, name in LISTS.items()}, say
            )
        except UserError:
            if new:
                _remove_if_empty(folder)
            raise


def _remove_if_empty(folder: Path) -> None:
    """Removes the folder if nothing came into it, so that a mistake leaves none behind."""
    if all(path.is_dir() or path.name == ".lock" for path in folder.rglob("*")):
        shutil.rmtree(folder, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class _Download:
    """The steps of a download; the fields are as `download_release` takes them."""

    folder: Path
    url: str
    keep_archive: bool
    retries: int
    first_wait: float
    say: Say

    def lists(self) -> None:
        """Fetches the class list and the lists of segments."""
        checks = {FILE_NAME: ClassList.read} | dict.fromkeys(LISTS.values(), read_segment_ids)
        for name, check in checks.items():
            path = self.folder / "csv" / name
            if path.exists():
                self.say(f"{path} is here already")
                transfer.forget(name, path)
            else:
                self.fetch(f"csv/{name}", path, check=check, room=0)

    def features(self) -> None:
        """Fetches and unpacks the archive, unless all splits are there or unpacked."""
        missing = [split for split in LISTS if not record_files(self.folder / split)]
        splits = self.folder / _UNPACKED / ROOT
        if not missing:
            self.say(f"{', '.join(LISTS)} are here already")
        elif not all((splits / split).is_dir() for split in missing):
            self.unpack(self.archive())
        for split in missing:
            try:
                os.replace(splits / split, self.folder / split)
            except OSError as error:
                raise UserError(
                    f"cannot write {self.folder / split}: {error.strerror}; remove it, and run the "
                    "command again"
                ) from error
        # All is done; if the command is stopped from here on, the next one tidies up.
        _clear(self.folder)
        fetched, kept = self.folder / _FETCHED, self.folder / ARCHIVE
        if fetched.exists() and self.keep_archive and not kept.exists():
            os.replace(fetched, kept)
        fetched.unlink(missing_ok=True)
        transfer.forget(ARCHIVE, kept)

    def archive(self) -> Path:
        """The archive: the one that is there, else fetched."""
        require_case(self.folder)
        for path in (self.folder / ARCHIVE, self.folder / _FETCHED):
            if path.exists():
                self.say(f"{path} is here already")
                sha256 = checksums(path)["sha256"]
                break
        else:
            path = self.folder / (ARCHIVE if self.keep_archive else _FETCHED)
            sha256 = self.fetch(f"features/{ARCHIVE}", path, room=ROOM).sha256
        if sha256 == REPORTED_SHA256:
            self.say(f"sha256 {sha256}, as reported for the release")
        else:
            self.say(
                f"warning: {ARCHIVE} has the sha256 {sha256}, not {REPORTED_SHA256}, which someone "
                "else reported for the release, and we could not verify"
            )
        return path

    def fetch(
        self,
        name: str,
        path: Path,
        *,
        room: float,
        check: Callable[[Path], object] = lambda path: None,
    ) -> transfer.Fetched:
        """Fetches a file, if there is room for it and, beside it, for `room` times its size."""

        def admit(size: int, missing: int) -> None:
            needs = [(missing, f"to fetch {name}"), (room * size, "or so to unpack it")]
            line = require_room(self.folder, *needs[: 2 if room else 1])
            if room:
                self.say(line)

        fetched = transfer.fetch(
            f"{self.url}/{name}",
            path,
            retries=self.retries,
            first_wait=self.first_wait,
            admit=admit,
            check=check,
            say=self.say,
        )
        agrees = f"agrees with the server's {' and '.join(fetched.checked)}"
        self.say(
            f"{name}: {in_bytes(fetched.size)}, "
            + (agrees if fetched.checked else "the server sends no checksum to compare with")
        )
        return fetched

    def unpack(self, path: Path) -> None:
        """Unpacks all splits into `.unpacking`, and renames it when they are complete."""
        _clear(self.folder)
        unpacking = self.folder / _UNPACKING
        size = path.stat().st_size
        require_room(self.folder, (ROOM * size, f"or so to unpack {path.name}"))
        try:
            archive.unpack(path, unpacking, most_bytes=_MOST * size + (1 << 26))
            for split in LISTS:
                if not record_files(unpacking / ROOT / split):
                    raise archive.DamagedArchiveError(
                        f"{path} is not AudioSet's: it has no records in {ROOT}/{split}"
                    )
        except archive.DamagedArchiveError as error:
            _clear(self.folder)
            if path.name != _FETCHED:
                raise UserError(f"{error}; remove it, and run the command again") from error
            path.unlink()
            raise UserError(f"{error}; it was thrown away, run the command again") from error
        os.replace(unpacking, self.folder / _UNPACKED)


def _clear(folder: Path) -> None:
    """Removes what was unpacked, by this command or by one that was stopped.

    The complete folder is renamed first: a removal that is stopped must not leave part of it under its name.
    """
    shutil.rmtree(folder / _UNPACKING, ignore_errors=True)
    if (folder / _UNPACKED).exists():
        os.replace(folder / _UNPACKED, folder / _UNPACKING)
        shutil.rmtree(folder / _UNPACKING, ignore_errors=True)
