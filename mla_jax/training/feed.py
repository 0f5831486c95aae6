"""Feeds: where the clips of the steps come from.

`ResidentFeed` holds the whole training set on the device. `HostFeed` leaves it in the host's memory, or in a
memory-mapped file, and sends the clips of the next steps while the device works on those before. Both give
the same batches.
"""

import dataclasses
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mla_jax.config import DataConfig
from mla_jax.data.clips import ClipSet
from mla_jax.errors import UserError
from mla_jax.parallel.mesh import on_all
from mla_jax.parallel.processes import from_main
from mla_jax.training.batches import DeviceClips, device_bytes, most_labels
from mla_jax.training.sampler import InOrder, Sampler
from mla_jax.training.step import MAX_STEPS_PER_CALL

# Large enough that a transfer costs little, and small on any device.
PORTION_BYTES = 64_000_000
PORTIONS = 3
"""How many portions are on the device at once: one in use, the next, and the one that is being sent."""
# The rest is for the model, its gradients and what the compiler puts aside.
_SHARE_OF_MEMORY = 0.6


class Portion(NamedTuple):
    """Clips on the device and a sampler over them, for the steps before `end`."""

    data: DeviceClips
    sampler: Sampler | InOrder
    end: int


@dataclasses.dataclass(frozen=True)
class ResidentFeed:
    """The whole training set on the device."""

    data: DeviceClips
    sampler: Sampler

    def at(self, step: int) -> Portion:
        """The whole set, for all steps."""
        return Portion(self.data, self.sampler, np.iinfo(np.int32).max)

    def close(self) -> None:
        """No-op."""


class HostFeed:
    """Gathers the clips of the next steps in a thread and sends them to the device.

    Of several processes, each gathers the clips of its own devices.
    """

    def __init__(
        self, clips: ClipSet, sampler: Sampler, config: DataConfig, mesh: Mesh | None = None
    ) -> None:
        if sampler.key.ndim:
            raise UserError(
                "several seeds can train together only where the data lie on the device: train them one "
                "after the other (--seeds_together=1), or set data.placement=device"
            )
        self._clips, self._config, self._mesh = clips, config, mesh
        self._batch_size = sampler.batch_size
        # On the host's processor, since the device is busy with steps.
        self._sampler = jax.device_put(sampler, _host_device())
        self._label_width = most_labels(clips)
        clip_bytes = max(1, clips.embeddings[:1].nbytes)
        fitting = PORTION_BYTES // (clip_bytes * self._batch_size)
        # Of small clips tens of thousands of batches fit, but no call makes more steps than this.
        self._steps = min(max(1, fitting), MAX_STEPS_PER_CALL)
        self._rows = jax.jit(lambda sampler, steps: jax.lax.map(sampler, steps))
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._made: dict[int, Future[Portion]] = {}

    def at(self, step: int) -> Portion:
        """The portion with the clips of `step`, which only rises; begins to gather the next portion."""
        number = step // self._steps
        for wanted in (number, number + 1):
            if wanted not in self._made:
                self._made[wanted] = self._worker.submit(self._make, wanted)
        for old in [n for n in self._made if n < number]:
            del self._made[old]
        return self._made[number].result()

    def close(self) -> None:
        """Ends the thread and drops its portions."""
        self._worker.shutdown(wait=True, cancel_futures=True)
        self._made.clear()

    def _make(self, number: int) -> Portion:
        first = number * self._steps
        steps = jax.device_put(
            np.arange(first, first + self._steps, dtype=np.int32), _host_device()
        )
        rows = np.asarray(self._rows(self._sampler, steps)).reshape(-1)
        data = DeviceClips.put(
            self._clips,
            rows=rows,
            use_mask=self._config.mask,
            examples=self._config.examples,
            label_width=self._label_width,
            mesh=self._mesh,
        )
        sampler = InOrder(on_all(jnp.int32(first), self._mesh), self._batch_size)
        return Portion(data, sampler, first + self._steps)


def _host_device() -> jax.Device | None:
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS names others alone
        return None


Feed = ResidentFeed | HostFeed


def make_feed(
    clips: ClipSet, sampler: Sampler, config: DataConfig, mesh: Mesh | None = None
) -> Feed:
    """The feed of a training set.

    Args:
      clips: the training set.
      sampler: draws from it.
      config: its `placement`, `mask` and `examples`.
      mesh: the devices, if there are several.
    """
    if choose_placement(clips, config.placement, mesh) == "host":
        return HostFeed(clips, sampler, config, mesh)
    data = DeviceClips.put(clips, use_mask=config.mask, examples=config.examples, mesh=mesh)
    return ResidentFeed(data, on_all(sampler, mesh))


def choose_placement(clips: ClipSet, placement: str, mesh: Mesh | None) -> str:
    """Where the training set goes, "device" or "host"; the same in all processes.

    `placement` is that of `DataConfig`; "auto": the device if the set takes less than 60 % of its memory.
    """
    if placement != "auto":
        return placement
    devices = mesh.size if mesh is not None else 1
    fits = device_bytes(clips) <= _SHARE_OF_MEMORY * device_memory() * devices
    return from_main(lambda: "device" if fits else "host")


def device_memory() -> float:
    """The memory of the device in bytes; of a CPU that of the host."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return float(stats["bytes_limit"])
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return float("inf")  # not known
