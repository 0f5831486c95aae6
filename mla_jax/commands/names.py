"""Which commands there are, read off this folder without importing any of them.

A command is a file here that has a function `main`. So a new file is a command everywhere: setup.py makes a
program of it, `mla` lists it, and the tests try it. This module imports nothing of the package, since
setup.py runs it before there is one.
"""

import ast
from pathlib import Path

HERE = Path(__file__).parent


def commands() -> dict[str, str]:
    """What each command does, the first line of its docstring, by the command's name (`prepare_data`)."""
    found = {}
    for path in sorted(HERE.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def program(command: str) -> str:
    """What the installed program of a command is called: `prepare_data` -> `mla-prepare-data`."""
    return f"mla-{command.replace('_', '-')}"


def entry_points() -> list[str]:
    """The installed programs, as setup.py declares them."""
    return [
        "mla = mla_jax.__main__:main",
        *(f"{program(name)} = mla_jax.commands.launch:{name}" for name in commands()),
    ]
