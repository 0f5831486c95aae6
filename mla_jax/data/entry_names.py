"""Which file the names in a file of labels are of.

A name is that of the file that is called so but for an ending of sound or arrays. Where both have a folder,
these must be the same, or one the end of the other: `train/1.wav` is not `test/1.npy`.
"""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

# Other endings may be part of a name: dog.1 is not dog.
_ENDING = re.compile(
    "[.](npy|npz|h5|hdf5|tfrecord|csv|json|jams|txt"
    "|wav|wave|flac|ogg|oga|opus|mp3|mp2|m4a|aac|ac3|wma"
    "|aiff|aif|aifc|au|snd|caf|w64|raw|pcm|sph|amr|wv"
    "|mp4|m4v|mkv|mov|avi|webm|weba|3gp|flv|mpg|mpeg|ts)"
)


class EntryNames:
    """The names, to be found by those of files."""

    def __init__(self, names: Iterable[str]) -> None:
        """Takes the names as they stand in the file of labels."""
        self._index: dict[str, set[str]] = {}
        self._folders: set[PurePosixPath] = set()
        for name in names:
            self._folders.add(_path(name).parent)
            for key in _names_of(_path(name)):
                self._index.setdefault(key, set()).add(name)
        self._folders -= {PurePosixPath()}

    def find(self, file: str, place: str = "") -> list[str]:
        """The names that may be a file's.

        Args:
          file: from the folder that all files are in.
          place: from the folder of the file of labels, where the file lies below it; else from the root.
        """
        if place:
            found = self._names_for(place)
            if found or any(_agree(_path(place).parent, folder) for folder in self._folders):
                return found
        return self._names_for(file)

    def _names_for(self, file: str) -> list[str]:
        """Of the names that may be a file's those that share most of its folder."""
        path = _path(file)
        for key in _names_of(path):
            shared = {
                name: min(len(_path(name).parts), len(path.parts))
                for name in self._index.get(key, ())
                if _agree(_path(name).parent, path.parent)
            }
            if shared:
                return sorted(name for name in shared if shared[name] == max(shared.values()))
        return []


def is_elsewhere(name: str, place: str) -> bool:
    """Whether the folder in a name is another than that of a file at `place`."""
    return not _agree(_path(name).parent, _path(place).parent)


def _path(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _names_of(path: PurePosixPath) -> list[str]:
    """What a file may be called in its folder: as it is, or without an ending of sound or arrays."""
    return [path.name, *([path.stem] if _ENDING.fullmatch(path.suffix.lower()) else [])]


def _agree(one: PurePosixPath, other: PurePosixPath) -> bool:
    """Whether two folders may be the same: one is the end of the other, or is not said."""
    depth = min(len(one.parts), len(other.parts))
    return depth == 0 or one.parts[-depth:] == other.parts[-depth:]
