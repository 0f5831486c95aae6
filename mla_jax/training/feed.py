"""Where the clips of the steps come from: the whole set on the device, or the host, ahead of the steps.

Both give the same batches. A portion is what one compiled call may work with: clips on the device, a
sampler over them, and the step before which it must end.
"""

import dataclasses
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mla_jax.data.clips import ClipSet
from mla_jax.data.sampler import InOrder, Sampler
from mla_jax.errors import UserError
from mla_jax.training.batches import DeviceClips, device_bytes, most_labels
from mla_jax.training.mesh import on_all
from mla_jax.training.processes import from_main
from mla_jax.training.step import MAX_STEPS_PER_CALL

# Gathered and sent in one piece: long enough that the transfer costs little, and small on any device.
PORTION_BYTES = 64_000_000
PORTIONS = 3
"""As many lie on the device at once: one in use, the next, and the one that is being sent."""
# Of the device's memory; the rest is for the model, its gradients and what the compiler puts aside.
_SHARE_OF_MEMORY = 0.6


class Portion(NamedTuple):
    """Clips on the device and a sampler over them, for all steps before `end`."""

    data: DeviceClips
    sampler: Sampler | InOrder
    end: int


class Feed(Protocol):
    """Gives the portion that serves a step."""

    def at(self, step: int) -> Portion:
        """The portion of `step`, which is asked for in rising order."""

    def close(self) -> None:
        """Ends what goes on in the background."""


@dataclasses.dataclass(frozen=True)
class ResidentFeed:
    """The whole set lies on the device."""

    data: DeviceClips
    sampler: Sampler

    def at(self, step: int) -> Portion:
        """Everything, for good."""
        return Portion(self.data, self.sampler, np.iinfo(np.int32).max)

    def close(self) -> None:
        """Nothing to end."""


class HostFeed:
    """The set stays in the host's memory, or in a memory-mapped file.

    The clips of the next steps are gathered and sent while the device works on those before; of several
    processes each gathers those of its own devices.
    """

    def __init__(
        self,
        clips: ClipSet,
        sampler: Sampler,
        *,
        use_mask: bool,
        examples: str,
        mesh: Mesh | None = None,
    ) -> None:
        if sampler.key.ndim:
            raise UserError(
                "several seeds can train together only where the data lie on the device: train them one "
                "after the other (--seeds_together=1), or set data.placement=device"
            )
        self._clips, self._use_mask, self._examples = clips, use_mask, examples
        self._mesh = mesh
        self._batch_size = sampler.batch_size
        # The device is busy with steps; drawing waits for nothing on the host's own.
        self._sampler = jax.device_put(sampler, _host_device())
        self._label_width = most_labels(clips)
        clip_bytes = max(1, clips.embeddings[:1].nbytes)
        fitting = PORTION_BYTES // (clip_bytes * self._batch_size)
        # No call makes more steps; of small clips tens of thousands fit, and a short run would draw them all.
        self._steps = min(max(1, fitting), MAX_STEPS_PER_CALL)
        self._rows = jax.jit(lambda sampler, steps: jax.lax.map(sampler, steps))
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._made: dict[int, Future[Portion]] = {}

    def at(self, step: int) -> Portion:
        """The portion of `step`; begins with the one behind it."""
        number = step // self._steps
        for wanted in (number, number + 1):
            if wanted not in self._made:
                self._made[wanted] = self._worker.submit(self._make, wanted)
        for old in [n for n in self._made if n < number]:
            del self._made[old]
        return self._made[number].result()

    def close(self) -> None:
        """Ends the thread; what it has begun is thrown away."""
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
            use_mask=self._use_mask,
            examples=self._examples,
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


def make_feed(
    clips: ClipSet,
    sampler: Sampler,
    *,
    placement: str,
    use_mask: bool,
    examples: str,
    mesh: Mesh | None = None,
) -> Feed:
    """The feed of a training set.

    Args:
      clips: the training set.
      sampler: over it.
      placement: device, host, or auto: the devices if the set takes less than 60 % of their memory.
      use_mask, examples: as in `DataConfig`.
      mesh: the devices, if there are several.
    """
    if choose_placement(clips, placement, mesh) == "host":
        return HostFeed(clips, sampler, use_mask=use_mask, examples=examples, mesh=mesh)
    data = DeviceClips.put(clips, use_mask=use_mask, examples=examples, mesh=mesh)
    return ResidentFeed(data, on_all(sampler, mesh))


def choose_placement(clips: ClipSet, placement: str, mesh: Mesh | None) -> str:
    """What `data.placement` comes to, device or host; the same in all processes."""
    if placement != "auto":
        return placement
    devices = mesh.size if mesh is not None else 1
    fits = device_bytes(clips) <= _SHARE_OF_MEMORY * device_memory() * devices
    return from_main(lambda: "device" if fits else "host")


def device_memory() -> float:
    """Bytes of memory of the device, or of the host where the device is its processor."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return float(stats["bytes_limit"])
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return float("inf")  # not known: try
