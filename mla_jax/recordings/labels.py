"""What is heard in recordings: a CSV of file names and labels, matched with the files.

    filename,labels
    dog.wav,Dog
    street.wav,Car;Speech
    street.wav,Siren
    nothing.wav,

`mla_jax.data.label_file` says what such a file may look like. A cell without a label says that none of the
classes is heard; where there is a column `absent`, it says nothing of those that are not in it.
"""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mla_jax.data.class_list import ClassList
from mla_jax.data.class_names import ClassNames
from mla_jax.data.entry_names import is_elsewhere
from mla_jax.data.label_file import Heard, LabelFile
from mla_jax.errors import UserError
from mla_jax.recordings.inputs import Recording


class Labels(NamedTuple):
    """Labels of recordings.

    Attributes:
      classes: the classes, in index order.
      of: [recordings] what is heard in each; None for one of which no line says anything.
      without_file: the names in the file of labels that are those of no recording.
    """

    classes: ClassList
    of: list[Heard | None]
    without_file: list[str]

    def require_all_known(self, output: str | Path) -> None:
        """Checks that all labels are known, since records have no place for those that are not.

        Raises:
          UserError: some are not.
        """
        if any(heard is not None and heard.absent is not None for heard in self.of):
            raise UserError(
                f"{output}: records have no place for labels that are not known, and the labels have a "
                "column absent; embed into a packed folder, or remove that column"
            )


def match_labels(
    path: str | Path, recordings: Sequence[Recording], classes: ClassList | None = None
) -> Labels:
    """The labels of recordings, from the CSV at `path`.

    A name in it is that of the recording that is called so, or else of the one whose file is called so, with
    or without its ending. A folder in a name must be the file's: `train/1.wav` is no file of `test`, also
    where that folder alone was named and the recording is called `1.wav`.

    Args:
      path: the CSV.
      recordings: the files.
      classes: what labels are indices of, by display name or mid; None: the names in the file, sorted.

    Raises:
      UserError: the CSV cannot be used, names a label that `classes` has not, or a label that is absent too,
        or names none of the files.
    """
    file = LabelFile(Path(path))
    if not file.entries:
        raise UserError(f"{path} has no labels; give a line of file name and labels for each file")
    if classes is None:
        classes = file.names()
    names_of = ClassNames(classes)
    row_of = _Rows(recordings).of
    of: list[Heard | None] = [None] * len(recordings)
    without_file = []
    for name in file.entries:
        row = row_of(name)
        heard = file.heard(name, len(classes), names_of)
        if row is None:
            without_file.append(name)
        elif heard.says_something:
            of[row] = _both(of[row], heard, f"{path}: {recordings[row].name}")
    if len(without_file) == len(file.entries):
        raise UserError(
            f"{path} names none of the recordings: it has {without_file[0]!r}, they are called "
            f"{recordings[0].name!r}, at {recordings[0].path}; give the names of the files, with or without "
            "folder and ending"
        )
    return Labels(classes, of, without_file)


class _Rows:
    """The recordings, to be found by the names in a file of labels."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._recordings = recordings
        self._by_name = rows_by_name(recordings)
        self._by_file: dict[str, list[int]] = {}
        for row, recording in enumerate(recordings):
            for name in {_file_name(recording.name), _stem(recording.name)}:
                self._by_file.setdefault(name, []).append(row)

    def of(self, name: str) -> int | None:
        """The row of the recording that a name is of; None if it is of none, or may be of several."""
        row = self._by_name.get(PurePosixPath(name).as_posix())
        if row is not None and self._is_there(name, row):
            return row
        rows = [r for r in self._by_file.get(_file_name(name), ()) if self._is_there(name, r)]
        return rows[0] if len(rows) == 1 else None

    def _is_there(self, name: str, row: int) -> bool:
        return not is_elsewhere(name, os.path.abspath(self._recordings[row].path))


def _both(one: Heard | None, other: Heard, where: str) -> Heard:
    """What two names of one recording say together."""
    if one is None:
        return other
    labels = {*one.labels, *other.labels}
    absent = {*(one.absent or ()), *(other.absent or ())}
    if labels & absent:
        raise UserError(f"{where} has two names there, and a label of one is absent of the other")
    known = None if other.absent is None else tuple(sorted(absent))
    return Heard(tuple(sorted(labels)), known)


def rows_by_name(recordings: Sequence[Recording]) -> dict[str, int]:
    """The row of each name that a recording may go by; a name of several is none."""
    rows: dict[str, int] = {}
    for form in (_whole, _file_name, _without_ending, _stem):
        names = [form(recording.name) for recording in recordings]
        once = {name: row for row, name in enumerate(names)}
        doubled = {name for row, name in enumerate(names) if once[name] != row}
        rows = {name: row for name, row in once.items() if name not in doubled} | rows
    return rows


def _whole(name: str) -> str:
    return name


def _file_name(name: str) -> str:
    return PurePosixPath(name).name


def _without_ending(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _stem(name: str) -> str:
    return PurePosixPath(name).stem
