"""Markdown tables, and putting them between the markers of a file."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mla_jax.errors import UserError
from mla_jax.storage import files, paths


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of rows with the same keys; floats have three decimals, None is a dash."""

    def show(value: Any) -> str:
        if value is None:
            return "-"
        return f"{value:.3f}" if isinstance(value, float) else f"{value}"

    names = list(rows[0])
    cells = [names, *([show(row[name]) for name in names] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def update_markdown(path: str | Path, name: str, text: str) -> None:
    """Puts `text` between the markers `<!-- name -->` and `<!-- /name -->` of a file.

    Nothing else of the file changes: neither its line ends, nor bytes that are not UTF-8.

    Raises:
      UserError: there is no such file, it has no such markers, or it cannot be written.
    """
    old = _read(path)
    pattern = rf"(<!-- {re.escape(name)} -->(\r?\n)).*?(<!-- /{re.escape(name)} -->)"

    def between(markers: re.Match[str]) -> str:
        return markers[1] + f"{text}\n".replace("\n", markers[2]) + markers[3]

    new, count = re.subn(pattern, between, old, flags=re.DOTALL)
    if count == 0:
        raise UserError(f"{path} has no <!-- {name} --> ... <!-- /{name} --> to put the table in")
    with files.replacing(path, binary=True) as file:
        file.write(new.encode("utf-8", "surrogateescape"))


def has_markers(path: str | Path, name: str) -> bool:
    """Whether a file has a place for what is called `name`."""
    return f"<!-- {name} -->" in _read(path)


def _read(path: str | Path) -> str:
    place = paths.as_path(path)
    if not place.is_file():
        raise UserError(f"{path} does not exist; give a Markdown file with the markers in it")
    return place.read_bytes().decode("utf-8", "surrogateescape")
