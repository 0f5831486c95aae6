"""Downloads one large file over HTTP: resumed where it broke off, checked before it gets its name.

What has arrived is in `<name>.part`, where name is the file's on the server; `<name>.part.json` describes the
whole file: address, ETag, size and checksums. A transfer is resumed only if the server still has that very
file, by its strong ETag; otherwise it begins again.
"""

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import requests

from mla_jax.audioset.http_file import (
    BrokenError,
    RemoteFile,
    UnavailableError,
    ask,
    describe,
    is_rest_of,
)
from mla_jax.errors import UserError
from mla_jax.progress import Progress
from mla_jax.storage.checksums import checksums
from mla_jax.storage.disk import in_bytes
from mla_jax.storage.files import read_json, write_json

RETRIES = 8
"""How many retries in a row may bring nothing new before `fetch` gives up."""

_LONGEST_WAIT = 60.0
_CHUNK = 1 << 14  # a connection that breaks loses less than one

Admit = Callable[[int, int], None]
Say = Callable[[str], None]


class Fetched(NamedTuple):
    """A file that has arrived whole.

    Attributes:
      size: in bytes.
      sha256: in hexadecimal.
      checked: which of `crc32c` and `md5` the server sent; the file agrees with them.
    """

    size: int
    sha256: str
    checked: tuple[str, ...]


def fetch(
    url: str,
    path: str | Path,
    *,
    retries: int = RETRIES,
    first_wait: float = 1.0,
    admit: Admit = lambda size, missing: None,
    check: Callable[[Path], object] = lambda path: None,
    say: Say = print,
) -> Fetched:
    """Downloads `url` to `path`, or goes on where an earlier call stopped.

    If the server sends checksums, as Google's do (`x-goog-hash`), the file must agree with them.

    Args:
      url: an http or https address.
      path: the file to write.
      retries: give up after so many retries in a row without a new byte; without any if at first no
        connection can be made.
      first_wait: seconds before the first retry; doubled for each further one, up to 60.
      admit: called with the file's size and the bytes still to come, if the server tells the size; raises
        UserError to refuse them.
      check: called with the path of the whole file before it gets its name; raises UserError to refuse it.
      say: called with each line for the user.

    Raises:
      UserError: there is no such file, no server can be reached, it cannot be used, the retries are spent
        (what has arrived is kept), the file disagrees with its checksum or `check` (it is deleted), or it
        cannot be written.
    """
    part = _Part(url, Path(path))
    try:
        with requests.Session() as session:
            remote = _Transfer(session, url, part, admit, say).run(retries, first_wait)
        fetched = _verify(part, remote, check)
        part.finish()
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; what has arrived is kept, run it again "
            "when that is mended"
        ) from error
    return fetched


def forget(url: str, path: str | Path) -> None:
    """Removes what an interrupted `fetch` of `url` to `path` may have left beside `path`."""
    _Part(url, Path(path)).discard()


