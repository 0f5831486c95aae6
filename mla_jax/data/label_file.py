"""A CSV file of labels by file name: the labels of recordings that lie in files of their own.

    filename,labels
    dog.wav,Dog;Barking
    street.wav,

Its first line names the columns; others may stand beside them. Tabs or semicolons may stand between columns
as well, if they do in the first line. A cell of `labels` holds the names, mids or
indices of classes, with `;`, `|` or, if no cell has those, commas between them; names of a class list may
have commas in them anyway. Several lines of one file add up; if all its cells are empty, it is of none of the
classes. A column `absent`, if there is one, names the classes that were looked for and not found: those in
neither cell are not known.

`mla_jax.data.entry_names` says which file a name is of.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mla_jax.data.class_list import ClassList
from mla_jax.data.class_names import ClassNames, classes_named
from mla_jax.data.entry_names import EntryNames
from mla_jax.data.labels import Labels
from mla_jax.errors import UserError

FILE_NAME = "labels.csv"
_FILE_COLUMNS = ("filename", "fname", "file", "path", "id")
_LABEL_COLUMNS = ("labels", "label", "category")
_ABSENT = "absent"
_SEPARATOR = re.compile("[;|]")
_MARKS = {"\t": "tabs", ",": "commas", ";": "semicolons"}  # what may stand between columns


class Entry(NamedTuple):
    """What the file says of a recording, in one line or several.

    Attributes:
      line: where it first says so.
      labels: the texts of the cells.
      absent: those of the column `absent`; None if there is no such column.
    """

    line: int
    labels: tuple[str, ...]
    absent: tuple[str, ...] | None


class Heard(NamedTuple):
    """What is known to be heard in a recording.

    Attributes:
      labels: the class indices, ascending.
      absent: those that are known not to be, ascending; None: all others.
    """

    labels: tuple[int, ...] = ()
    absent: tuple[int, ...] | None = None

    @property
    def says_something(self) -> bool:
        """Whether anything is known."""
        return self.absent is None or bool(self.labels or self.absent)


NONE_HEARD = Heard()


def labels_of(heard: Sequence[Heard], num_classes: int) -> Labels:
    """The same in the form that clips have."""
    labels = Labels.of_lists([one.labels for one in heard])
    if all(one.absent is None for one in heard):
        return labels
    known = np.ones((len(heard), num_classes), bool)
    for row, one in zip(known, heard, strict=True):
        if one.absent is not None:
            row[:] = False
            row[[*one.labels, *one.absent]] = True
    return labels if known.all() else labels._replace(known=known)


class LabelFile:
    """The labels of recordings, by file name.

    Attributes:
      path: the file.
      entries: by the names in it.
    """

    def __init__(self, path: Path) -> None:
        """Reads the file.

        Raises:
          UserError: it cannot be read or lacks a column, or a line has no file name or too many cells.
        """
        self.path = path
        try:
            text = path.read_text(encoding="utf-8-sig")
            first = text.partition("\n")[0]
            delimiter = next((mark for mark in _MARKS if mark in first), ",")
            rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"cannot read the labels {path}: {error}; give a CSV file") from error
        header = [name.strip().lower() for name in rows[0]] if rows else []
        file_column = self._column(header, _FILE_COLUMNS)
        label_column = self._column(header, _LABEL_COLUMNS)
        absent = header.index(_ABSENT) if _ABSENT in header else None
        self.entries: dict[str, Entry] = {}
        for line, row in enumerate(rows[1:], start=2):
            if not any(cell.strip() for cell in row):
                continue
            row += [""] * (len(header) - len(row))
            if len(row) > len(header):
                raise UserError(
                    f"{path}, line {line}: {len(row)} cells, but the first line names {len(header)} columns; "
                    f"put quotes around cells that have {_MARKS[delimiter]} in them"
                )
            name = row[file_column].strip()
            if not name:
                raise UserError(f"{path}, line {line}: there is no file name; add it")
            before = self.entries.get(name, Entry(line, (), None))
            self.entries[name] = Entry(
                before.line,
                (*before.labels, row[label_column].strip()),
                None if absent is None else (*(before.absent or ()), row[absent].strip()),
            )
        cells = (c for entry in self.entries.values() for c in entry.labels + (entry.absent or ()))
        self._has_separators = any(_SEPARATOR.search(cell) for cell in cells)
        self._names = EntryNames(self.entries)

    def _column(self, header: Sequence[str], names: Sequence[str]) -> int:
        found = [header.index(name) for name in names if name in header]
        if not found:
            raise UserError(
                f"{self.path} has the columns {', '.join(header) or 'of no kind'}; its first line must name "
                "filename and labels"
            )
        return found[0]

    def find(self, file: str, place: str = "") -> str | None:
        """The name here that is a file's, if there is one.

        Args:
          file: from the folder that all files are in.
          place: from the folder of this CSV file, where the file lies below it; else from the root.

        Raises:
          UserError: several are.
        """
        found = self._names.find(file, place)
        if len(found) > 1:
            raise UserError(
                f"{self.path}: {' and '.join(found[:2])} may both be the file {file}; give the "
                "folders of the files too"
            )
        return found[0] if found else None

    def classes(self) -> ClassList | None:
        """The classes that occur, sorted; None where all labels are indices."""
        texts = self._all_texts()
        return None if all(text.isdecimal() for text in texts) else classes_named(texts)

    def names(self) -> ClassList:
        """All labels that occur as names, sorted; numbers too.

        Raises:
          UserError: there is none.
        """
        texts = self._all_texts()
        if not texts:
            raise UserError(f"{self.path} names no label; give at least one")
        return classes_named(texts)

    def num_indices(self) -> int:
        """How many classes labels that are indices need."""
        numbers = (int(text) for text in self._all_texts() if text.isdecimal())
        return max((number + 1 for number in numbers), default=0)

    def _all_texts(self) -> set[str]:
        entries = self.entries.values()
        return {t for e in entries for t in self._split(e.labels + (e.absent or ()), None)}

    def _split(self, cells: Sequence[str], names: ClassNames | None) -> list[str]:
        return [text for cell in cells for text in self._split_cell(cell, names)]

    def _split_cell(self, cell: str, names: ClassNames | None) -> list[str]:
        """The labels in a cell; names of the class list that have commas in them stay whole."""
        if not cell or (names is not None and cell in names):
            return [cell] if cell else []
        if _SEPARATOR.search(cell) or (names is None and self._has_separators):
            return [text.strip() for text in _SEPARATOR.split(cell) if text.strip()]
        parts = [text.strip() for text in cell.split(",") if text.strip()]
        found = []
        while parts:
            joined = (", ".join(parts[:end]) for end in range(len(parts), 1, -1))
            name = next((text for text in joined if names is not None and text in names), parts[0])
            found.append(name)
            parts = parts[name.count(", ") + 1 :] if name != parts[0] else parts[1:]
        return found

    def read(self, names: Sequence[str], num_classes: int, classes: ClassList | None) -> Labels:
        """The labels of some entries, in order.

        Args:
          names: as `find` gave them.
          num_classes: K.
          classes: the classes, if labels name them.

        Raises:
          UserError: a label is no class, or is absent too.
        """
        finder = ClassNames(classes) if classes is not None else None
        return labels_of([self.heard(name, num_classes, finder) for name in names], num_classes)

    def heard(self, name: str, num_classes: int, names: ClassNames | None) -> Heard:
        """What an entry says.

        Args:
          name: as `find` gave it.
          num_classes: K.
          names: finds the classes, if labels name them.

        Raises:
          UserError: a label is no class, or is absent too.
        """
        entry = self.entries[name]
        where = f"{self.path}, line {entry.line}"

        def indices(cells: Sequence[str]) -> dict[int, str]:
            texts = self._split(cells, names)
            return {_index(text, names, num_classes, where): text for text in texts}

        labels, absent = indices(entry.labels), indices(entry.absent or ())
        if both := sorted(labels.keys() & absent.keys()):
            raise UserError(
                f"{where}: {labels[both[0]]!r} is both in the labels of {name!r} and absent; leave one out"
            )
        known = None if entry.absent is None else tuple(sorted(absent))
        return Heard(tuple(sorted(labels)), known)


class FoundLabels(NamedTuple):
    """The file of recordings' labels, and a note for the user if it lies where one may not expect it."""

    path: Path
    note: str = ""


def find_labels(labels: str, folder: Path) -> FoundLabels | None:
    """Finds the file of recordings' labels.

    Args:
      labels: the file, if it is named; else it is the `labels.csv` in `folder`, or in the folder above.
      folder: that of the recordings.
    """
    if labels:
        return FoundLabels(Path(labels))
    here, above = folder / FILE_NAME, folder.parent / FILE_NAME
    if here.is_file():
        return FoundLabels(here)
    if above.is_file():
        note = f"the labels are those of {above}, above the recordings; --labels names another file"
        return FoundLabels(above, note)
    return None


def _index(text: str, names: ClassNames | None, num_classes: int, where: str) -> int:
    may_be_index = names is None or (names.take_indices and text not in names)
    if may_be_index and text.isdecimal() and int(text) < num_classes:
        return int(text)
    if names is None:
        raise UserError(
            f"{where}: label {text!r} is no index of {num_classes} classes; give a class list"
        )
    return names.find(text, where)
