"""Markdown tables, and putting them between the markers of a file."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.errors import UserError
from mla_jax.storage import files, paths


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of rows with the same keys; floats have three decimals, None and NaN are a dash."""

    def show(value: Any) -> str:
        if value is None or (isinstance(value, float) and np.isnan(value)):
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

    Raises:
      UserError: there is no such file, or it has no such markers.
    """
    path = paths.as_path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist; give a Markdown file with the markers in it")
    old = path.read_text(encoding="utf-8")
    pattern = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)"
    new, count = re.subn(pattern, lambda m: m[1] + text + "\n" + m[2], old, flags=re.DOTALL)
    if count == 0:
        raise UserError(f"{path} has no <!-- {name} --> ... <!-- /{name} --> to put the table in")
    files.write_text(path, new)
