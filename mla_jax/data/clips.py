"""`ClipSet`, the one in-memory form of a data set: clips of embeddings with weak labels."""

import dataclasses
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from mla_jax.data.embedding import EMBEDDING_DTYPES, Embedding, Scaling
from mla_jax.data.same_embedding import warn_of_bytes_as_floats
from mla_jax.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class ClipSet:
    """A set of clips, immutable: its arrays are read-only views, and may be memory-mapped.

    Attributes:
      embeddings: [num_clips, time, features] uint8, float16 or float32. The first `num_segments[i]`
        vectors of clip `i` are real, the rest is zero and means nothing.
      num_segments: [num_clips] int32, each 1 ... time.
      label_offsets: [num_clips + 1] int64; clip `i` has `label_ids[label_offsets[i]:label_offsets[i+1]]`.
      label_ids: [num_labels] int32 class indices, ascending within a clip.
      video_ids: [num_clips] bytes strings.
      start_times: [num_clips] float64, seconds into the video.
      num_classes: K; every label id is below it.
      embedding: what the embeddings mean.
    """

    embeddings: np.ndarray
    num_segments: np.ndarray
    label_offsets: np.ndarray
    label_ids: np.ndarray
    video_ids: np.ndarray
    start_times: np.ndarray
    num_classes: int
    embedding: Embedding

    def __post_init__(self) -> None:
        """Checks dtypes and shapes, which cost nothing; `from_arrays` checks the values."""
        if self.start_times.dtype != np.float64:  # of older files
            object.__setattr__(self, "start_times", self.start_times.astype(np.float64))
        if self.embeddings.ndim != 3 or self.embeddings.dtype.name not in EMBEDDING_DTYPES:
            raise UserError(
                "embeddings must be [clips, time, features] of uint8, float16 or float32, not "
                f"{list(self.embeddings.shape)} of {self.embeddings.dtype}"
            )
        described = self.embedding.dtype, self.embedding.num_features
        if described != (self.embeddings.dtype.name, self.num_features):
            raise UserError(
                f"the description is of {described[1]} features of {described[0]}, the embeddings have "
                f"{self.num_features} of {self.embeddings.dtype}; give the description that belongs to them"
            )
        lengths = {
            "num_segments": (self.num_segments, 0),
            "label_offsets": (self.label_offsets, 1),
            "video_ids": (self.video_ids, 0),
            "start_times": (self.start_times, 0),
        }
        for name, (array, extra) in lengths.items():
            if array.shape != (len(self) + extra,):
                raise UserError(
                    f"{name} has shape {list(array.shape)}; {len(self)} clips need [{len(self) + extra}]"
                )
        for name in ("embeddings", "label_ids", *lengths):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return int(self.embeddings.shape[0])

    @property
    def max_segments(self) -> int:
        """The size of the time axis."""
        return int(self.embeddings.shape[1])

    @property
    def num_features(self) -> int:
        """The size of an embedding vector."""
        return int(self.embeddings.shape[2])

    @classmethod
    def from_arrays(
        cls,
        embeddings: np.ndarray,
        labels: np.ndarray | Sequence[Iterable[int]],
        *,
        num_classes: int | None = None,
        num_segments: np.ndarray | None = None,
        video_ids: Sequence[bytes | str] | np.ndarray | None = None,
        start_times: np.ndarray | None = None,
        scaling: Scaling | None = None,
        embedding: Embedding | None = None,
    ) -> "ClipSet":
        """Makes a ClipSet of a user's own arrays.

        Args:
          embeddings: [num_clips, time, features] uint8, float16 or float32.
          labels: [num_clips, num_classes] of 0/1 or bool, or for each clip its class indices.
          num_classes: may be left out where `labels` is a matrix.
          num_segments: [num_clips] real vectors of each clip; all of them if left out.
          video_ids: [num_clips]; numbered if left out.
          start_times: [num_clips] seconds; 0 if left out.
          scaling: (embedding - offset) / scale; by the dtype if left out.
          embedding: what the embeddings mean, with their scaling; unknown if left out.

        Raises:
          UserError: shapes or dtypes do not fit, a label is outside 0 ... num_classes - 1 or
            repeated, a number of segments is outside 1 ... time, or an embedding is not finite.
        """
        embeddings = np.asarray(embeddings)
        # JAX knows only the machine's own byte order.
        embeddings = embeddings.astype(embeddings.dtype.newbyteorder("="), copy=False)
        num_clips = len(embeddings)
        offsets, ids, num_classes = _ragged_labels(labels, num_clips, num_classes)
        time = embeddings.shape[1] if embeddings.ndim == 3 else 0
        if video_ids is None:
            video_ids = [f"clip{i:07d}" for i in range(num_clips)]
        if not all(isinstance(v, str | bytes) for v in video_ids):
            raise UserError("video_ids must be strings, or bytes strings")
        clips = cls(
            embeddings=embeddings,
            num_segments=_int32(
                np.full(num_clips, time) if num_segments is None else num_segments, "num_segments"
            ),
            label_offsets=offsets,
            label_ids=ids,
            video_ids=np.array(
                [v.encode() if isinstance(v, str) else bytes(v) for v in video_ids], dtype=np.bytes_
            ),
            start_times=np.asarray(
                np.zeros(num_clips) if start_times is None else start_times, np.float64
            ),
            num_classes=num_classes,
            embedding=_described(embeddings, scaling, embedding),
        )
        clips.check_values()
        warn_of_bytes_as_floats("these arrays", embeddings, clips.embedding)
        return clips

    def check_values(self) -> None:
        """Reads every value and checks it.

        Raises:
          UserError: names the first clip that is wrong and what is wrong with it.
        """
        most, last = self.max_segments, self.num_classes - 1
        segments, ids = np.asarray(self.num_segments), np.asarray(self.label_ids)
        _refuse(
            (segments < 1) | (segments > most),
            lambda i: f"{self.describe(i)} has {segments[i]} segments; it must have 1 to {most}",
        )
        counts = np.diff(self.label_offsets)
        ends = (int(self.label_offsets[0]), int(self.label_offsets[-1]))
        if (counts < 0).any() or ends != (0, len(ids)):
            raise UserError(f"label_offsets do not ascend from 0 to {len(ids)}, the labels")
        owner = np.repeat(np.arange(len(self)), counts)
        _refuse(
            (ids < 0) | (ids > last),
            lambda j: f"{self.describe(owner[j])} has label {ids[j]}; labels must be 0 to {last}",
        )
        _refuse(
            (np.diff(ids) <= 0) & (np.diff(owner) == 0),
            lambda j: (
                f"{self.describe(owner[j])} has labels {ids[j]}, {ids[j + 1]}; they must ascend without "
                "repeats"
            ),
        )
        if self.embeddings.dtype != np.uint8:
            wrong = ~np.isfinite(self.embeddings).all(axis=(1, 2))
            _refuse(
                wrong,
                lambda i: (
                    f"{self.describe(i)} has NaN or infinity in its embeddings ({wrong.sum()} such clips); "
                    "mend or leave out these clips"
                ),
            )

    def describe(self, i: int) -> str:
        """Names clip `i` in a message."""
        return f"clip {int(i)} (video id {self.video_ids[i].decode(errors='replace')!r})"

    def __getitem__(self, rows: slice | np.ndarray | Sequence[int]) -> "ClipSet":
        """The chosen clips: views for a slice of step 1, copies for an array of indices or bools."""
        offsets = np.asarray(self.label_offsets)
        if isinstance(rows, slice) and rows.step in (None, 1):
            start, stop, _ = rows.indices(len(self))
            chosen: slice | np.ndarray = slice(start, max(start, stop))
            offsets = offsets[start : max(start, stop) + 1]
            labels: slice | np.ndarray = slice(offsets[0], offsets[-1])
            offsets = offsets - offsets[0]
        else:
            chosen = self._indices(rows)
            counts = offsets[chosen + 1] - offsets[chosen]
            first, offsets = offsets[chosen], np.append(0, np.cumsum(counts)).astype(np.int64)
            labels = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], counts)
        return dataclasses.replace(
            self,
            embeddings=self.embeddings[chosen],
            num_segments=self.num_segments[chosen],
            label_offsets=offsets,
            label_ids=self.label_ids[labels],
            video_ids=self.video_ids[chosen],
            start_times=self.start_times[chosen],
        )

    def _indices(self, rows: slice | np.ndarray | Sequence[int]) -> np.ndarray:
        if isinstance(rows, slice):
            return np.arange(len(self))[rows]
        chosen = np.asarray(rows)
        if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iub"):
            raise TypeError("a ClipSet is indexed by a slice or by a 1-D array of indices or bools")
        return np.arange(len(self))[chosen if chosen.dtype == bool else chosen.astype(np.int64)]

    def labels_of(self, i: int) -> list[int]:
        """The class indices of clip `i`."""
        return self.label_ids[self.label_offsets[i] : self.label_offsets[i + 1]].tolist()

    def multi_hot(self) -> np.ndarray:
        """The labels as a [num_clips, num_classes] bool matrix (num_clips * num_classes bytes)."""
        matrix = np.zeros((len(self), self.num_classes), bool)
        owner = np.repeat(np.arange(len(self)), np.diff(self.label_offsets))
        matrix[owner, self.label_ids] = True
        return matrix

    def class_counts(self) -> np.ndarray:
        """The number of clips that carry each class, [num_classes] int64."""
        return np.bincount(self.label_ids, minlength=self.num_classes).astype(np.int64)

    def mask(self) -> np.ndarray:
        """Which vectors are real, [num_clips, time] bool."""
        return np.arange(self.max_segments) < np.asarray(self.num_segments)[:, None]


