"""What is heard in recordings: a CSV of file names and labels, matched with the files.

    filename,labels
    dog.wav,Dog
    street.wav,Car;Speech
    street.wav,Siren
    nothing.wav,

`mla_jax.data.label_file` says what such a file may look like. A cell without a label says that none of the
classes is heard.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mla_jax.data.class_list import ClassList
from mla_jax.data.class_names import ClassNames, classes_named
from mla_jax.data.entry_names import is_elsewhere
from mla_jax.data.label_file import LabelFile
from mla_jax.errors import UserError
from mla_jax.recordings.inputs import Recording


class Labels(NamedTuple):
    """Labels of recordings.

    Attributes:
      classes: the classes, in index order.
      of: [recordings] the class indices of each, ascending; None for one that no line names.
      without_file: the names in the file of labels that are those of no recording.
    """

    classes: ClassList
    of: list[list[int] | None]
    without_file: list[str]


def read_labels(path: str | Path, classes: ClassList | None = None) -> dict[str, list[str]]:
    """The labels by file name, each once, in the file's order.

    Args:
      path: the CSV.
      classes: the classes, of which names may have commas in them.

    Raises:
      UserError: the file cannot be read, has no such columns or says that labels are not known, or a line
        lacks a file name.
    """
    file = LabelFile(Path(path))
    if not file.entries:
        raise UserError(f"{path} has no labels; give a line of file name and labels for each file")
    if any(entry.absent is not None for entry in file.entries.values()):
        raise UserError(
            f"{path} has the column absent, which says that some labels are not known; clips of sound cannot "
            "keep that yet: remove the column, and every label that is not given counts as absent"
        )
    names = None if classes is None else ClassNames(classes)
    return {name: file.texts(name, names) for name in file.entries}


def match_labels(
    path: str | Path, recordings: Sequence[Recording], classes: ClassList | None = None
) -> Labels:
    """The labels of recordings, from the CSV at `path`.

    A name in it is that of the recording that is called so, or else of the one whose file is called so, with
    or without its ending, unless both have a folder and these differ (`mla_jax.data.entry_names`).

    Args:
      path: the CSV.
      recordings: the files.
      classes: what labels are indices of, by display name or mid; None: the names in the file, sorted.

    Raises:
      UserError: the CSV cannot be used, names a label that `classes` has not, or names none of the files.
    """
    by_name = read_labels(path, classes)
    if classes is None:
        classes = classes_named(label for labels in by_name.values() for label in labels)
        if not len(classes):
            raise UserError(f"{path} names no label; give at least one")
    names_of = ClassNames(classes)
    row_of = rows_by_name(recordings)
    file_names = Counter(_file_name(name) for name in by_name)
    of: list[list[int] | None] = [None] * len(recordings)
    without_file = []
    for name, labels in by_name.items():
        row = row_of.get(PurePosixPath(name).as_posix())
        if row is None and file_names[_file_name(name)] == 1:
            row = row_of.get(_file_name(name))
        if row is not None and is_elsewhere(name, recordings[row].name):
            row = None
        found = {names_of.find(label, f"{path}: {name}") for label in labels}
        if row is None:
            without_file.append(name)
        else:
            of[row] = sorted(found | set(of[row] or ()))
    if len(without_file) == len(by_name):
        raise UserError(
            f"{path} names none of the recordings: it has {without_file[0]!r}, they are called "
            f"{recordings[0].name!r}; give the names of the files, with or without ending"
        )
    return Labels(classes, of, without_file)


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
