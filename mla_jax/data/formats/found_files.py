"""The files that a folder or a glob stands for, and what there is besides: nothing is passed over unsaid."""

import glob
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mla_jax.data.class_list import FILE_NAME
from mla_jax.data.skipped import SKIPPED_FILE

# What lies beside data by design: the class list, in a folder of its own too, and what was left out before.
_BESIDE = (FILE_NAME, SKIPPED_FILE, "csv")


class FoundFiles(NamedTuple):
    """What a path names.

    Attributes:
      files: in the byte order of their names; a link that leads nowhere is one of them, and cannot be read.
      passed_over: names of what is there and is not read; folders end in a slash. Hidden files are of no
        account: systems leave them beside others.
    """

    files: list[Path]
    passed_over: list[str]


def not_read(place: str, names: Sequence[str]) -> str:
    """A sentence for a person on what is passed over in a folder, or by a glob."""
    told = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
    return f"{place}: {len(names)} files or folders there are not read: {told}"


def find_files(path: str, accepts: Callable[[str], bool]) -> FoundFiles:
    """The files that a local path names: a file, a folder's of the right names, or a glob's.

    Args:
      path: the file, folder or glob.
      accepts: whether a file of a folder has a right name; of a glob every file is taken.
    """
    place = Path(path)
    if place.is_dir():
        there = [p for p in place.iterdir() if p.name not in _BESIDE and p.name[0] != "."]
        files = [p for p in there if accepts(p.name) and _is_file(p)]
    else:
        there = [place] if place.exists() else [Path(p) for p in glob.glob(path, recursive=True)]
        files = [p for p in there if _is_file(p)]
        if "**" in path:
            there = files  # folders are the way there
    rest = set(there) - set(files)
    return FoundFiles(
        sorted(files, key=os.fsencode),
        sorted(
            f"{p.name}/" if p.is_dir() else p.name
            for p in rest
            if p.name not in _BESIDE and not p.name.startswith(".")
        ),
    )


def _is_file(path: Path) -> bool:
    """Whether it is a file, or a link that was meant to lead to one."""
    return path.is_file() or (path.is_symlink() and not path.exists())
