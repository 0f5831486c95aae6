"""The training set on the device, and batches made of it there."""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mla_jax.data.clips import ClipSet
from mla_jax.models.inputs import model_inputs
from mla_jax.parallel.mesh import AXIS, constrain, padded_size, spread, take


class Batch(NamedTuple):
    """The clips of a step.

    Attributes:
      embeddings: [batch, time, features] float32, scaled.
      mask: [batch, time] bool.
      labels: [batch, classes] float32 of 0 and 1; of mixed clips (`mla_jax.training.augment`) in between.
      known: [batch, classes] uint8, 1 where the label is known, or float32 weights of mixed labels; None:
        all are known.
    """

    embeddings: jax.Array
    mask: jax.Array
    labels: jax.Array
    known: jax.Array | None = None

    def segments(self) -> "Batch":
        """Each segment as a clip of its own, with the labels of its clip; padding stays padding."""
        clips, time, features = self.embeddings.shape
        known = None if self.known is None else jnp.repeat(self.known, time, axis=0)
        return Batch(
            embeddings=self.embeddings.reshape(clips * time, 1, features),
            mask=self.mask.reshape(clips * time, 1),
            labels=jnp.repeat(self.labels, time, axis=0),
            known=known,
        )


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["embeddings", "num_segments", "label_ids", "label_mask"],
    meta_fields=["offset", "scale", "num_classes", "use_mask", "examples", "mesh"],
)
@dataclasses.dataclass(frozen=True)
class DeviceClips:
    """A data set on the device, in the dtype that it was stored in: all of AudioSet is 2.6 GB.

    On several devices each holds a part of the clips. All draw the same rows; each row is on exactly one
    device, and the others add zeros, so the batch is that of a single device.

    Attributes:
      embeddings: [num_clips, time, features] as stored.
      num_segments: [num_clips] int32.
      label_ids: [num_clips, width] int32; where a clip has fewer labels, num_classes stands instead.
      offset, scale: the scaling of the embeddings.
      num_classes: the number of classes.
      use_mask: False makes padding count as segments, as the original programs do.
      examples: what a batch is made of, "clips" or "segments".
      mesh: the devices, if there are several; num_clips is then a multiple of their number.
      label_mask: [num_clips, num_classes] uint8, 1 where the label is known; None: all are.
    """

    embeddings: jax.Array
    num_segments: jax.Array
    label_ids: jax.Array
    offset: float
    scale: float
    num_classes: int
    use_mask: bool
    examples: str = "clips"
    mesh: Mesh | None = None
    label_mask: jax.Array | None = None

    @classmethod
    def put(
        cls,
        clips: ClipSet,
        *,
        rows: np.ndarray | None = None,
        use_mask: bool = True,
        examples: str = "clips",
        label_width: int = 0,
        mesh: Mesh | None = None,
    ) -> "DeviceClips":
        """Copies a set to the device; each process reads the clips of its own devices.

        Args:
          clips: the set.
          rows: [n] which of its clips, in which order; None for all.
          use_mask: as `mask` in `DataConfig`.
          examples: as in `DataConfig`.
          label_width: the second axis of `label_ids`; 0: the most labels that a clip has.
          mesh: the devices to spread it over.
        """
        size = len(clips) if rows is None else len(rows)
        width = label_width or most_labels(clips)

        def chosen(start: int, stop: int) -> slice | np.ndarray:
            return slice(start, stop) if rows is None else rows[start:stop]

        def spread_rows(array: np.ndarray) -> jax.Array:
            return spread((size, *array.shape[1:]), lambda *part: array[chosen(*part)], mesh)

        return cls(
            embeddings=spread_rows(clips.embeddings),
            num_segments=spread_rows(clips.num_segments),
            label_ids=spread(
                (size, width), lambda *part: _label_ids(clips, chosen(*part), width), mesh
            ),
            offset=clips.embedding.scaling.offset,
            scale=clips.embedding.scaling.scale,
            num_classes=clips.num_classes,
            use_mask=use_mask,
            examples=examples,
            mesh=mesh,
            label_mask=None
            if clips.label_mask is None
            else spread_rows(clips.label_mask.view(np.uint8)),
        )

    def batch(self, rows: jax.Array) -> Batch:
        """The clips `rows` [batch] as model input and multi-hot labels, as clips or segments."""
        return self.examples_of(self.clips(rows))

    def examples_of(self, batch: Batch) -> Batch:
        """A batch of clips as what the loss is computed on, clips or segments."""
        return batch.segments() if self.examples == "segments" else batch

    def clips(self, rows: jax.Array) -> Batch:
        """The clips `rows` [batch] as model input and multi-hot labels.

        On several devices the batch is padded with empty clips to a multiple of the device count; these
        count in no statistic, loss or gradient.
        """
        size = padded_size(len(rows), self.mesh)
        there = jnp.arange(size) < len(rows)
        rows = jnp.pad(rows, (0, size - len(rows)))
        embeddings, mask = model_inputs(
            take(self.embeddings, rows, self.mesh),
            take(self.num_segments, rows, self.mesh),
            offset=self.offset,
            scale=self.scale,
            use_mask=self.use_mask,
        )
        labels = jnp.zeros((size, self.num_classes), jnp.float32)
        label_ids = take(self.label_ids, rows, self.mesh)
        # num_classes is out of bounds, and dropped.
        labels = labels.at[jnp.arange(size)[:, None], label_ids].set(1, mode="drop")
        known = None
        if self.label_mask is not None:
            known = take(self.label_mask, rows, self.mesh)
        batch = Batch(embeddings, mask & there[:, None], labels, known)
        constrained: Batch = constrain(batch, self.mesh, AXIS)
        return constrained


def _label_ids(clips: ClipSet, rows: slice | np.ndarray, width: int) -> np.ndarray:
    """The class ids of some clips, [rows, width] int32, then num_classes."""
    offsets = np.asarray(clips.label_offsets)
    starts, ends = offsets[:-1][rows], offsets[1:][rows]
    there = np.arange(width) < (ends - starts)[:, None]
    if isinstance(rows, slice):
        found = clips.label_ids[starts[0] : ends[-1]] if len(starts) else clips.label_ids[:0]
    else:
        found = clips.label_ids[(starts[:, None] + np.arange(width))[there]]
    label_ids = np.full(there.shape, clips.num_classes, np.int32)
    label_ids[there] = found
    return label_ids


def most_labels(clips: ClipSet) -> int:
    """The largest number of labels of a clip; at least 1."""
    return max(1, int(np.diff(clips.label_offsets).max(initial=0)))


def device_bytes(clips: ClipSet) -> int:
    """The bytes that a set takes on the device as `DeviceClips`."""
    mask = 0 if clips.label_mask is None else clips.label_mask.nbytes
    return clips.embeddings.nbytes + mask + 4 * len(clips) * (1 + most_labels(clips))
