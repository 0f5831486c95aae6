"""The data set as it lies on the device, and batches made of it there."""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.models.inputs import model_inputs


class Batch(NamedTuple):
    """What a step learns from.

    Attributes:
      embeddings: [batch, time, features] float32, scaled.
      mask: [batch, time] bool.
      labels: [batch, classes] float32 of 0 and 1.
    """

    embeddings: jax.Array
    mask: jax.Array
    labels: jax.Array

    def segments(self) -> "Batch":
        """Every segment as a clip of its own, with its clip's labels; padding stays padding."""
        clips, time, features = self.embeddings.shape
        return Batch(
            embeddings=self.embeddings.reshape(clips * time, 1, features),
            mask=self.mask.reshape(clips * time, 1),
            labels=jnp.repeat(self.labels, time, axis=0),
        )


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["embeddings", "num_segments", "label_ids"],
    meta_fields=["offset", "scale", "num_classes", "use_mask", "examples"],
)
@dataclasses.dataclass(frozen=True)
class DeviceClips:
    """A data set on the device, as small as it was stored: AudioSet whole is 2.6 GB.

    Attributes:
      embeddings: [num_clips, time, features] as stored.
      num_segments: [num_clips] int32.
      label_ids: [num_clips, most labels of a clip] int32, filled up with num_classes.
      use_mask: False makes padding count as segments, as the original programs do.
      examples: what a batch is made of, clips or segments.
    """

    embeddings: jax.Array
    num_segments: jax.Array
    label_ids: jax.Array
    offset: float
    scale: float
    num_classes: int
    use_mask: bool
    examples: str = "clips"

    @classmethod
    def put(
        cls, clips: ClipSet, *, use_mask: bool = True, examples: str = "clips"
    ) -> "DeviceClips":
        """Moves a set to the device; `use_mask` and `examples` as in `DataConfig`."""
        counts = np.diff(clips.label_offsets)
        width = max(1, int(counts.max(initial=0)))
        label_ids = np.full((len(clips), width), clips.num_classes, np.int32)
        label_ids[np.arange(width) < counts[:, None]] = clips.label_ids
        return cls(
            embeddings=jnp.asarray(clips.embeddings),
            num_segments=jnp.asarray(clips.num_segments),
            label_ids=jnp.asarray(label_ids),
            offset=clips.scaling.offset,
            scale=clips.scaling.scale,
            num_classes=clips.num_classes,
            use_mask=use_mask,
            examples=examples,
        )

    def batch(self, rows: jax.Array) -> Batch:
        """The clips `rows` [batch] as model input and multi-hot labels."""
        embeddings, mask = model_inputs(
            self.embeddings[rows],
            self.num_segments[rows],
            offset=self.offset,
            scale=self.scale,
            use_mask=self.use_mask,
        )
        labels = jnp.zeros((len(rows), self.num_classes), jnp.float32)
        # The filling is out of bounds, and dropped.
        labels = labels.at[jnp.arange(len(rows))[:, None], self.label_ids[rows]].set(1, mode="drop")
        batch = Batch(embeddings, mask, labels)
        return batch.segments() if self.examples == "segments" else batch
