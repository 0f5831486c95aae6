"""`ClipSet`, the one in-memory form of a data set: clips of embeddings with weak labels."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import logging

from mla_jax.data import casts
from mla_jax.data.class_list import ClassList
from mla_jax.data.embedding import EMBEDDING_DTYPES, Embedding, Scaling
from mla_jax.data.labels import Labels, of_any
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
      label_mask: [num_clips, num_classes] bool, which labels are known; None: all. An unknown
        one is never taken for absent.
      classes: the class list, where the labels were given by name; else None.
      end_times: [num_clips] float64, seconds into the video at which its sound ends, infinity where that is
        not known; None: not known of any. The last segment of a clip may reach beyond it, into silence that
        was added. Not kept on a disk.
    """

    embeddings: np.ndarray
    num_segments: np.ndarray
    label_offsets: np.ndarray
    label_ids: np.ndarray
    video_ids: np.ndarray
    start_times: np.ndarray
    num_classes: int
    embedding: Embedding
    label_mask: np.ndarray | None = None
    classes: ClassList | None = None
    end_times: np.ndarray | None = None

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
        names = ["embeddings", "label_ids", *lengths]
        if self.label_mask is not None:
            names.append("label_mask")
            self._check_mask(self.label_mask)
        for name in names:
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def _check_mask(self, mask: np.ndarray) -> None:
        if mask.shape != (len(self), self.num_classes) or mask.dtype != bool:
            raise UserError(
                f"label_mask is {list(mask.shape)} of {mask.dtype}; {len(self)} clips of {self.num_classes} "
                f"classes need [{len(self)}, {self.num_classes}] of bool"
            )

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
        embeddings: np.ndarray | Sequence[np.ndarray],
        labels: Any,
        *,
        num_classes: int | None = None,
        num_segments: np.ndarray | None = None,
        video_ids: Sequence[bytes | str] | np.ndarray | None = None,
        start_times: np.ndarray | None = None,
        scaling: Scaling | None = None,
        embedding: Embedding | None = None,
        label_mask: np.ndarray | None = None,
        classes: ClassList | None = None,
    ) -> "ClipSet":
        """Makes a ClipSet of a user's own arrays.

        Args:
          embeddings: [num_clips, time, features] uint8, float16 or float32; [num_clips, features], clips of
            one segment; or a list of [segments, features] for each clip. float64 is kept as float32, and
            whole numbers of 0 to 255 as uint8.
          labels: [num_clips, num_classes] of 0 and 1, NaN or masked (`numpy.ma`) where it is not known; a
            class index or a name for each clip; or for each clip a list of them, which may be empty.
          num_classes: may be left out where `labels` is a matrix, one column or of names.
          num_segments: [num_clips] real vectors of each clip; all of them if left out. What lies behind them
            becomes zeros, with a warning.
          video_ids: [num_clips]; numbered if left out.
          start_times: [num_clips] seconds; 0 if left out.
          scaling: (embedding - offset) / scale; by the dtype if left out.
          embedding: what the embeddings mean, with their scaling; unknown if left out.
          label_mask: with a matrix, [num_clips, num_classes] of 0 and 1: which of its entries are known.
          classes: the classes that names are of; if left out, the names that occur, sorted.

        Raises:
          UserError: shapes or dtypes do not fit, a label is outside 0 ... num_classes - 1 or repeated, a
            number of segments is outside 1 ... time, an embedding or a start time is not finite or masked, or
            an id is empty or ends in a zero byte, which cannot be kept.
        """
        embeddings, num_segments = casts.as_clips(embeddings, num_segments)
        num_clips, time = len(embeddings), embeddings.shape[1]
        rows = len(labels.counts if isinstance(labels, Labels) else labels)
        if rows != num_clips:
            raise UserError(f"labels has {rows} rows; {num_clips} clips need as many")
        found = of_any(labels, num_classes, classes, label_mask)
        if found.labels.known is not None and not found.labels.known.any():
            raise UserError("no label is known; give some, or leave label_mask out")
        for note in (casts.note_of(embeddings.dtype, "embeddings"), found.note):
            if note:
                logging.warning("%s", note)
        embeddings = casts.cast(embeddings, "embeddings")
        if video_ids is None:
            video_ids = [f"clip{i:07d}" for i in range(num_clips)]
        clips = cls(
            embeddings=embeddings,
            num_segments=_int32(
                np.full(num_clips, time) if num_segments is None else num_segments, "num_segments"
            ),
            label_offsets=np.append(0, np.cumsum(found.labels.counts)).astype(np.int64),
            label_ids=_int32(found.labels.ids, "labels"),
            video_ids=casts.bytes_ids(video_ids),
            start_times=casts.seconds(
                np.zeros(num_clips) if start_times is None else start_times, "start_times"
            ),
            num_classes=found.num_classes,
            embedding=_described(embeddings, scaling, embedding),
            label_mask=found.labels.known,
            classes=found.classes,
        )
        clips.check_values()
        clips = clips._with_zeros_as_padding()
        clips._warn_of_zeros()
        warn_of_bytes_as_floats("these arrays", embeddings, clips.embedding)
        return clips

    def _with_zeros_as_padding(self) -> "ClipSet":
        padding = ~self.mask()
        if not padding.any():
            return self
        filled = (padding & self.embeddings.any(axis=2)).any(axis=1)
        if not filled.any():
            return self
        logging.warning(
            "%d of %d clips have vectors behind their num_segments; these are taken for padding",
            filled.sum(),
            len(self),
        )
        zero = np.zeros((), self.embeddings.dtype)
        emptied = np.where(padding[:, :, None], zero, self.embeddings)
        return dataclasses.replace(self, embeddings=emptied)

    def _warn_of_zeros(self) -> None:
        """Warns of clips that were perhaps never filled in."""
        zero = np.logical_not(self.embeddings[:, 0].any(axis=1))
        zero[zero] = np.logical_not(self.embeddings[zero].any(axis=(1, 2)))
        if zero.any():
            logging.warning(
                "%d of %d clips are all zeros, the first of them %s: were they ever filled in?",
                zero.sum(),
                len(self),
                self.describe(int(zero.argmax())),
            )

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
        if self.label_mask is not None:
            _refuse(
                ~np.asarray(self.label_mask)[owner, ids],
                lambda j: (
                    f"{self.describe(owner[j])} has label {ids[j]}, but its mask says that it is unknown"
                ),
            )
        starts = np.asarray(self.start_times)
        _refuse(
            ~np.isfinite(starts),
            lambda i: f"{self.describe(i)} has start time {starts[i]}; give finite seconds",
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
            label_mask=None if self.label_mask is None else self.label_mask[chosen],
            end_times=None if self.end_times is None else self.end_times[chosen],
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

    def known_labels(self) -> np.ndarray:
        """Of which classes it is known whether a clip has them: `label_mask`, or where it is None all."""
        if self.label_mask is not None:
            return self.label_mask
        return np.broadcast_to(np.True_, (len(self), self.num_classes))

    def known_ends(self) -> np.ndarray:
        """`end_times`, or where it is None infinity for all."""
        return np.full(len(self), np.inf) if self.end_times is None else self.end_times

    def class_counts(self) -> np.ndarray:
        """The number of clips that carry each class, [num_classes] int64."""
        return np.bincount(self.label_ids, minlength=self.num_classes).astype(np.int64)

    def padded(self, time: int) -> "ClipSet":
        """The same clips with a time axis of at least `time`; zeros fill a shorter one, which is a copy."""
        missing = time - self.max_segments
        if missing <= 0:
            return self
        filled = np.pad(self.embeddings, [(0, 0), (0, missing), (0, 0)])
        return dataclasses.replace(self, embeddings=filled)

    def mask(self) -> np.ndarray:
        """Which vectors are real, [num_clips, time] bool."""
        return np.arange(self.max_segments) < np.asarray(self.num_segments)[:, None]


def _refuse(wrong: np.ndarray, describe: Callable[[int], str]) -> None:
    """Raises a UserError that describes the first row where `wrong`, if there is one."""
    if wrong.any():
        raise UserError(describe(int(wrong.argmax())))


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
    casts.refuse_masked(values, name)
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
        ("classes", first.classes, other.classes or first.classes),
    ):
        if ours != theirs and ours is not None:
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
    if any(part.label_mask is not None for part in parts):
        joined["label_mask"] = np.concatenate([part.known_labels() for part in parts])
    if any(part.end_times is not None for part in parts):
        joined["end_times"] = np.concatenate([part.known_ends() for part in parts])
    joined["label_offsets"] = np.concatenate([np.zeros(1, np.int64), *offsets])
    embedding = first.embedding
    for part in parts[1:]:
        embedding = embedding.joined(part.embedding)
    return dataclasses.replace(first, embedding=embedding, **joined)
