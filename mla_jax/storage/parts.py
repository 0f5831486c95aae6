"""Long work in parts: those that are finished are kept in a folder beside the output until all is there.

So what was killed goes on where it was, and several processes can share the parts without a word to each
other: each makes its own, and the one that writes the last of them makes the output.
"""

import contextlib
import dataclasses
import glob
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from mla_jax.errors import UserError
from mla_jax.storage import files, locks, outputs, paths

ENDING = ".unfinished"
_SETTINGS = "settings.json"
_ABOUT = "about"
_LOCK = ".lock"

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Share:
    """One process of several that work on the same parts: number `number`, from 0, of `count`."""

    number: int
    count: int

    def has(self, part: int) -> bool:
        """Whether a part, by its number, is this process's own."""
        return part % self.count == self.number


class Kept(NamedTuple):
    """A finished part.

    Attributes:
      about: a JSON value.
      arrays: by name.
    """

    about: Any
    arrays: dict[str, np.ndarray]


class PartFolder:
    """The finished parts of an output.

    Attributes:
      folder: where they are kept: the output's name with `.unfinished`. It may be in a bucket.
    """

    def __init__(self, output: Path) -> None:
        self.folder = output.with_name(output.name + ENDING)
        self._settings: dict[str, Any] = {}
        self._begun = False

    def claim(self, settings: Mapping[str, Mapping[str, Any]], *, with_first: bool = False) -> None:
        """Begins the folder, or checks that what is there was begun alike.

        Args:
          settings: all that a part depends on, as JSON values by kind and name; files in their order, since
            another order makes other parts.
          with_first: begin it with the first part, so that a process that makes none leaves nothing.

        Raises:
          UserError: it was begun with others; the message says which. `write` raises it too.
        """
        self._settings = files.plain(settings)
        if self._settings_file.exists() or not with_first:
            self._begin()

    @property
    def _settings_file(self) -> Path:
        return self.folder / _SETTINGS

    def _require_same(self, ours: dict[str, Any]) -> None:
        kept = files.read_json(self._settings_file)
        with files.taken_as(self._settings_file, "of work that was begun; remove its folder"):
            differing = [
                f"{kind} {name} (was {old}, now {new})"
                for kind in ours
                for name, old, new in _differences(kept[kind], ours[kind])
            ] or [
                f"{kind} in another order" for kind in ours if list(kept[kind]) != list(ours[kind])
            ]
        if differing:
            more = f", and {len(differing) - 2} more" if len(differing) > 2 else ""
            raise UserError(
                f"{self.folder} was begun with other settings or files: {'; '.join(differing[:2])}{more}; "
                "give the same to go on, or remove that folder to begin anew"
            )

    def _begin(self) -> None:
        """Keeps the settings, or compares them with those that are kept, once."""
        if self._begun:
            return
        if self._settings_file.exists():
            self._require_same(self._settings)
        else:
            files.write_json(self._settings_file, self._settings)
        self._begun = True

    def write(self, number: int, about: Any, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps a part; it is there whole, or not at all."""
        self._begin()
        members: dict[str, Any] = {_ABOUT: np.array(json.dumps(about)), **arrays}
        with files.replacing(self._file(number), binary=True) as file:
            np.savez(file, **members)

    def read(self, number: int) -> Kept | None:
        """What is kept of a part; None if it is not there, or damaged."""
        try:
            raw = io.BytesIO(self._file(number).read_bytes())
            with np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files if name != _ABOUT}
                return Kept(json.loads(str(file[_ABOUT])), arrays)
        except Exception:  # of many kinds; what cannot be read is made again
            return None

    def require(self, number: int) -> Kept:
        """As `read`.

        Raises:
          UserError: it is not there, or damaged.
        """
        kept = self.read(number)
        if kept is None:
            raise UserError(f"{self._file(number)} is damaged or gone; give the command again")
        return kept

    def has(self, number: int) -> bool:
        """Whether a part is there."""
        return self._file(number).exists()

    def join(self, count: int, make: Callable[[], T]) -> T | None:
        """Makes the output of all parts, in the process that finds them complete, and removes them.

        Args:
          count: how many parts there are.
          make: reads them, writes the output, and returns what this is to return.

        Returns:
          None where a part is missing yet, or another process has joined them.
        """
        if not count:
            return make()
        if not self._complete(count):
            return None
        with contextlib.ExitStack() as stack:
            if not paths.is_remote(
                self.folder
            ):  # a bucket has no locks: two may make the same output
                with contextlib.suppress(FileNotFoundError):  # another has joined them
                    stack.enter_context(locks.waiting(self.folder / _LOCK))
            if not self._complete(count):
                return None
            made = make()
            self.remove()
            return made

    def _complete(self, count: int) -> bool:
        return self.folder.exists() and all(map(self.has, range(count)))

    def remove(self) -> None:
        """Removes the folder; the settings last, since parts without them might be taken for another's."""
        for part in self.folder.glob("part-*.npz"):
            part.unlink(missing_ok=True)
        paths.remove_folder(self.folder)

    def _file(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.npz"


def beside(output: str | os.PathLike[str]) -> PartFolder:
    """Where several processes keep the parts of a file that the user names.

    Raises:
      UserError: there is no place beside it, since it is a stream.
    """
    if outputs.is_stream(os.fspath(output)):
        raise UserError(
            f"{os.fspath(output)} is no file, so several processes cannot share it; give a file, or use one "
            "process"
        )
    return PartFolder(paths.absolute(output))


def state_of(file: str | os.PathLike[str]) -> list[int]:
    """What changes with a file: its size, and when it was written; nothing where there is none."""
    try:
        found = os.stat(file)
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def files_at(path: str) -> list[Path]:
    """The files that a local path names: itself, those in a folder and below, or those that match a glob."""
    if os.path.isdir(path):
        return sorted(file for file in Path(path).rglob("*") if file.is_file())
    if glob.has_magic(path) and not os.path.exists(path):
        return sorted(map(Path, glob.glob(path, recursive=True)))
    return [Path(path)]


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield name, old.get(name, "not there"), new.get(name, "not there")
