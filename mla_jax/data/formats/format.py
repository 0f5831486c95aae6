"""What every data format offers: `Format`, what it is asked with, and what it gives."""

import abc
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from mla_jax.config import DataConfig
from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.skipped import Skipped
from mla_jax.data.stated import NOTHING, Stated
from mla_jax.errors import UserError

CHUNK_BYTES = 64 * 1024 * 1024
"""The most that the embeddings of one chunk take, so that clips of any size are read in bounded memory."""


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How clips are read: what they must keep to, and what happens to those that do not.

    Attributes:
      num_classes: K; labels must be below it.
      max_segments: T of records, to which shorter clips are padded with zero; None: every chunk is as long
        as its longest clip. Packed clips and array files have a T of their own.
      long_clips: what a record of more than T segments is: with 'error' a bad record, with 'crop' a clip of
        its first T.
      bad_records: 'error' stops at the first bad record, 'skip' leaves bad records out and lists them.
      needs_labels: whether labels must be there; clips that are only to be tagged need none, and no ids and
        start times either.
      feature: the feature list of records that holds their segments.
      no_label: what a record is that has no label, where labels are needed: with 'error' a bad record, with
        'background' a clip of none of the classes, as it is in all other data.
      labels: the path of a CSV file of labels, for recordings in files of their own.
      classes: what labels are of that are given by name; None: of the names that occur.
      chunk_size: the most clips of a chunk.
      stated: what the embeddings mean, where the data do not say.

    Raises:
      UserError: a value is out of range.
    """

    num_classes: int
    max_segments: int | None = 10
    long_clips: str = "error"
    bad_records: str = "error"
    needs_labels: bool = True
    feature: str = "audio_embedding"
    no_label: str = "error"
    labels: str = ""
    classes: ClassList | None = None
    chunk_size: int = 4096
    stated: Stated = NOTHING

    def __post_init__(self) -> None:
        """Checks every value."""
        for name, choices in (
            ("long_clips", ("error", "crop")),
            ("bad_records", ("error", "skip")),
            ("no_label", ("error", "background")),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise UserError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")
        for name in ("num_classes", "max_segments", "chunk_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}; it must be 1 or more")

    @classmethod
    def of(cls, config: DataConfig, num_classes: int, **changes: Any) -> Self:
        """The options that `config` states, for data of `num_classes` classes, but for `changes`."""
        stated = {
            "max_segments": config.max_segments,
            "long_clips": config.long_clips,
            "bad_records": config.bad_records,
            "stated": Stated.of(config),
            "no_label": config.no_label,
            "feature": config.feature,
            "labels": config.labels,
        }
        return cls(num_classes, **{**stated, **changes})


class Shape(NamedTuple):
    """Sizes of data: n clips of T segments of M features, K classes; 0 where only reading would show one."""

    clips: int = 0
    time: int = 0
    features: int = 0
    classes: int = 0


class Chunk(NamedTuple):
    """Some clips, in order, and the bad ones that were read with them.

    Attributes:
      clips: the good ones; there may be none.
      skipped: the bad ones, which are left out.
      cropped: how many of the clips were longer than T and were cut.
      done: how much of the data was read so far: clips if their number is known, else files begun.
    """

    clips: ClipSet
    skipped: list[Skipped]
    cropped: int
    done: int


class Format(abc.ABC):
    """Data of one format, opened at a local path; a new format is a subclass and an entry in `FORMATS`.

    Opening looks at sizes and headers at most, and raises UserError for data that cannot be used.

    Attributes:
      takes_labels: whether its constructor takes the path of a file of labels too.
      takes_feature: whether it has feature lists, of which `ReadOptions.feature` names one.
      shape: what is known without reading.
      files: how many files the data consist of.
      made_of: those files, where they are others than the path names.
      passed_over: what lies in the folder, or fits the glob, and is not read.
      keeps_scaling: whether a scaling is among what the data say.
      classes: the classes that occur, where labels are given by name and no class list is; else None.
      least_classes: how many classes there are at least, where only the labels themselves say.
    """

    takes_labels = False
    takes_feature = False
    shape: Shape
    files: int = 1
    made_of: Sequence[Path] = ()
    passed_over: Sequence[str] = ()
    keeps_scaling: bool = False
    classes: ClassList | None = None
    least_classes: int = 0
    _notes: Sequence[str] = ()

    @property
    def notes(self) -> Sequence[str]:
        """What was taken for what, for a person; complete when all has been read."""
        return self._notes

    @abc.abstractmethod
    def __init__(self, path: str) -> None:
        """Opens the data at a local path."""

    @staticmethod
    @abc.abstractmethod
    def recognizes(path: Path) -> bool:
        """Whether `path`, of a file or folder that is there, or a glob, is for this format."""

    @staticmethod
    def choose(names: list[str]) -> list[str]:
        """Of the names of a folder's files those that this format reads; none if it reads no folders."""
        return []

    def verify(self) -> None:  # noqa: B027 (most formats keep no checksums)
        """Reads all of the data and compares them with their checksums, if the format keeps any.

        Raises:
          UserError: they differ.
        """

    def is_like_audioset(self, feature: str) -> bool:
        """Whether the data look like AudioSet's records, whose labels are indices of its 527 classes.

        Args:
          feature: the feature list of records that holds their segments.
        """
        return False

    @abc.abstractmethod
    def chunks(self, options: ReadOptions) -> Iterator[Chunk]:
        """Reads the clips in their order, in bounded memory.

        Raises:
          UserError: a clip is bad, the data are damaged, or of another number of classes.
        """

    def parts(self, options: ReadOptions) -> Iterator[Callable[[], Iterable[Chunk]]]:
        """The clips in parts, each a function that reads it, to be called before the next is taken, or never.

        The same data and options give the same parts. Which are read changes none of the others, so that
        several processes can each read some. A part that is not called is read all the same, unless the
        format can pass over it.
        """
        for chunk in self.chunks(options):
            yield functools.partial(tuple, [chunk])

    def whole(self, options: ReadOptions) -> Iterator[Chunk]:
        """Reads the clips to be kept all at once, which some formats do without copying them."""
        return self.chunks(options)
