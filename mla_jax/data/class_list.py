"""The class list: index, machine id (mid) and display name of every class.

The file is AudioSet's own `class_labels_indices.csv` (header `index,mid,display_name`, one line a class,
in index order). It is never shipped: it is given by path, or found beside the data.
"""

import csv
import dataclasses
import io
import os
from collections.abc import Sequence
from pathlib import Path

from mla_jax.errors import UserError
from mla_jax.storage import paths

FILE_NAME = "class_labels_indices.csv"
_HEADER = ["index", "mid", "display_name"]


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
            text = paths.as_path(path).read_text(encoding="utf-8-sig")
            rows = list(csv.reader(io.StringIO(text), strict=True))
        except UserError:
            raise
        except Exception as error:  # of many kinds, where the list is in a bucket
            raise UserError(
                f"cannot read the class list {path}: {error}; give the path of a {FILE_NAME}"
            ) from error
        if not rows or [name.strip() for name in rows[0]] != _HEADER:
            raise UserError(f"{path} is no class list: its first line must be {','.join(_HEADER)}")
        mids, names = [], []
        for number, row in enumerate(rows[1:]):
            if len(row) != 3 or row[0].strip() != str(number):
                raise UserError(
                    f"{path}, line {number + 2}: expected index {number}, a mid and a name, "
                    f"found {','.join(row)!r}; the classes must stand in index order without gaps"
                )
            mids.append(row[1])
            names.append(row[2])
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
            folder = paths.as_path(place) if remote else Path(os.path.abspath(place))
            for start in (folder, paths.parent(folder)):
                for candidate in (start, start / "csv") if start else ():
                    path = candidate / FILE_NAME
                    if path.is_file():
                        return cls.read(path)
        return None

    def to_csv(self) -> str:
        """The text of a `class_labels_indices.csv` that `read` reads back unchanged."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows(
            (k, mid, name) for k, (mid, name) in enumerate(zip(self.mids, self.names, strict=True))
        )
        return text.getvalue()


def resolve(class_list: str | Path, places: Sequence[str | Path]) -> ClassList | None:
    """The list at `class_list` if one is named, else the one found beside the data, else None."""
    return ClassList.read(class_list) if str(class_list) else ClassList.find(places)