def _refuse(wrong: np.ndarray, describe: Callable[[int], str]) -> None:
    """Raises a UserError that describes the first row where `wrong`, if there is one."""
    if wrong.any():
        raise UserError(describe(int(wrong.argmax())))


def _ragged_labels(
    labels: np.ndarray | Sequence[Iterable[int]], num_clips: int, num_classes: int | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Labels in either form -> (offsets, ids, num_classes)."""
    if len(labels) != num_clips:
        raise UserError(f"labels has {len(labels)} rows; {num_clips} clips need as many")
    if isinstance(labels, np.ndarray) and labels.ndim == 2:
        if not np.isin(labels, (0, 1)).all():
            raise UserError("a label matrix must hold only 0 and 1; give the chosen classes as 1")
        if num_classes not in (None, labels.shape[1]):
            raise UserError(
                f"labels has {labels.shape[1]} columns but num_classes is {num_classes}"
            )
        rows, ids = np.nonzero(labels)
        counts = np.bincount(rows, minlength=num_clips)
        num_classes = labels.shape[1]
    else:
        if num_classes is None:
            raise UserError("labels given as class indices need num_classes as well")
        try:
            lists = [sorted(operator.index(k) for k in row) for row in labels]
        except TypeError as error:
            raise UserError(
                "labels must be a matrix of 0 and 1, or for each clip a list of its class indices"
            ) from error
        counts = np.array([len(row) for row in lists], np.int64)
        ids = np.array([k for row in lists for k in row] or np.zeros(0, np.int32))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return offsets, _int32(ids, "labels"), int(num_classes)


def _described(
    embeddings: np.ndarray, scaling: Scaling | None, embedding: Embedding | None
) -> Embedding:
    if embedding is None:
        return Embedding.of(embeddings, scaling)
    if scaling not in (None, embedding.scaling):
        raise UserError(
            f"scaling {scaling} is given, and an embedding of scaling {embedding.scaling}; give one of them"
        )
    return embedding


def _int32(values: np.ndarray, name: str) -> np.ndarray:
    """The same whole numbers as int32; never others, as a bare cast would give."""
    array = np.asarray(values)
    if array.dtype.kind in "iuf":
        with np.errstate(invalid="ignore"):  # of NaN
            cast = array.astype(np.int32)
        if np.array_equal(cast, array):
            return cast
    raise UserError(f"{name} must be whole numbers within 32 bits")


def require_alike(first: ClipSet, other: ClipSet) -> None:
    """Checks that two sets can be joined.

    Raises:
      UserError: they differ in time, features, dtype, number of classes, or what the embeddings mean.
    """
    for what, ours, theirs in (
        ("time and features", first.embeddings.shape[1:], other.embeddings.shape[1:]),
        ("dtype", first.embeddings.dtype, other.embeddings.dtype),
        ("number of classes", first.num_classes, other.num_classes),
    ):
        if ours != theirs:
            raise UserError(f"clips that differ in {what} cannot be joined: {ours}, {theirs}")
    if difference := first.embedding.difference(other.embedding):
        raise UserError(f"clips of different embeddings cannot be joined: {difference}")


def concatenate(parts: Sequence[ClipSet]) -> ClipSet:
    """Joins sets of equal time, features, dtype and classes, whose embeddings mean the same, in order.

    Raises:
      UserError: there is nothing to join, or two parts differ in one of these.
    """
    if not parts:
        raise UserError("there are no clips to join")
    first = parts[0]
    if len(parts) == 1:
        return first
    for part in parts[1:]:
        require_alike(first, part)
    starts = np.cumsum([0, *(len(part.label_ids) for part in parts[:-1])])
    offsets = [np.asarray(p.label_offsets[1:]) + s for p, s in zip(parts, starts, strict=True)]
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("embeddings", "num_segments", "label_ids", "video_ids", "start_times")
    }
    joined["label_offsets"] = np.concatenate([np.zeros(1, np.int64), *offsets])
    embedding = first.embedding
    for part in parts[1:]:
        embedding = embedding.joined(part.embedding)
    return dataclasses.replace(first, embedding=embedding, **joined)
