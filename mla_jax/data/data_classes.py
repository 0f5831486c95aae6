"""Which classes data have: their number, their names, and whether a class list can be theirs."""

import glob
from pathlib import Path

from absl import logging

from mla_jax.config import DataConfig
from mla_jax.data import class_list
from mla_jax.data.class_list import ClassList
from mla_jax.data.known_lists import require_audiosets_order
from mla_jax.data.sources import open_format
from mla_jax.errors import UserError
from mla_jax.storage import paths

AUDIOSET_CLASSES = 527


def find_classes(config: DataConfig, *places: str) -> ClassList | None:
    """The class list that `config` names, else one beside the data, else the names that the data have.

    Names that stand for several classes are warned of, and those that only capital letters tell apart.

    Raises:
      UserError: the list or the data cannot be read.
    """
    found = class_list.resolve(config.class_list, [_folder_of(place) for place in places if place])
    if found is None:
        there = (place for place in places if place and (glob.has_magic(place) or _exists(place)))
        named = (open_format(place, labels=config.labels)[1].classes for place in there)
        found = next(filter(None, named), None)
    if found is not None:
        for odd in filter(None, (found.doubled(), found.told_apart_by_capitals())):
            logging.warning("the class list in use: %s", odd)
    return found


def _exists(place: str) -> bool:
    return paths.as_path(place).exists()


def _folder_of(place: str) -> Path:
    path = paths.as_path(place)
    return path if path.is_dir() else paths.parent(path) or path


def count_classes(config: DataConfig, classes: ClassList | None, *places: str) -> int:
    """K: the config's, else the class list's, else that of the data if it knows, else AudioSet's 527.

    Packed data and array files know it, records do not; where labels are indices in one column, there are
    as many classes as the largest of them needs.

    Raises:
      UserError: the config and the class list differ, or data cannot be opened.
    """
    if classes is not None:
        if config.num_classes not in (0, len(classes)):
            raise UserError(
                f"num_classes={config.num_classes}, but the class list has {len(classes)} classes; "
                "give the list that belongs to the data with class_list"
            )
        return len(classes)
    if config.num_classes:
        return config.num_classes
    opened = [open_format(place, labels=config.labels)[1] for place in places if place]
    stated = next(filter(None, (data.shape.classes for data in opened)), 0)
    return stated or max((data.least_classes for data in opened), default=0) or AUDIOSET_CLASSES


def require_same_classes(path: str, classes: ClassList) -> None:
    """Checks that the class list beside `path`, if there is one, is `classes`.

    Raises:
      UserError: it is another; class indices would be mixed up.
    """
    beside = class_list.resolve("", [_folder_of(path)])
    if beside is not None:
        classes.require_same(beside, f"the class list beside {path}")


def require_list_of_labels(path: str, classes: ClassList, config: DataConfig) -> None:
    """Checks that the labels at `path` can be indices of `classes`, where the data do not say of which list.

    Beside records that look like AudioSet's a list that is known to be of another order is refused, unless
    `config.num_classes` states that the labels are of so many classes.

    Raises:
      UserError: they cannot be; classes would get wrong names.
    """
    if not config.num_classes and open_format(path)[1].is_like_audioset(config.feature):
        stated = f"num_classes={len(classes)} as well if the list does belong to the data"
        require_audiosets_order(classes, path, stated)
