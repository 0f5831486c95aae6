"""An estimate of the time of a step of 2-A-1-A on n chips, from what it computes and what it sends.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m experiments.benchmarks.scaling

The bytes and the number of the collectives are counted in the step as it is compiled for eight devices. The
rest are makers' specifications and assumptions, all of them below; nothing was measured on such chips.
"""

import dataclasses
import math
from pathlib import Path
from typing import NamedTuple

from experiments.benchmarks.cpu import Trainer, step_operations
from experiments.benchmarks.setting import Setting, Sizes
from experiments.benchmarks.worker import collectives
from mla_jax.commands.markdown import markdown_table
from mla_jax.config import Config
from mla_jax.data.clips import ClipSet
from mla_jax.models.multi_level import num_parameters
from mla_jax.parallel.mesh import make_mesh
from mla_jax.training.memory import estimate_memory


class Chip(NamedTuple):
    """A kind of accelerator.

    Attributes:
      name: what it is called.
      operations: a second, of matrix products at JAX's default precision (makers' peak).
      memory: bytes a second.
      link: bytes a second that a chip sends to its neighbours, one way.
      latency, hop: seconds of a small collective, and what each step of the way across the mesh adds.
    """

    name: str
    operations: float
    memory: float
    link: float
    latency: float
    hop: float


CHIPS = (
    Chip("TPU v5e", 197e12, 819e9, 100e9, 5e-6, 1e-6),
    Chip("H100, 400 Gbit/s a GPU", 495e12, 3.35e12, 50e9, 15e-6, 2e-6),
)
# The share of its peak that a chip reaches in products of these sizes; and how often an activation is read or
# written.
_REACHED, _PASSES = 0.4, 3


def seconds(chip: Chip, num_chips: int, batch_size: int, sent: dict[str, float]) -> float:
    """Estimates the seconds of one step.

    Args:
      chip: the kind of chip.
      num_chips: how many.
      batch_size: clips on all of them together.
      sent: the `collectives` of the step.
    """
    config, clips = _setting(batch_size)
    share = batch_size / num_chips
    operations = step_operations(config, clips, 1) * share / batch_size
    memory = estimate_memory(config, clips, 0, None).step * share / batch_size * _PASSES
    work = max(operations / (_REACHED * chip.operations), memory / chip.memory)
    if num_chips == 1:
        return work
    ring = 2 * (num_chips - 1) / num_chips * sent["MB of collectives"] * 1e6 / chip.link
    waiting = sent["collectives"] * (chip.latency + chip.hop * math.sqrt(num_chips))
    return work + ring + waiting


def _setting(batch_size: int) -> tuple[Config, ClipSet]:
    setting = Setting(
        dataclasses.replace(Sizes(), batch_size=batch_size, train_clips=2_000), Path()
    )
    return setting.config, setting.train


def main() -> None:
    """Prints the table."""
    config, clips = _setting(500)
    trainer = Trainer(config, clips, mesh=make_mesh(8))
    sent = collectives(trainer)
    print(
        f"{num_parameters(trainer.state.variables):,} parameters; {sent['collectives']:.0f} collectives a "
        f"step, {sent['MB of collectives']:.1f} MB\n"
    )
    rows = []
    for chip in CHIPS:
        alone = seconds(chip, 1, 500, sent)
        for n in (1, 4, 8, 16, 64, 256):
            same, more = seconds(chip, n, 500, sent), seconds(chip, n, 500 * n, sent)
            rows.append(
                {
                    "chip": chip.name,
                    "chips": str(n),
                    "500 clips in all, ms": f"{same * 1e3:.2f}",
                    "times as fast": f"{alone / same:.1f}",
                    "500 clips a chip, ms": f"{more * 1e3:.2f}",
                    "efficiency": f"{alone / more:.2f}",
                }
            )
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