class _Part:
    """What has arrived of a file, and the note that describes the whole file."""

    def __init__(self, url: str, target: Path) -> None:
        self.name = url.rsplit("/", 1)[-1]
        self.target = target
        self.path = target.with_name(f"{self.name}.part")
        self.note = target.with_name(f"{self.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def whole(self, url: str) -> RemoteFile | None:
        """The whole file, by the note; None if the note is missing, damaged, or of another address."""
        try:
            remote = RemoteFile(**read_json(self.note))
        except (UserError, TypeError):
            return None
        sound = isinstance(remote.size, int) and all(isinstance(v, str) for v in remote[2:])
        return remote if sound and remote.size > 0 and remote.url == url else None

    def begin(self, remote: RemoteFile) -> None:
        """Starts over with this file: no byte is ever kept beside the note of another."""
        self.discard()
        write_json(self.note, remote._asdict())

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def finish(self) -> None:
        """Gives the file its name."""
        with open(self.path, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(self.path, self.target)
        self.note.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True)
class _Transfer:
    """A download; the fields are as `fetch` takes them."""

    session: requests.Session
    url: str
    part: _Part
    admit: Admit
    say: Say

    def run(self, retries: int, first_wait: float) -> RemoteFile:
        """Tries until the part is the whole file; returns its description."""
        name, part = self.part.name, self.part
        failures, furthest, reached = 0, part.size, False
        while True:
            try:
                return self.go_on()
            except BrokenError as broken:
                reached = reached or broken.reached
                kept = "what has arrived is kept, " if part.size else ""
                if not reached:
                    raise UnavailableError(
                        f"{self.url} cannot be reached: {broken}; check the address and the network, {kept}"
                        "and run it again"
                    ) from broken
                # By the furthest byte: a server that always starts over and always breaks makes no progress.
                failures = 1 if part.size > furthest else failures + 1
                furthest = max(furthest, part.size)
                if failures > retries:
                    tries = "1 try" if failures == 1 else f"{failures} tries in a row"
                    raise UnavailableError(
                        f"{self.url}: {broken}; gave up after {tries}, {kept}run it again later"
                    ) from broken
                wait = min(max(first_wait * 2.0 ** (failures - 1), broken.wait), _LONGEST_WAIT)
                self.say(f"{name}: {broken}; retry {failures} of {retries} in {wait:.0f} s")
                time.sleep(wait)

    def go_on(self) -> RemoteFile:
        """Makes one request; raises BrokenError unless it brings the rest of the file."""
        name, part = self.part.name, self.part
        known = part.whole(self.url)
        if known is not None and part.size == known.size:
            return known
        have = part.size if known is not None and known.etag else 0
        with ask(self.session, self.url, known, have) as response:
            if response.status_code == 200:
                remote = describe(self.url, response)
                if remote.size:
                    self.admit(remote.size, remote.size - part.size)
                if part.size:
                    self.say(f"{name}: the server sends it from the beginning again")
                part.begin(remote)
            elif known is not None and is_rest_of(known, have, response):
                remote = known
                self.admit(remote.size, remote.size - have)
                self.say(f"{name}: going on from {in_bytes(have)} of {in_bytes(remote.size)}")
            else:
                part.discard()
                raise BrokenError(
                    "the server has another file now, it must come from the beginning"
                )
            return remote._replace(size=self.receive(response, remote))

    def receive(self, response: requests.Response, remote: RemoteFile) -> int:
        """Appends the body of the answer to the part; returns the size of the whole file."""
        part, done = self.part, self.part.size
        unit, name = (10**6, "MB") if remote.size >= 10**7 else (10**3, "kB")
        with (
            Progress(part.name, -(-remote.size // unit), name, start=done // unit) as progress,
            open(part.path, "ab") as file,
        ):
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress.update(-(-done // unit) if done == remote.size else done // unit)
        if not remote.size:
            return done  # a broken connection would have raised
        if done > remote.size:
            part.discard()
            raise BrokenError(f"the server sent more than the {remote.size:,} bytes it told of")
        if done < remote.size:
            raise BrokenError(f"the connection ended at {done:,} of {remote.size:,} bytes")
        return done


def _verify(part: _Part, remote: RemoteFile, check: Callable[[Path], object]) -> Fetched:
    """Compares the whole file with its checksums and `check`, and deletes it if it is wrong."""
    found = checksums(part.path)
    expected = {"crc32c": remote.crc32c, "md5": remote.md5}
    for name, value in expected.items():
        if value and found[name] != value:
            part.discard()
            raise UserError(
                f"{remote.url} did not arrive as it is on the server ({name} is {found[name]}, not "
                f"{value}); it was thrown away, run the command again"
            )
    try:
        check(part.path)
    except UserError:
        part.discard()
        raise
    return Fetched(remote.size, found["sha256"], tuple(n for n, v in expected.items() if v))
