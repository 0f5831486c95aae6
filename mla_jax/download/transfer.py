"""One large file over HTTP: resumed where it broke off, checked before it gets its name.

What has arrived lies in `<name>.part`, by the file's name on the server; `<name>.part.json` says of which
file it is a part: address, ETag, size and checksums. A transfer goes on only with that very file: by
If-Range, and by what the answer says. Without a strong ETag nobody can tell whether it is that file, and
the transfer begins anew.
"""

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import requests

from mla_jax.download.checksums import checksums
from mla_jax.download.disk import in_bytes
from mla_jax.download.http_file import BrokenError, RemoteFile, ask, describe, is_rest_of
from mla_jax.errors import UserError
from mla_jax.files import read_json, write_json
from mla_jax.progress import Progress

RETRIES = 8
"""How many retries in a row may bring nothing new before `fetch` gives up."""

_LONGEST_WAIT = 60.0
_CHUNK = 1 << 14  # a connection that breaks loses less than one

Admit = Callable[[int, int], None]
Say = Callable[[str], None]


class Fetched(NamedTuple):
    """A file that is whole.

    Attributes:
      size: in bytes.
      sha256: in hexadecimal.
      checked: which of the server's own checksums it agrees with: `crc32c`, `md5`, both, none.
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
    """Fetches `url` into `path`, or goes on with what an earlier call left of it.

    Google's servers send checksums (`x-goog-hash`); where there are any, the file must agree with them.

    Args:
      url: an http or https address.
      path: where the file goes when it is whole.
      retries: how many retries in a row may bring nothing new.
      first_wait: seconds before the first retry; doubled for each next one, up to 60.
      admit: called with the file's size and how many bytes more it will take here, if the server tells;
        raises where they must not come.
      check: called with the path of the whole file before it gets its name; raises if it is a wrong one.
      say: takes a line for the user.

    Raises:
      UserError: there is no such file, the server cannot be used, the tries are spent (what has arrived
        is kept), the file does not agree with its checksum or with `check` (it is thrown away), or it
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
    """Removes what a `fetch` of `url` into `path` that was stopped may have left, but not `path`."""
    _Part(url, Path(path)).discard()


class _Part:
    """What has arrived of a file, and the note that says of which."""

    def __init__(self, url: str, target: Path) -> None:
        self.name = url.rsplit("/", 1)[-1]
        self.target = target
        self.path = target.with_name(f"{self.name}.part")
        self.note = target.with_name(f"{self.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def whole(self, url: str) -> RemoteFile | None:
        """The file that it is a part of; None if that is not known, or is not the one at `url`."""
        try:
            remote = RemoteFile(**read_json(self.note))
        except (UserError, TypeError):
            return None
        sound = isinstance(remote.size, int) and all(isinstance(v, str) for v in remote[2:])
        return remote if sound and remote.size > 0 and remote.url == url else None

    def begin(self, remote: RemoteFile) -> None:
        """Begins anew. No byte ever lies beside the note of another file."""
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
    """A file on its way; the fields are as `fetch` takes them."""

    session: requests.Session
    url: str
    part: _Part
    admit: Admit
    say: Say

    def run(self, retries: int, first_wait: float) -> RemoteFile:
        """Tries until the part is the whole file."""
        name, part = self.part.name, self.part
        failures, furthest = 0, part.size
        while True:
            try:
                return self.go_on()
            except BrokenError as broken:
                # Not `part.size > 0`: a server that always begins anew and always breaks brings nothing new.
                failures = 1 if part.size > furthest else failures + 1
                furthest = max(furthest, part.size)
                if failures > retries:
                    tries = "1 try" if failures == 1 else f"{failures} tries in a row"
                    kept = "what has arrived is kept, " if part.size else ""
                    raise UserError(
                        f"{self.url}: {broken}; gave up after {tries}, {kept}run it again later"
                    ) from broken
                wait = min(max(first_wait * 2.0 ** (failures - 1), broken.wait), _LONGEST_WAIT)
                self.say(f"{name}: {broken}; retry {failures} of {retries} in {wait:.0f} s")
                time.sleep(wait)

    def go_on(self) -> RemoteFile:
        """One request, and what it brings; raises BrokenError if that is not the rest of the file."""
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
        """Adds the body of the answer to the part, and returns the size of the whole."""
        part, done = self.part, self.part.size
        unit, name = (10**6, "MB") if remote.size >= 10**7 else (10**3, "kB")
        progress = Progress(part.name, -(-remote.size // unit), name, start=done // unit)
        try:
            with open(part.path, "ab") as file:
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
                    done += len(chunk)
                    progress.update(-(-done // unit) if done == remote.size else done // unit)
        finally:
            progress.close()
        if not remote.size:
            return done  # a connection that broke would have raised
        if done > remote.size:
            part.discard()
            raise BrokenError(f"the server sent more than the {remote.size:,} bytes it told of")
        if done < remote.size:
            raise BrokenError(f"the connection ended at {done:,} of {remote.size:,} bytes")
        return done


def _verify(part: _Part, remote: RemoteFile, check: Callable[[Path], object]) -> Fetched:
    """Compares the whole file with what is known of it, and throws a wrong one away."""
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
