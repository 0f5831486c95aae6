"""Classes by what a person calls them: a display name or a mid."""

import difflib
from collections.abc import Iterable

from mla_jax.data.class_list import ClassList
from mla_jax.errors import UserError


def class_index(classes: ClassList) -> dict[str, list[int]]:
    """The classes that a display name or a mid may mean: one, but for what several classes are called."""
    index: dict[str, list[int]] = {}
    for k, names in enumerate(zip(classes.mids, classes.names, strict=True)):
        for name in {name.strip() for name in names} - {""}:
            index.setdefault(name, []).append(k)
    return index


class ClassNames:
    """Finds classes by what a person calls them: a display name or a mid.

    Attributes:
      take_indices: whether a number may be a class index; not where classes are called by other numbers.
    """

    def __init__(self, classes: ClassList) -> None:
        self._index, self._count = class_index(classes), len(classes)
        self.take_indices = misnumbered(classes) is None

    def __contains__(self, text: str) -> bool:
        return text in self._index

    def find(self, text: str, where: str) -> int:
        """The index of the class; `where` names the label in an error.

        Raises:
          UserError: no class or several are called so.
        """
        found = self._index.get(text.strip(), [])
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"{where}: label {text!r} may be class {found[0]} or {found[1]}; give the mid"
            )
        near = difflib.get_close_matches(text, self._index, 1)
        hint = f"did you mean {near[0]!r}?" if near else "give a class list that has it"
        raise UserError(f"{where}: label {text!r} is no class of the {self._count} in use; {hint}")


def misnumbered(classes: ClassList) -> int | None:
    """The first class that is called by a number other than its index, so that numbers may mean either."""
    numbers = enumerate(classes.names)
    return next((k for k, name in numbers if name.isdecimal() and name != str(k)), None)


def classes_named(labels: Iterable[str]) -> ClassList:
    """The class list that follows from labels given by name: each name once, sorted; there are no mids.

    Names that are all whole numbers are sorted as numbers, so that 0, 1, ..., 11 are their own indices.
    """
    names = sorted(set(labels))
    if all(name.isdecimal() for name in names):
        names.sort(key=int)
    return ClassList(("",) * len(names), tuple(names))
