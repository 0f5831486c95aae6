"""Strong labels (which class sounds when), read from files of many forms and written in that of DCASE.

That is tab-separated text. Its first line names the columns `filename`, `onset`, `offset` and
`event_label` (others may stand beside them); times are seconds from the start of the file:

    filename     onset   offset   event_label
    abc.wav      0.5     2.0      Speech
    silence.wav

A file in which nothing sounds has a line of its name alone; a file that has no line is unknown. Other forms
are in `event_lists`.
"""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import logging

from mla_jax.data.class_list import ClassList
from mla_jax.data.class_names import class_index
from mla_jax.data.formats.found_files import not_read
from mla_jax.errors import UserError
from mla_jax.localization.event_lists import COLUMNS, NUMBER, find_lists, read_rows
from mla_jax.storage.cache import local_copy
from mla_jax.storage.files import write_text


class Event(NamedTuple):
    """A class that sounds from `onset` to `offset`, in seconds; `label` is its index."""

    onset: float
    offset: float
    label: int


StrongLabels = Mapping[str, Sequence[Event]]
"""The events of every file, by its name; an empty list for a file in which nothing sounds."""


class ReadLabels(dict[str, list[Event]]):
    """Strong labels as they were read: the events of every file, in order.

    Attributes:
      left_out: how many events have a label that is no class, by label; they are not among the events.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left_out: dict[str, int] = {}


def read_strong_labels(path: str | Path, classes: ClassList) -> ReadLabels:
    """Reads a file of strong labels, in the file's order.

    Events of labels that are no class are left out, and counted. A warning names what is in a folder and is
    not read.

    Args:
      path: the file; or a folder of such files, of which those in the form of one recording are its events.
      classes: the classes; a label is a display name or a mid of one.

    Raises:
      UserError: the file cannot be read, is empty or lacks a column, a line has no file name, a time that
        is missing, negative or not a number, an onset behind its offset, no label or one of several classes,
        or all labels are no class; the message has the file and the line.
    """
    copy = local_copy(path)
    with copy.naming():
        place = Path(copy.path)
        found = find_lists(place)
        if found.passed_over:
            logging.warning("%s", not_read(copy.url, found.passed_over))
        return _read(place, found.files, classes)


def _read(path: Path, files: Sequence[Path], classes: ClassList) -> ReadLabels:
    index = class_index(classes)
    events, unknown = ReadLabels(), ""
    is_folder = path.is_dir()
    rows = (row for file in files for row in read_rows(file, may_be_empty=is_folder))
    for where, name, event in rows:
        events.setdefault(name, [])
        label = event[-1]
        if label and label not in index:
            unknown = unknown or f"{where}: {_not_known(label, index)}"
            events.left_out[label] = events.left_out.get(label, 0) + 1
        elif any(event):
            events[name].append(_parse_event(where, *event, index=index))
    if not events:
        raise UserError(f"{path} lists no file; give a line for each, even if nothing sounds in it")
    if unknown and not any(events.values()):
        raise UserError(f"{unknown}; nor is any other label in this file")
    return events


def _parse_event(
    where: str, onset: str, offset: str, label: str, *, index: Mapping[str, list[int]]
) -> Event:
    times = []
    for column, text in (("onset", onset), ("offset", offset)):
        if not NUMBER.fullmatch(text):
            raise UserError(
                f"{where}: {column} {text!r} is not a number; give seconds, such as 1.5, or leave all "
                "three cells of a file without events empty"
            )
        times.append(float(text))
    _require_times(where, *times)
    found = index.get(label, [])
    if len(found) == 1:
        return Event(times[0], times[1], found[0])
    if found:
        raise UserError(
            f"{where}: event_label {label!r} may be class {found[0]} or {found[1]}; give the mid"
        )
    raise UserError(f"{where}: {_not_known(label, index)}")


def _not_known(label: str, index: Mapping[str, list[int]]) -> str:
    near = difflib.get_close_matches(label, index, 1)
    hint = f"did you mean {near[0]!r}?" if near else "give a name or mid of the class list"
    return f"event_label {label!r} is not known; {hint}"


def _require_times(where: str, onset: float, offset: float) -> None:
    for column, time in (("onset", onset), ("offset", offset)):
        if not 0 <= time < math.inf:
            raise UserError(
                f"{where}: {column} {time:.15g} is not valid; give seconds from the start of the file, 0 "
                "or more"
            )
    if onset > offset:
        raise UserError(
            f"{where}: onset {onset:.15g} is behind offset {offset:.15g}; are the columns swapped?"
        )


def write_strong_labels(path: str | Path, events: StrongLabels, classes: ClassList) -> None:
    """Writes a file that `read_strong_labels` reads back unchanged; labels are written by name.

    Args:
      path: the file; it is replaced in one move.
      events: the events of every file, by its name.
      classes: the names of the labels.

    Raises:
      UserError: there is no file, a name cannot stand in such a file or is that of several classes, a time
        is not valid, or the file cannot be written.
    """
    if not events:
        raise UserError(f"there are no files to write to {path}; give at least one")
    index = class_index(classes)
    lines = ["\t".join(COLUMNS)]
    for name, rows in events.items():
        if not name or name != name.strip() or re.search(r"[\t\n\r]", name):
            raise UserError(
                f"the file name {name!r} cannot stand in {path}; leave out tabs, line breaks and space "
                "around it"
            )
        for onset, offset, label in rows:
            _require_times(f"{path}, {name}", onset, offset)
            text = classes.names[label].strip() if 0 <= label < len(classes) else ""
            if index.get(text) != [label] or re.search(r"[\t\n\r]", text):
                raise UserError(
                    f"{path}, {name}: class {label} has no name of its own that can stand in such a "
                    f"file; give it one in the list of the {len(classes)} classes"
                )
            lines.append(f"{name}\t{float(onset)!r}\t{float(offset)!r}\t{text}")
        if not rows:
            lines.append(f"{name}\t\t\t")
    write_text(path, "\n".join(lines) + "\n")
