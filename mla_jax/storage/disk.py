"""What a disk can take: whether there is room, and whether it tells upper case from lower."""

import shutil
from pathlib import Path

from mla_jax.errors import UserError


def in_bytes(number: float) -> str:
    """A number of bytes for a person, in decimal units as disks have them: `2.4 GB`."""
    units = ["bytes", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1000, units[1:]
    return f"{number:,.{0 if units[0] == 'bytes' else 1}f} {units[0]}"


def require_room(folder: Path, *needs: tuple[float, str]) -> str:
    """Checks that there is room for all of `needs` together, each a number of bytes and what for.

    Returns:
      A line that states them, and what is free.

    Raises:
      UserError: there is not.
    """
    free = shutil.disk_usage(folder).free
    needed = ", ".join(f"{in_bytes(number)} {purpose}" for number, purpose in needs)
    line = f"{needed}; {in_bytes(free)} are free in {folder}"
    if sum(number for number, _ in needs) > free:
        raise UserError(f"{line}; make room, or give another folder")
    return line


def require_case(folder: Path) -> None:
    """Checks that names which differ in case alone are different files there.

    Raises:
      UserError: they are not: as on most disks of macOS and Windows.
    """
    probe = folder / ".Case"
    probe.touch()
    same = (folder / ".cASE").exists()
    probe.unlink()
    if same:
        raise UserError(
            f"the disk of {folder} does not tell upper case from lower, and the names of AudioSet's "
            "files do; give a folder on another disk"
        )
