"""What is heard in recordings: a CSV of file names and labels, matched with the files.

    filename,labels
    dog.wav,Dog
    street.wav,Car;Speech
    street.wav,Siren
    nothing.wav,

Labels are names of classes, several in one cell behind `;`, or in rows of their own; a cell without any says
that none of the classes is heard. The columns may also be called file, fname or path, and label; others
stand beside them unread.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mla_jax.data.class_list import ClassList
from mla_jax.errors import UserError
from mla_jax.recordings.inputs import Recording

SEPARATOR = ";"
_FILE_COLUMNS = ("filename", "file", "fname", "path")
_LABEL_COLUMNS = ("labels", "label")


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


def read_labels(path: str | Path) -> dict[str, list[str]]:
    """The labels by file name, each once, in the file's order.

    Raises:
      UserError: the file cannot be read, or has no such columns, or a line lacks a file name.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise UserError(f"cannot read the labels {path}: {reason}") from error
    reader = csv.reader(io.StringIO(text))
    header = [name.strip().lower() for name in next(reader, [])]
    file_column = _column(path, header, _FILE_COLUMNS)
    label_column = _column(path, header, _LABEL_COLUMNS)
    found: dict[str, list[str]] = {}
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        row += [""] * (len(header) - len(row))
        name = row[file_column].strip()
        if not name:
            raise UserError(f"{path}, line {reader.line_num}: there is no file name; add it")
        mine = found.setdefault(name, [])
        labels = (label.strip() for label in row[label_column].split(SEPARATOR))
        mine += [label for label in dict.fromkeys(labels) if label and label not in mine]
    if not found:
        raise UserError(f"{path} has no labels; give a line of file name and labels for each file")
    return found


def match_labels(
    path: str | Path, recordings: Sequence[Recording], classes: ClassList | None = None
) -> Labels:
    """The labels of recordings, from the CSV at `path`.

    A name in it is that of the recording that is called so, or else of the one whose file is called so, with
    or without its ending; folders in it that the recordings' names do not have are left out.

    Args:
      path: the CSV.
      recordings: the files.
      classes: what labels are indices of, by display name or mid; None: the names in the file, sorted.

    Raises:
      UserError: the CSV cannot be used, names a label that `classes` has not, or names none of the files.
    """
    by_name = read_labels(path)
    if classes is None:
        names = tuple(sorted({label for labels in by_name.values() for label in labels}))
        if not names:
            raise UserError(f"{path} names no label; give at least one")
        classes = ClassList(("",) * len(names), names)
    index = _class_index(classes)
    row_of = _rows(recordings)
    file_names = Counter(_file_name(name) for name in by_name)
    of: list[list[int] | None] = [None] * len(recordings)
    without_file = []
    for name, labels in by_name.items():
        row = row_of.get(PurePosixPath(name).as_posix())
        if row is None and file_names[_file_name(name)] == 1:
            row = row_of.get(_file_name(name))
        if unknown := [label for label in labels if label not in index]:
            raise UserError(
                f"{path}: {name} has the label {unknown[0]!r}, which is not one of the {len(classes)} "
                "classes; give the class list that belongs to the labels, or correct it"
            )
        if row is None:
            without_file.append(name)
        else:
            of[row] = sorted({index[label] for label in labels} | set(of[row] or ()))
    if len(without_file) == len(by_name):
        raise UserError(
            f"{path} names none of the recordings: it has {without_file[0]!r}, they are called "
            f"{recordings[0].name!r}; give the names of the files, with or without ending"
        )
    return Labels(classes, of, without_file)


def _column(path: str | Path, header: list[str], names: Iterable[str]) -> int:
    for name in names:
        if name in header:
            return header.index(name)
    raise UserError(
        f"{path} has the columns {', '.join(header) or 'of no kind'}; its first line must name filename and "
        "labels"
    )


def _class_index(classes: ClassList) -> dict[str, int]:
    """The class of each display name and mid; a display name counts first, and one of two classes not."""
    index: dict[str, int] = {}
    for names in (classes.names, classes.mids):
        for k, name in enumerate(names):
            if name and names.count(name) == 1:
                index.setdefault(name, k)
    return index


def _rows(recordings: Sequence[Recording]) -> dict[str, int]:
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
