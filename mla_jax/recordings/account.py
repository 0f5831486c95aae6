"""What became of recordings that were embedded, and how it is told."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from mla_jax.audio.decode import FLAGS
from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.skipped import Skipped

_NAMED = 3  # names of a list that are told


@dataclasses.dataclass
class Account:
    """What became of recordings.

    Attributes:
      files: how many there were.
      seconds: of sound that were embedded.
      segments: of all recordings.
      most_segments: of a recording.
      failed: those that could not be used.
      unlabelled: those that no line of the labels names; they are left out.
      flagged: by flag of `mla_jax.audio.decode.FLAGS`, the names of recordings.
      passed_over: files of the folders whose endings are those of no sound.
      without_file: names in the labels that are those of no recording.
      pca: what is said of the principal components that were fitted; empty if none were.
      clips: how many were written.
      lengths: the fewest and the most segments of a clip.
      num_features, dtype: of an embedding.
      classes: their names.
      label_counts: [num_classes] how many clips have each class.
      empty: how many clips have none.
    """

    files: int
    seconds: float = 0.0
    segments: int = 0
    most_segments: int = 0
    failed: list[Skipped] = dataclasses.field(default_factory=list)
    unlabelled: list[Skipped] = dataclasses.field(default_factory=list)
    flagged: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    passed_over: list[Path] = dataclasses.field(default_factory=list)
    without_file: list[str] = dataclasses.field(default_factory=list)
    pca: str = ""
    clips: int = 0
    lengths: tuple[int, int] = (0, 0)
    num_features: int = 0
    dtype: str = ""
    classes: ClassList = dataclasses.field(default_factory=lambda: ClassList.numbered(0))
    label_counts: np.ndarray | None = None
    empty: int = 0

    def noting(self, chunks: Iterable[ClipSet]) -> Iterator[ClipSet]:
        """The same clips, which are noted as they are written."""
        for chunk in chunks:
            segments = np.asarray(chunk.num_segments)
            lengths = segments.min(), segments.max()
            if self.clips:
                lengths = min(lengths[0], self.lengths[0]), max(lengths[1], self.lengths[1])
            self.lengths = int(lengths[0]), int(lengths[1])
            self.clips += len(chunk)
            self.num_features, self.dtype = chunk.num_features, chunk.embeddings.dtype.name
            counts = chunk.class_counts()
            self.label_counts = counts + (0 if self.label_counts is None else self.label_counts)
            self.empty += int((np.diff(chunk.label_offsets) == 0).sum())
            yield chunk

    def lines(self, labels: str = "") -> list[str]:
        """For a person.

        Args:
          labels: the file of labels, if there is one.
        """
        lines = [f"recordings   {self.files:,}, {self.seconds / 3600:.2f} hours of sound"]
        least, most = self.lengths
        lengths = f"{least}" + (f" to {most}" if most > least else "")
        lines.append(
            f"clips        {self.clips:,}, of {lengths} segments x {self.num_features} features, {self.dtype}"
        )
        lines += [f"PCA          {self.pca}"] * bool(self.pca)
        if labels and self.label_counts is not None:
            counts = self.label_counts
            lines.append(
                f"labels       {counts.sum():,} of {len(counts)} classes, {counts.min():,} to "
                f"{counts.max():,} clips a class"
            )
            lines += [f"without any  {self.empty:,} clips"] * bool(self.empty)
            unheard = int((counts == 0).sum())
            lines += [f"no clip of   {unheard:,} of the classes"] * bool(unheard)
            rare = [self.classes.shown_names[k] for k in np.flatnonzero(counts == 1)]
            lines += filter(
                None, [counted(f"class{'es' * (len(rare) > 1)} of one clip alone", rare)]
            )
        told = [
            ("could not be used", [f"{path} ({why})" for path, _, _, why in self.failed]),
            (f"left out, without a line in {labels}", [name for _, _, name, _ in self.unlabelled]),
            (f"named in {labels}, but not there", self.without_file),
            ("passed over, no sound by their names", [str(path) for path in self.passed_over]),
        ]
        lines += filter(None, (counted(what, names) for what, names in told))
        return lines + told_flags(self.flagged)


def told_flags(flagged: Mapping[str, list[str]]) -> list[str]:
    """The recordings of each flag of `mla_jax.audio.decode.FLAGS`, counted and named, for a person."""
    return [
        counted(f"recording{'s' * (len(names) > 1)} {FLAGS[flag]}", names)
        for flag, names in sorted(flagged.items())
    ]


def counted(what: str, names: list[str]) -> str:
    """How many there are and the first names, for a person; empty if there is none."""
    if not names:
        return ""
    more = f", and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{len(names):,} {what}: {', '.join(names[:_NAMED])}{more}"
