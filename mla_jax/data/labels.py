"""Labels in the forms that people have them, turned into the class indices of each clip.

A matrix [clips, classes] of 0 and 1 (bool, whole numbers or floats; NaN, or masked in an array of `numpy.ma`,
where it is not known); one column: a class index or the name of a class for each clip, or with a single class
whether the clip has it; or for each clip a list of indices or names. Lists of bools are the rows of a matrix.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from mla_jax.data import casts
from mla_jax.data.class_list import ClassList
from mla_jax.data.class_names import ClassNames, classes_named, misnumbered
from mla_jax.errors import UserError


class Labels(NamedTuple):
    """What some clips are labelled with.

    Attributes:
      counts: [clips] int64 how many labels each has.
      ids: [labels] int64 class indices, those of one clip after those of another, ascending within each.
      known: [clips, classes] bool, of which classes it is known whether the clip has them; None: of all.
    """

    counts: np.ndarray
    ids: np.ndarray
    known: np.ndarray | None = None

    @classmethod
    def none(cls, num_clips: int) -> "Labels":
        """Of clips that have none."""
        return cls(np.zeros(num_clips, np.int64), np.zeros(0, np.int64))

    @classmethod
    def of_lists(cls, lists: Sequence[Iterable[int]]) -> "Labels":
        """Of class indices for each clip.

        Raises:
          UserError: an index is no whole number of 64 bits.
        """
        try:
            rows = [sorted(operator.index(k) for k in row) for row in lists]
            ids = np.array([k for row in rows for k in row], np.int64)
        except (TypeError, OverflowError) as error:
            raise UserError(
                "labels must be a matrix of 0 and 1, or for each clip its class or a list of its class "
                "indices, whole numbers within 64 bits, or of their names"
            ) from error
        return cls(np.array([len(row) for row in rows], np.int64), ids)


def of_matrix(
    matrix: np.ndarray, mask: np.ndarray | None = None, *, name: str = "labels", first: int = 0
) -> Labels:
    """Labels of a matrix.

    Args:
      matrix: [clips, classes] of 0 and 1 in any dtype; NaN where it is not known.
      mask: [clips, classes] of 0 and 1: which entries are known. What stands in others is not looked at.
      name: of the matrix, for errors.
      first: the number of the first row, for errors.

    Raises:
      UserError: something else stands there, or the shapes differ.
    """
    if matrix.dtype.kind not in "biuf":
        raise UserError(f"{name} is of {matrix.dtype}; a label matrix must hold only 0 and 1")
    known = None
    if mask is not None:
        if mask.shape != matrix.shape:
            raise UserError(f"the mask of {name} is {list(mask.shape)}, not {list(matrix.shape)}")
        known = _ones(mask, f"the mask of {name}", first)
    if matrix.dtype.kind == "f" and (missing := np.isnan(matrix)).any():
        known = ~missing if known is None else known & ~missing
    if known is not None:
        matrix = np.where(known, matrix, 0)
    rows, ids = np.nonzero(_ones(matrix, name, first))
    if known is not None and known.all():
        known = None
    return Labels(np.bincount(rows, minlength=len(matrix)), ids, known)


def _ones(matrix: np.ndarray, name: str, first: int) -> np.ndarray:
    """Where a matrix of nothing but 0 and 1 is 1."""
    if matrix.dtype == bool:
        matrix = matrix.view(np.uint8)  # a damaged file can hold bytes that are neither
    ones = matrix == 1
    wrong = np.argwhere(~ones & (matrix != 0))
    if wrong.size:
        i, k = wrong[0].tolist()
        raise UserError(
            f"{name}: row {first + i}, column {k} is {matrix[i, k]}; it must hold only 0 and 1, 1 for the "
            "classes that a clip has"
        )
    return ones


class Column(NamedTuple):
    """Labels of one column, read as what it must be.

    Attributes:
      labels: of all clips.
      num_classes: K.
      classes: the classes that it names; None where it does not.
      note: what it was taken for, for a person.
    """

    labels: Labels
    num_classes: int
    classes: ClassList | None
    note: str


def of_column(
    column: np.ndarray,
    num_classes: int | None = None,
    classes: ClassList | None = None,
    *,
    name: str = "labels",
) -> Column:
    """Labels of a column [clips] or [clips, 1].

    Strings are names of classes. Numbers are class indices, but where there is one class only, or where
    `num_classes` is not known and the column is bool or is [clips, 1] of nothing but 0 and 1: there 1 says
    that the clip has the one class.

    Args:
      column: the labels.
      num_classes: K, if it is known.
      classes: the classes that strings name; None: those that occur.
      name: of the column, for errors.

    Raises:
      UserError: the numbers are not whole, or a name is not known.
    """
    flat = column.reshape(len(column))
    if flat.dtype.kind in "SUO":
        return _of_names(flat, classes, name)
    if flat.dtype.kind not in "biuf":
        raise UserError(
            f"{name} is of {flat.dtype}; give class indices, names of classes, or 0 and 1"
        )
    binary = flat.dtype == bool or (column.ndim == 2 and np.isin(flat, (0, 1)).all())
    if num_classes == 1 or (binary and num_classes is None):
        note = f"{name} is one column of 0 and 1: whether a clip has the one class"
        return Column(of_matrix(flat[:, None], name=name), 1, None, note)
    ids = flat.astype(np.int64) if np.isfinite(flat).all() else np.zeros(0)
    if flat.dtype == bool or not np.array_equal(ids, flat):
        raise UserError(
            f"{name} is one column of {flat.dtype}; its values must be class indices, whole numbers"
        )
    _require_own_numbers(classes, name)
    note = f"{name} is one column of whole numbers: the class of each clip"
    labels = Labels(np.ones(len(ids), np.int64), ids)
    return Column(labels, num_classes or max(0, int(ids.max(initial=0))) + 1, None, note)


def _require_own_numbers(classes: ClassList | None, name: str) -> None:
    """Checks that numbers are not both indices and other classes' names."""
    if classes is not None and (k := misnumbered(classes)) is not None:
        raise UserError(
            f"{name} is of whole numbers, and classes are called by numbers that are not their indices "
            f"(class {k} is called {classes.names[k]!r}); give the names as text, or a label matrix"
        )


