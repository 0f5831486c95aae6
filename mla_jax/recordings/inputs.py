"""Which sound files a user names: files, folders, globs, or a list of files."""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mla_jax.data.formats.manifest import MANIFEST
from mla_jax.errors import UserError
from mla_jax.storage import paths

ENDINGS = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd"),
    *(".caf", ".w64", ".rf64", ".wave", ".sph", ".nist", ".voc", ".mp2", ".mpga"),
)
"""Names of a folder's files that are taken for sound; a file that is named itself may have any."""

LIST_ENDING = ".txt"
"""A file of this ending lists sound files, one a line."""

_TO_CONVERT = (".m4a", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wma", ".wmv", ".aac")
"""Names of files that have sound which cannot be read here."""

_OTHER_DATA = (".npy", ".npz", ".h5", ".hdf5")
_MAGIC = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff")


class Recording(NamedTuple):
    """A sound file.

    Attributes:
      path: where it is.
      name: what clips, labels and tags call it: its path within the folder that was named, with `/`; of a
        file that was named itself, the file's name.
    """

    path: Path
    name: str


class Found(NamedTuple):
    """What inputs name.

    Attributes:
      recordings: the sound files, each once.
      passed_over: files of the folders that were named whose endings are those of no sound.
    """

    recordings: list[Recording]
    passed_over: list[Path]


def find_recordings(inputs: Sequence[str]) -> Found:
    """The sound files that inputs name, in their order, those of a folder by name.

    Args:
      inputs: of each a sound file of any name; a folder, which is searched with all folders in it; a glob;
        or a `.txt` file that lists sound files, one a line, relative to the list's folder. A link that leads
        nowhere is taken, so that it will be missed.

    Raises:
      UserError: an input names no sound file, or two files would have the same name.
    """
    recordings: dict[Path, Recording] = {}
    passed_over: list[Path] = []
    for given in inputs:
        found = _one_input(given, passed_over)
        if not found and (others := [path for path in passed_over if _is_to_convert(path)]):
            raise UserError(
                f"{given} names no sound file that can be read; take the sound out of {others[0].name} "
                "and its like first: ffmpeg -i FILE -vn FILE.wav"
            )
        if not found:
            raise UserError(
                f"{given} names no sound file; give a file, a folder or glob of files that end in "
                f"{', '.join(ENDINGS[:4])}, ..., or a {LIST_ENDING} file that lists them"
            )
        for recording in found:
            recordings.setdefault(Path(os.path.abspath(recording.path)), recording)
    _require_names(recordings.values())
    return Found(list(recordings.values()), passed_over)


def names_sound(given: str) -> bool:
    """Whether an input of a program that takes other data too names recordings."""
    if paths.is_remote(given):
        return _is_sound_name(given)
    place = paths.as_path(given)
    if glob.has_magic(given) and not place.exists():
        return any(_is_sound_name(name) for name in glob.iglob(given, recursive=True))
    if place.is_dir():
        if any(map(_is_other_data, place.iterdir())):
            return False
        return any(_is_sound_name(path) or _is_to_convert(path) for path in _files(place))
    if place.suffix.lower() == LIST_ENDING or _is_sound_name(given) or _is_to_convert(place):
        return True
    if not place.is_file():  # a pipe would wait
        return False
    try:
        with place.open("rb") as file:
            return file.read(4).startswith(_MAGIC)
    except OSError:
        return False


def _is_other_data(file: Path) -> bool:
    return file.name == MANIFEST or ".tfrecord" in file.name or file.suffix.lower() in _OTHER_DATA


def _is_sound_name(name: str | Path) -> bool:
    return os.fspath(name).lower().endswith(ENDINGS)


def _is_to_convert(path: Path) -> bool:
    return path.suffix.lower() in _TO_CONVERT


def _one_input(given: str, passed_over: list[Path]) -> list[Recording]:
    place = Path(paths.require_local(paths.expanded(given), "--data"))
    if place.is_dir():
        passed_over += [path for path in _files(place) if not _is_sound_name(path)]
        return [Recording(path, path.relative_to(place).as_posix()) for path in _walk(place)]
    if place.suffix.lower() == LIST_ENDING and place.is_file():
        return _listed(place)
    if os.path.lexists(place):
        return [Recording(place, place.name)]
    if glob.has_magic(given):
        return _matching(os.fspath(place))
    raise UserError(f"{given} does not exist; give a sound file, a folder or a glob of them")


def _files(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """All files in a folder and in its folders, by name; hidden ones are none."""
    above = (*above, os.path.realpath(folder))
    for path in sorted(folder.iterdir(), key=os.fsencode):
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            yield path
        elif os.path.realpath(path) not in above:  # else a link that leads up, and so in a circle
            yield from _files(path, above)


def _walk(folder: Path) -> Iterator[Path]:
    return (path for path in _files(folder) if _is_sound_name(path))


def _listed(file: Path) -> list[Recording]:
    try:
        lines = file.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}") from error
    entries = [Path(line.strip()) for line in lines if line.strip()]
    return [
        Recording(file.parent / entry, entry.name if entry.is_absolute() else entry.as_posix())
        for entry in entries
    ]


def _matching(pattern: str) -> list[Recording]:
    found = sorted(glob.glob(pattern, recursive=True), key=os.fsencode)
    whole = Path(pattern)
    fixed = Path(*_until_magic(whole.parts[:-1]))
    files = [Path(name) for name in found if not os.path.isdir(name)]
    return [Recording(path, path.relative_to(fixed).as_posix()) for path in files]


def _until_magic(parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        if glob.has_magic(part):
            return
        yield part


def _require_names(recordings: Iterable[Recording]) -> None:
    counts = Counter(recording.name for recording in recordings)
    doubled = [name for name, count in counts.items() if count > 1]
    if doubled:
        raise UserError(
            f"{len(doubled)} names are those of several files, such as {doubled[0]!r}; give a folder above "
            "all of them, so that each has a name of its own"
        )
