"""How the costs grow: with the number of clips, with the batch, and where the host feeds the device."""

import dataclasses
import time

import jax
import numpy as np

from experiments.benchmarks.cpu import Trainer
from experiments.benchmarks.rows import Row, block, compare
from experiments.benchmarks.setting import Setting, many_clips
from mla_jax.data.clips import ClipSet
from mla_jax.data.packed import is_packed, open_packed, pack
from mla_jax.data.sampler import make_sampler
from mla_jax.training.batches import device_bytes
from mla_jax.training.feed import HostFeed
from mla_jax.training.step import run_steps

_BATCHES = (125, 250, 500, 1_000, 2_000, 4_000)


def growth(setting: Setting) -> list[Row]:
    """Step, sampler and memory at three sizes of the data set; the step at six sizes of the batch."""
    sizes = setting.sizes
    rows = []
    for count in (sizes.many_clips // 100, sizes.many_clips // 10, sizes.many_clips):
        clips = many_clips(count)
        began = time.perf_counter()
        block(make_sampler(clips, "balanced", seed=0, batch_size=sizes.batch_size))
        build_s = time.perf_counter() - began
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


def _step_row(what: str, trainer: Trainer, setting: Setting, notes: dict[str, float]) -> Row:
    sizes = setting.sizes
    trainer.steps(1)
    seconds = []
    for _ in range(sizes.repeats):
        began = time.perf_counter()
        trainer.steps(sizes.steps)
        seconds.append((time.perf_counter() - began) / sizes.steps)
    median = float(np.median(seconds))
    batch = trainer.config.data.batch_size
    return Row(
        part="growth",
        peer="-",
        ours_s=median,
        work=f"a step, {what}",
        notes={**notes, "clips a second": batch / median},
    )


def host_path(setting: Setting) -> list[Row]:
    """Steps fed by the host from a memory-mapped set, against the set on the device."""
    sizes, config = setting.sizes, setting.config
    folder = setting.workdir / "packed-host"
    if not is_packed(folder):
        pack([many_clips(sizes.many_clips)], folder)
    clips = open_packed(folder)
    resident = Trainer(config, clips)
    fed = _FedTrainer(resident, clips)
    count = max(sizes.steps, sizes.gpu_steps if jax.default_backend() != "cpu" else 0)
    timed = compare(lambda: fed.steps(count), lambda: resident.steps(count), sizes.repeats)
    fed.feed.close()
    return [
        Row(
            part="host_path",
            peer="the same with the data set on the device",
            work=f"{count} steps of {sizes.batch_size}, {len(clips):,} clips memory-mapped",
            at_least="-",
            **timed,
        )
    ]


class _FedTrainer:
    """Steps of ours with batches that the host gathers."""

    def __init__(self, like: Trainer, clips: ClipSet) -> None:
        self.like = like
        self.state = jax.tree.map(lambda leaf: leaf.copy(), like.state)
        self.feed = HostFeed(clips, like.sampler, use_mask=True, examples="clips")

    def steps(self, count: int) -> None:
        """Makes `count` steps, and waits for the last."""
        begin = step = int(self.state.step)
        while step < begin + count:
            portion = self.feed.at(step)
            now = min(begin + count, portion.end) - step
            self.state, _ = run_steps(
                self.like.model,
                self.like.config.optim,
                self.state,
                portion.data,
                portion.sampler,
                self.like.key,
                np.int32(now),
            )
            step += now
        block(self.state)
