"""An estimate of the memory that training takes of each device, made before it starts."""

from typing import NamedTuple

from jax.sharding import Mesh

from mla_jax.config import Config, ModelConfig
from mla_jax.data.clips import ClipSet
from mla_jax.parallel.mesh import padded_size
from mla_jax.training.batches import device_bytes
from mla_jax.training.feed import PORTION_BYTES, PORTIONS, choose_placement, device_memory

_FLOAT = 4
# How many [batch, time, H] arrays XLA keeps for a block, and [batch, time, H or K] arrays for a head's map,
# between forward and backward: found by `compile().memory_analysis()` of the training loop.
_OF_BLOCK, _OF_MAP, _OF_MAP_NORM = 3.5, 4.0, 1.6


class MemoryEstimate(NamedTuple):
    """Bytes of one device.

    Attributes:
      data: the clips, or the portions that the host has sent.
      state: parameters, Adam's moments and the average of the parameters, if there is one; all twice, since a
        copy of them is saved as a checkpoint.
      step: gradients and activations.
      there: all that the device has.
    """

    data: float
    state: float
    step: float
    there: float

    @property
    def total(self) -> float:
        """All that training takes."""
        return self.data + self.state + self.step

    def __str__(self) -> str:
        parts = ", ".join(
            f"{name} {_size(getattr(self, name))}" for name in ("data", "state", "step")
        )
        return (
            f"memory of each device, estimated: {_size(self.total)} of {_size(self.there)} ({parts})"
            + ("; it may not fit: lower data.batch_size" if self.total > self.there else "")
        )


def estimate_memory(
    config: Config, clips: ClipSet, num_parameters: int, mesh: Mesh | None
) -> MemoryEstimate:
    """The memory that training on `clips` takes of each device.

    Args:
      config: the settings.
      clips: the training set.
      num_parameters: of the model.
      mesh: the devices, if there are several.
    """
    devices = mesh.size if mesh is not None else 1
    data: float = device_bytes(clips) / devices
    if choose_placement(clips, config.data.placement, mesh) == "host":
        data = min(data, PORTIONS * PORTION_BYTES / devices)
    batch = padded_size(config.data.batch_size, mesh) // devices
    activations = batch * _numbers_of_clip(config.model, clips)
    copies = 4 if config.optim.average_decay else 3
    return MemoryEstimate(
        data=data,
        state=2 * copies * _FLOAT * num_parameters,
        step=_FLOAT * (activations + num_parameters),
        there=device_memory(),
    )


def _numbers_of_clip(model: ModelConfig, clips: ClipSet) -> float:
    """How many numbers are kept for each clip of a batch."""
    maps = 1 if model.pooling in ("mean", "max") else 2
    width = clips.num_classes if model.attend_to == "decisions" else model.hidden_units
    of_block = _OF_BLOCK * model.hidden_units
    of_head = (_OF_MAP + (_OF_MAP_NORM if model.head_norm else 0)) * width * maps
    of_segment = of_block * sum(model.stages) + of_head * len(model.stages)
    return clips.max_segments * of_segment + of_block * model.clip_blocks


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB"
