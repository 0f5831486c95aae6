"""The forms in which strong labels lie in files: text with tabs, or else commas, between the cells.

- DCASE's, of which the first line names the columns `filename`, `onset`, `offset` and `event_label`;
- AudioSet-Strong's, with `segment_id`, `start_time_seconds`, `end_time_seconds` and `label`;
- lines of onset, offset and label without such a first line, the events of one recording, which is called as
  the file; and Audacity's label tracks, which are the same;
- lines of file name, onset, offset and label without such a first line.

Times are seconds from the start of the recording.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mla_jax.data.formats.found_files import FoundFiles, find_files
from mla_jax.errors import UserError

COLUMNS = ("filename", "onset", "offset", "event_label")
SUFFIXES = (".txt", ".tsv", ".csv", ".ann", ".lab")
"""What the files of a folder are called that are read."""

_ALIASES = {
    "segment_id": "filename",
    "start_time_seconds": "onset",
    "end_time_seconds": "offset",
    "label": "event_label",
}
# What float() takes beyond this (1_000, nan, inf, digits of other scripts) is no time.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_FREQUENCIES = "\\"  # how Audacity begins a line about the label before


class Row(NamedTuple):
    """A line of a file.

    Attributes:
      where: file and line, for a message.
      recording: the name of the recording.
      event: the texts of onset, offset and label; all empty where nothing sounds.
    """

    where: str
    recording: str
    event: tuple[str, str, str]


def find_lists(path: Path) -> FoundFiles:
    """The file itself, or a folder's files of strong labels, and what else is there.

    Raises:
      UserError: a folder has none.
    """
    if not path.is_dir():
        return FoundFiles([path], [])
    found = find_files(str(path), lambda name: Path(name).suffix.lower() in SUFFIXES)
    if not found.files:
        raise UserError(f"{path} has no file of strong labels, such as *{', *'.join(SUFFIXES)}")
    return found


def read_rows(path: Path, *, may_be_empty: bool) -> Iterator[Row]:
    """The lines of a file.

    Args:
      path: the file.
      may_be_empty: whether an empty one is a recording in which nothing sounds, called as the file.

    Raises:
      UserError: it cannot be read, is empty or in none of the forms.
    """
    lines = _lines(path)
    if may_be_empty and not any(line.strip() for line in lines):
        yield Row(f"{path}", path.stem, ("", "", ""))
        return
    delimiter = "\t" if "\t" in lines[0] or "," not in lines[0] else ","
    first = _cells(lines[0], delimiter)
    columns: Sequence[str] = _columns_without_header(first)
    start = 0
    if not columns:
        columns, start = _columns(path, first), 1
    for number, line in enumerate(lines[start:], start=start + 1):
        if not line.strip("\r ") or (not start and line.startswith(_FREQUENCIES)):
            continue
        where, cells = f"{path}, line {number}", _cells(line, delimiter)
        if len(cells) > len(columns):
            what = "the first line names" if start else "the first line has"
            raise UserError(
                f"{where}: {len(cells)} cells, but {what} {len(columns)} columns; put one tab between two "
                "cells"
            )
        row = dict(zip(columns, cells + [""] * (len(columns) - len(cells)), strict=True))
        event = (row["onset"], row["offset"], row["event_label"])
        name = row.get("filename", path.stem)
        if not name:
            raise UserError(f"{where}: no file name; give one in the column filename")
        yield Row(where, name, event)


def _lines(path: Path) -> list[str]:
    try:
        # A byte-order mark is dropped, and \r\n is \n.
        return path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read the strong labels {path}: {error}; give a tab-separated text file"
        ) from error


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter == "\t":
        return [cell.strip() for cell in line.split("\t")]
    return [cell.strip() for cell in next(csv.reader([line]), [])]


def _columns_without_header(first: Sequence[str]) -> Sequence[str]:
    """The columns of a file whose first line is an event; empty if it is none."""
    for columns in (COLUMNS[1:], COLUMNS):
        times = [NUMBER.fullmatch(cell) for cell in first[len(columns) - 3 : len(columns) - 1]]
        if len(first) == len(columns) and all(times):
            return columns
    return ()


def _columns(path: Path, header: Sequence[str]) -> list[str]:
    columns = [_ALIASES.get(name, name) for name in header]
    if not any(columns):
        raise UserError(f"{path} is empty; its first line must be {', '.join(COLUMNS)}, with tabs")
    for name in COLUMNS:
        if columns.count(name) != 1:
            what = "no column" if name not in columns else "more than one column"
            raise UserError(
                f"{path}, line 1: {what} {name}; the first line must name the columns "
                f"{', '.join(COLUMNS)}, with tabs between them, or be an event: onset, offset and label"
            )
    return columns