def _of_names(column: np.ndarray, classes: ClassList | None, name: str) -> Column:
    lists = [[] if text == "" else [text] for text in map(as_text, column.tolist())]
    labels, classes = of_named_lists(lists, classes, name)
    note = f"{name} is one column of names: the class of each clip, of {len(classes)} classes"
    return Column(labels, len(classes), classes, note)


def of_named_lists(
    lists: Sequence[Sequence[str]], classes: ClassList | None, name: str
) -> tuple[Labels, ClassList]:
    """Labels given by names for each clip, and the classes: `classes`, or those that occur.

    Raises:
      UserError: a name is none of the classes, or none is given at all.
    """
    classes = classes or classes_named(text for row in lists for text in row)
    if not len(classes):
        raise UserError(f"{name}: no clip has a label; give the class list that the labels are of")
    names = ClassNames(classes)
    found = [[names.find(text, f"{name}, row {i}") for text in row] for i, row in enumerate(lists)]
    return Labels.of_lists(found), classes


def as_text(value: Any) -> str:
    """A string, or bytes that are one.

    Raises:
      UserError: it is something else.
    """
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if not isinstance(value, str):
        raise UserError(f"{value!r} is no label; give strings alone, or class indices alone")
    return value


def of_any(
    labels: Any,
    num_classes: int | None = None,
    classes: ClassList | None = None,
    mask: np.ndarray | None = None,
) -> Column:
    """Labels in any of the forms that this module says, or `Labels`; as for `of_column` and `of_matrix`.

    Raises:
      UserError: they are in none of the forms, or do not fit `num_classes` or `mask`.
    """
    if classes is not None and num_classes not in (None, len(classes)):
        raise UserError(f"num_classes is {num_classes}, but there are {len(classes)} classes")
    num_classes = len(classes) if classes is not None else num_classes
    if isinstance(labels, Labels):
        if num_classes is None:
            raise UserError("labels given as class indices need num_classes as well")
        return Column(labels, num_classes, classes, "")
    mask = _known(labels, mask)
    array = _as_array(labels)
    if array is not None and array.ndim == 2 and (array.shape[1] != 1 or mask is not None):
        found = Column(of_matrix(array, mask), array.shape[1], None, "")
    elif mask is not None:
        raise UserError("a mask of known labels goes with a label matrix [clips, classes] alone")
    elif array is not None and array.ndim in (1, 2):
        found = of_column(array, num_classes, classes)
    else:
        found = _of_ragged(labels, num_classes, classes)
    if num_classes not in (None, found.num_classes):
        unit = "columns" if array is not None and array.ndim == 2 else "classes"
        raise UserError(f"labels has {found.num_classes} {unit} but num_classes is {num_classes}")
    return found._replace(classes=found.classes or classes)


