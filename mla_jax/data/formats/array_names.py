"""The arrays of a file that are not read: they are said; those that look as if they mattered are refused."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mla_jax.data.formats.array_columns import NPZ_SUFFIX
from mla_jax.errors import UserError

# Of names in small letters without marks: a mask of segments says lengths, any other what labels are known.
_LENGTHS = re.compile(
    "(x|seq|sequence|clip|frame|segment|num|valid|true)?s?(len|lens|length|lengths)"
    "|(num|n|numof|numberof|valid|numvalid)(segment|frame|vector|timestep|step)s?"
    "|(segment|frame)counts?"
    "|(x|segment|frame|time|pad|padding|sequence|seq|length|attention|valid).*masks?"
)
_LABEL_MASK = re.compile(".*masks?|(is|y|label|labels)?known(labels)?")


def unread(path: str, there: Sequence[str], names: Mapping[str, str], text: str) -> list[str]:
    """The names of a file's arrays that are not read.

    Args:
      path: the file.
      there: the names of all its arrays.
      names: what is read, by name: `y`, `label_mask`, `num_segments`, ...
      text: the name of a string that an .npz may have besides.

    Raises:
      UserError: one looks like a mask of labels or like lengths, and the file has none under the right name.
    """
    if Path(path).suffix.lower() == NPZ_SUFFIX:
        there = [name for name in there if name != text]
    left = [name for name in there if name not in names]
    right = {role: name for name, role in names.items()}
    for name in left:
        role = _role_of(name)
        needed = role != "label_mask" or right["y"] in there
        if role and needed and right[role] not in there:
            raise UserError(
                f"{path} has an array {name}, which is not read; if it says {_SAYS[role]}, call it "
                f"{right[role]}; if not, give it a name without mask or length, or leave it out"
            )
    return left


_SAYS = {
    "label_mask": "which labels are known, [clips, classes] of 0 and 1",
    "num_segments": "how many segments each clip has, as whole numbers [clips]",
}


def _role_of(name: str) -> str:
    """What an array looks like by its name; empty if like nothing that matters."""
    plain = re.sub("[^a-z0-9]", "", name.lower())
    if _LENGTHS.fullmatch(plain):
        return "num_segments"
    return "label_mask" if _LABEL_MASK.fullmatch(plain) else ""
