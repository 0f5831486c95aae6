"""The class list: index, machine id (mid) and display name of every class.

The file is AudioSet's own `class_labels_indices.csv` (header `index,mid,display_name`, one line a class, in
index order), or of a form that `class_list_forms` lists. It is never shipped: it is given by path, or one of
that name is found beside the data.
"""

import csv
import dataclasses
import io
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mla_jax.data.class_list_forms import HEADER, FormError, parse
from mla_jax.errors import UserError
from mla_jax.storage import files, paths

FILE_NAME = "class_labels_indices.csv"


@dataclasses.dataclass(frozen=True)
class ClassList:
    """The classes in index order.

    Attributes:
      mids: [num_classes] machine ids such as `/m/09x0r`; empty strings where there are none.
      names: [num_classes] display names such as `Speech`.
    """

    mids: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def require_same(self, other: "ClassList", where: str) -> None:
        """Checks that another list has these classes in this order: the one check for two lists that meet.

        Classes are compared by mid and by name. What is empty or only counts the classes, and mids that
        stand for several classes, say nothing: there, the two are not compared, unless both have the same
        values in another order.

        Args:
          other: the other list.
          where: what it belongs to, for the message, such as "the class list beside packed/eval".

        Raises:
          UserError: it has other classes, or another order; class indices would be mixed up.
        """
        if len(self) != len(other):
            alone = [
                n for n in (*other.names, *self.names) if (n in self.names) != (n in other.names)
            ]
            named = alone and not (self.is_numbered() or other.is_numbered())
            told = f" ({alone[0]!r} is in one of them alone)" if named else ""
            raise UserError(
                f"{where} has {len(other)} classes, but {len(self)} are in use{told}; give data of the same "
                "classes (of sound: mla-embed --class_list)"
            )
        differ = sorted(
            {
                k
                for ours, theirs, distinct in (
                    (self.mids, other.mids, True),
                    (self.names, other.names, False),
                )
                for k in _differences(ours, theirs, distinct=distinct)
            }
        )
        if differ:
            k = differ[0]
            raise UserError(
                f"{where} is another: class {k} is {other.describe(k)} there, but {self.describe(k)} in use "
                f"({len(differ)} of {len(self)} classes differ), so class indices would be mixed up; give "
                "what is of the same classes in the same order"
            )

    def describe(self, k: int) -> str:
        """Names class `k` in a message."""
        return f"{self.names[k]!r} ({self.mids[k]})" if self.mids[k] else repr(self.names[k])

    def is_numbered(self) -> bool:
        """Whether it only counts the classes, so that it says of none which it is."""
        return not any(_identity(self.mids, distinct=True)) and not any(_identity(self.names))

    def doubled(self) -> str:
        """Which names or mids stand for several classes, in words; empty if none does."""
        for what, values in (("name", self.names), ("mid", self.mids)):
            counts = Counter(value.strip() for value in values if value.strip())
            twice = [value for value, count in counts.items() if count > 1]
            if twice:
                rows = [k for k, value in enumerate(values) if value.strip() == twice[0]]
                more = f", and so for {len(twice) - 1} more" if len(twice) > 1 else ""
                return (
                    f"classes {', '.join(map(str, rows))} have the same {what} {twice[0]!r}{more}"
                )
        return ""

    def told_apart_by_capitals(self) -> str:
        """Which two names only capital letters tell apart, in words; empty if there are none."""
        by_letters: dict[str, str] = {}
        for name in self.names:
            if (other := by_letters.setdefault(name.strip().casefold(), name)) != name:
                return f"{other!r} and {name!r} are two classes; if they are one, write both alike"
        return ""

    @property
    def shown_names(self) -> tuple[str, ...]:
        """[num_classes] names for a person to read: a class whose name is its own index is `class 3`."""
        return tuple(f"class {k}" if name == str(k) else name for k, name in enumerate(self.names))

    @classmethod
    def numbered(cls, num_classes: int) -> "ClassList":
        """A list for data that came without one: every class is shown by its index."""
        return cls(mids=("",) * num_classes, names=tuple(str(k) for k in range(num_classes)))

    @classmethod
    def read(cls, path: str | Path) -> "ClassList":
        """Reads a class list.

        Raises:
          UserError: the file is missing, is not such a list, or its indices are not 0, 1, 2, ...
        """
        try:
            # Some editors write a byte-order mark.
            mids, names = parse(paths.as_path(path).read_text(encoding="utf-8-sig"))
        except UserError:
            raise
        except FormError as error:
            raise UserError(f"{path}{error}") from error
        except Exception as error:  # of many kinds, where the list is in a bucket
            raise UserError(
                f"cannot read the class list {path}: {error}; give the path of a {FILE_NAME}"
            ) from error
        if not names:
            raise UserError(f"{path} lists no class; it needs one line for each")
        return cls(mids=tuple(mids), names=tuple(names))

    @classmethod
    def find(cls, places: Sequence[str | Path]) -> "ClassList | None":
        """The first class list beside the data.

        Looks in each folder of `places`, then in its parent, and in the folder `csv` of either.
        """
        for place in places:
            # "." has a parent too; a bucket has none.
            remote = paths.is_remote(place)
            folder = (
                paths.as_path(place) if remote else Path(os.path.abspath(paths.expanded(place)))
            )
            for start in (folder, paths.parent(folder)):
                for candidate in (start, start / "csv") if start else ():
                    path = candidate / FILE_NAME
                    # A link that leads nowhere is one that was meant to be there.
                    if path.is_file() or (not remote and path.is_symlink()):
                        return cls.read(path)
        return None

    def to_csv(self) -> str:
        """The text of a `class_labels_indices.csv` that `read` reads back unchanged."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(
            (k, mid, name) for k, (mid, name) in enumerate(zip(self.mids, self.names, strict=True))
        )
        return text.getvalue()


def write_class_list(classes: ClassList, folder: Path) -> None:
    """Writes the class list of records into their folder, which may have the same list already.

    Raises:
      UserError: another list is there, or it cannot be written.
    """
    path = folder / FILE_NAME
    if path.exists():
        classes.require_same(ClassList.read(path), f"the class list {path}")
    else:
        files.write_text(path, classes.to_csv())


def one_list(lists: Mapping[str, ClassList]) -> ClassList:
    """The list of all of these, by what each belongs to: the first that names classes, if one does.

    Raises:
      UserError: two of them are of other classes.
    """
    for (_, first), (name, other) in itertools.combinations(lists.items(), 2):
        first.require_same(other, name)
    return next(
        (one for one in lists.values() if not one.is_numbered()), next(iter(lists.values()))
    )


def _differences(ours: Sequence[str], theirs: Sequence[str], *, distinct: bool) -> Iterator[int]:
    """The classes of which two lists say different things."""
    reordered = sorted(ours) == sorted(theirs)
    if not (reordered or (not distinct and _are_numbers(ours, theirs))):
        ours, theirs = _identity(ours, distinct=distinct), _identity(theirs, distinct=distinct)
    for k, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a != b and (reordered or (a and b)):
            yield k


def _are_numbers(*lists: Sequence[str]) -> bool:
    """Whether names are numbers that do more than count: beside 0, 1, 3 also 0, 1, 2 names classes."""
    numbers = all(value.strip().isdecimal() for values in lists for value in values)
    return numbers and any(any(_identity(values)) for values in lists)


def _identity(values: Sequence[str], *, distinct: bool = False) -> list[str]:
    """What each value says of its class; empty where it says nothing.

    Values that only count the classes, from 0 or from 1, say nothing; with `distinct`, neither do those that
    stand more than once.
    """
    values = [" ".join(value.split()) for value in values]
    if any(all(v in ("", str(k + first)) for k, v in enumerate(values)) for first in (0, 1)):
        return [""] * len(values)
    counts = Counter(values)
    return ["" if distinct and counts[value] > 1 else value for value in values]


def resolve(class_list: str | Path, places: Sequence[str | Path]) -> ClassList | None:
    """The list at `class_list` if one is named, else the one found beside the data, else None."""
    return ClassList.read(class_list) if str(class_list) else ClassList.find(places)