def _known(labels: Any, mask: Any) -> np.ndarray | None:
    """The mask of known labels; what a masked array of NumPy hides is not known either."""
    casts.refuse_masked(mask, "label_mask")
    mask = None if mask is None else np.asarray(mask)
    if not isinstance(labels, np.ma.MaskedArray):
        casts.refuse_masked(labels, "labels")
    elif np.ma.is_masked(labels):
        shown = ~np.ma.getmaskarray(labels)
        if mask is None:
            return shown
        if mask.shape == shown.shape:
            return np.where(shown, mask, 0)
    return mask


def _as_array(labels: Any) -> np.ndarray | None:
    """Labels that are a matrix or a column; None for a list for each clip.

    Raises:
      UserError: they have no order, or are one string.
    """
    if isinstance(labels, Mapping | Set | str | bytes):
        raise UserError(
            f"labels is a {type(labels).__name__}; give an array or a list, in the order of the clips"
        )
    if hasattr(labels, "__array__"):
        array = np.asarray(labels)
    else:
        rows = list(labels)
        nested = any(np.ndim(row) and not isinstance(row, str | bytes) for row in rows)
        if not rows or (nested and not _are_bools(rows)):
            return None
        array = np.array(rows)
    texts = array.dtype != object or all(isinstance(v, str | bytes) for v in array.ravel())
    return array if texts else None


def _are_bools(rows: Sequence[Any]) -> bool:
    """Whether lists are the rows of a bool matrix; as indices, True would be class 1.

    Raises:
      UserError: there are bools, but these are no matrix.
    """
    kinds = {type(v) for row in rows for v in (row if np.iterable(row) else [row])}
    if not kinds & {bool, np.bool_}:
        return False
    if kinds - {bool, np.bool_} or len({np.shape(row) for row in rows}) != 1:
        raise UserError(
            "labels has lists with bools that are no matrix; give a NumPy array [clips, classes], or lists "
            "of class indices"
        )
    return True


def _refuse_matrix(lists: Sequence[Any], num_classes: int) -> None:
    """Refuses lists that may be class indices as well as the rows of a matrix of 0 and 1."""
    ordered = lists and not any(isinstance(row, Set) for row in lists)
    alike = ordered and all(len(row) == num_classes and set(row) <= {0, 1} for row in lists)
    if alike and any(1 in row for row in lists):  # of one class, 0 alone is its index
        raise UserError(
            f"labels has lists of {num_classes} values, all 0 or 1: give a NumPy array if they are the rows "
            f"of a matrix [clips, {num_classes}]; or sets if they are class indices"
        )


def _of_ragged(labels: Any, num_classes: int | None, classes: ClassList | None) -> Column:
    if any(isinstance(row, Mapping) for row in labels):
        raise UserError("labels has a dict for a clip; give its class indices or names in a list")
    lists = [
        row if isinstance(row, Set) else list(row) if np.iterable(row) else [row] for row in labels
    ]
    if any(isinstance(value, str | bytes) for row in lists for value in row):
        named = [[as_text(value) for value in row] for row in lists]
        of_names, classes = of_named_lists(named, classes, "labels")
        return Column(of_names, len(classes), classes, "")
    if num_classes is None:
        raise UserError("labels given as class indices need num_classes as well")
    _refuse_matrix(lists, num_classes)
    return Column(Labels.of_lists(lists), num_classes, classes, "")
