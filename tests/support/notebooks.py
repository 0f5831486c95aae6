"""Runs a notebook's code cells top to bottom in one namespace, as Jupyter does, without a kernel.

    python -m tests.support.notebooks notebook.ipynb said.json

`said.json` gets for each code cell what it printed and what its last line is worth, as text; a figure is
drawn, and said by the size of its picture. IPython's magic commands are not there: `%matplotlib inline` does
nothing, and `%pip` outside Colab is an error.
"""

import ast
import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

_MAGIC = re.compile(r"^( *)%(\w+) (.+)$", re.MULTILINE)


def code_cells(path: Path) -> list[str]:
    """The code of every code cell, magic commands as calls: `_magic("pip", f'...')`."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    # As IPython does it, names in braces stand for their values.
    return [_MAGIC.sub(lambda m: f"{m[1]}_magic({m[2]!r}, f{m[3]!r})", text) for text in sources]


def run_cell(source: str, namespace: dict[str, Any], name: str) -> dict[str, str]:
    """What one cell prints, and the value of its last line if that is an expression."""
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, name, "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
    return {"printed": printed.getvalue(), "value": "" if value is None else _shown(value)}


def _shown(value: Any) -> str:
    if hasattr(value, "savefig"):
        picture = io.BytesIO()
        value.savefig(picture, format="png")
        return f"a picture of {len(picture.getvalue())} bytes"
    return repr(value)


def _magic(command: str, arguments: str) -> None:
    if (command, arguments) != ("matplotlib", "inline"):
        raise AssertionError(f"%{command} {arguments}, outside Colab")


def main(path: Path, said: Path) -> None:
    """Runs the notebook; the first cell that fails ends it with its trace."""
    namespace: dict[str, Any] = {"__name__": "__main__", "_magic": _magic}
    cells = [
        run_cell(source, namespace, f"{path.name}, code cell {i}")
        for i, source in enumerate(code_cells(path))
    ]
    said.write_text(json.dumps(cells), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
