"""The forms in which class lists lie in files, each read as the mids and names in index order.

- AudioSet's and YAMNet's CSV, of which the first line is `index,mid,display_name`;
- FSD50K's CSV without such a line, `index,name,mid`;
- AudioSet-Strong's TSV of a mid and a name, with a first line or without;
- JSON: an object of name to index or of index to name, or an array of names.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

HEADER = ["index", "mid", "display_name"]


class FormError(ValueError):
    """Text that is no class list; the message goes behind the name of the file."""


Rows = tuple[list[str], list[str]]
"""Mids and names, [num_classes] each."""


def parse(text: str) -> Rows:
    """The classes of a file's text.

    Raises:
      FormError: it is in none of the forms, or the indices are not 0, 1, 2, ... in order.
      ValueError, csv.Error: it cannot be read at all.
    """
    if text.lstrip().startswith(("{", "[")):
        return _of_json(json.loads(text, object_pairs_hook=_without_repeats))
    # A name may have a tab in it.
    tabs = "\t" in text.lstrip().partition("\n")[0]
    rows = list(csv.reader(io.StringIO(text), delimiter="\t" if tabs else ",", strict=True))
    while rows and not any(cell.strip() for cell in rows[-1]):
        del rows[-1]
    first = [cell.strip() for cell in rows[0]] if rows else []
    if first == HEADER:
        return _numbered(rows[1:], first_line=2)
    if len(first) == 3 and first[0] == "0" and not tabs:
        return _of_fsd50k(rows)
    if len(first) == 2 and tabs:
        return _of_pairs(rows)
    raise FormError(
        f" is no class list: its first line must be {','.join(HEADER)}, unless it is JSON of names and "
        "indices, a TSV of mids and names, or a CSV of indices, names and mids"
    )


def _numbered(rows: Sequence[Sequence[str]], first_line: int) -> Rows:
    """Rows of index, mid and name."""
    mids, names = [], []
    for number, row in enumerate(rows):
        if len(row) != 3 or row[0].strip() != str(number):
            raise FormError(
                f", line {number + first_line}: expected index {number}, a mid and a name, found "
                f"{','.join(row)!r}; the classes must stand in index order without gaps"
            )
        mids.append(row[1])
        names.append(row[2])
    return mids, names


def _of_fsd50k(rows: Sequence[Sequence[str]]) -> Rows:
    names, mids = _numbered(rows, first_line=1)
    if not all(_is_mid(mid) for mid in mids):
        raise FormError(
            f" is no class list: without a first line {','.join(HEADER)} it must have lines of index, name "
            "and mid, such as 0,Accordion,/m/0mkg"
        )
    return mids, names


def _of_pairs(rows: Sequence[Sequence[str]]) -> Rows:
    """Rows of mid and name, or of name and mid."""
    if not any(_is_mid(cell) for cell in rows[0]):
        rows = rows[1:]
    for swap in (False, True):
        pairs = [tuple(cell.strip() for cell in (row[::-1] if swap else row)) for row in rows]
        if pairs and all(len(pair) == 2 and _is_mid(pair[0]) and pair[1] for pair in pairs):
            return [mid for mid, _ in pairs], [name for _, name in pairs]
    raise FormError(
        " is no class list: each line must have a mid such as /m/09x0r, a tab and a name"
    )


def _of_json(values: Any) -> Rows:
    if isinstance(values, Mapping) and all(key.isdecimal() for key in values):
        values = {name: int(key) for key, name in values.items() if isinstance(name, str)}
    if isinstance(values, Mapping):
        if sorted(v if type(v) is int else -1 for v in values.values()) != list(range(len(values))):
            raise FormError(
                " is no class list: its values must be the indices 0, 1, 2, ... of its names, each once"
            )
        values = sorted(values, key=lambda name: values[name])
    if not all(isinstance(name, str) for name in values):
        raise FormError(
            " is no class list: JSON must be an object of names and indices, or an array of names"
        )
    return [""] * len(values), list(values)


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise FormError(" is no class list: it has a name twice")
    return dict(pairs)


def _is_mid(text: str) -> bool:
    return text.strip().startswith("/")
