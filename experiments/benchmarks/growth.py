"""How the time of a step grows with the number of clips and the batch, and if the host feeds the device."""

import dataclasses

import jax
import numpy as np

from experiments.benchmarks.cpu import Trainer
from experiments.benchmarks.rows import Row, alone, block, compare
from experiments.benchmarks.setting import Setting, many_clips
from mla_jax.config import DataConfig
from mla_jax.data.clips import ClipSet
from mla_jax.data.packing import pack
from mla_jax.data.sources import is_packed, open_packed
from mla_jax.training.batches import device_bytes
from mla_jax.training.feed import HostFeed
from mla_jax.training.sampler import make_sampler
from mla_jax.training.step import Recipe, run_steps

_BATCHES = (125, 250, 500, 1_000, 2_000, 4_000)


def growth(setting: Setting) -> list[Row]:
    """Step, sampler and memory at three sizes of the data set; the step at six sizes of the batch."""
    sizes = setting.sizes
    rows = []
    for count in (sizes.many_clips // 100, sizes.many_clips // 10, sizes.many_clips):
        clips = many_clips(count)
        build_s = _build_seconds(clips, sizes.batch_size)
        trainer = Trainer(setting.config, clips)
        notes = {"sampler build s": build_s, "device MB": device_bytes(clips) / 1e6}
        rows.append(_step_row(f"data set of {count:,} clips", trainer, setting, notes))
        del trainer
    largest = sizes.batch_size * 8
    clips = many_clips(max(sizes.train_clips, largest))
    for batch_size in _BATCHES:
        scaled = max(1, batch_size * sizes.batch_size // 500)
        data = dataclasses.replace(setting.config.data, batch_size=scaled)
        trainer = Trainer(dataclasses.replace(setting.config, data=data), clips)
        rows.append(_step_row(f"batch of {scaled:,} clips", trainer, setting, {}))
    return rows


def _build_seconds(clips: ClipSet, batch_size: int) -> float:
    def build() -> object:
        return block(make_sampler(clips, "balanced", seed=0, batch_size=batch_size))

    return alone(build, 1)["ours_s"]


def _step_row(what: str, trainer: Trainer, setting: Setting, notes: dict[str, float]) -> Row:
    steps = setting.sizes.steps
    seconds = alone(lambda: trainer.steps(steps), setting.sizes.repeats)["ours_s"] / steps
    batch = trainer.config.data.batch_size
    return Row(
        ours_s=seconds,
        work=f"a step, {what}",
        notes={**notes, "clips a second": batch / seconds},
    )


def host_path(setting: Setting) -> list[Row]:
    """Steps fed by the host from a memory-mapped set, against the set on the device."""
    sizes, config = setting.sizes, setting.config
    folder = setting.workdir / "packed-host"
    if not is_packed(folder):
        pack([many_clips(sizes.many_clips)], folder)
    clips = open_packed(folder)
    resident = Trainer(config, clips)
    fed = FedTrainer(resident, clips)
    count = max(sizes.steps, sizes.gpu_steps if jax.default_backend() != "cpu" else 0)
    timed = compare(lambda: fed.steps(count), lambda: resident.steps(count), sizes.repeats)
    fed.feed.close()
    return [
        Row(
            peer="the same with the data set on the device",
            work=f"{count} steps of {sizes.batch_size}, {len(clips):,} clips memory-mapped",
            **timed,
        )
    ]


class FedTrainer:
    """Our steps, on batches that the host gathers."""

    def __init__(self, like: Trainer, clips: ClipSet) -> None:
        self.like = like
        self.state = jax.tree.map(lambda leaf: leaf.copy(), like.state)
        self.feed = HostFeed(clips, like.sampler, DataConfig())

    def steps(self, count: int) -> None:
        """Makes `count` steps, and waits for the last."""
        begin = step = int(self.state.step)
        while step < begin + count:
            portion = self.feed.at(step)
            now = min(begin + count, portion.end) - step
            self.state, _ = run_steps(
                self.like.model,
                Recipe.of(self.like.config),
                self.state,
                portion.data,
                portion.sampler,
                self.like.key,
                np.int32(now),
            )
            step += now
        block(self.state)
