"""What the parts of the benchmark work on: sizes, folders, and given or generated data."""

import dataclasses
from functools import cached_property
from pathlib import Path

import numpy as np

from mla_jax.config import Config
from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.data.embedding import Embedding, Scaling
from mla_jax.data.sources import open_packed
from mla_jax.errors import UserError
from mla_jax.presets import preset

CLASSES = 527


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much work the parts do."""

    train_clips: int = 22_160
    eval_clips: int = 20_371
    many_clips: int = 2_000_000
    batch_size: int = 500
    hidden_units: int = 600
    steps: int = 4
    gpu_steps: int = 300
    run_steps: int = 50_000
    evaluations: int = 50
    repeats: int = 7


QUICK = Sizes(
    train_clips=600,
    eval_clips=400,
    many_clips=3_000,
    batch_size=32,
    hidden_units=16,
    steps=1,
    gpu_steps=2,
    run_steps=4,
    evaluations=2,
    repeats=2,
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """The sizes and data of a run of the benchmark.

    Attributes:
      sizes: how much work.
      workdir: where generated data go, to be used again.
      data_dir: a folder with the packed sets `bal_train` and `eval`; empty: generated clips.
      records: a folder of TFRecords, as released; empty: generated ones.
    """

    sizes: Sizes
    workdir: Path
    data_dir: str = ""
    records: str = ""

    @cached_property
    def config(self) -> Config:
        """2-A-1-A of the authors' program."""
        config = preset("yu2018")
        data = dataclasses.replace(config.data, batch_size=self.sizes.batch_size)
        model = dataclasses.replace(config.model, hidden_units=self.sizes.hidden_units)
        return dataclasses.replace(config, data=data, model=model)

    @property
    def data_name(self) -> str:
        """The name of the data, for the rows."""
        return "AudioSet" if self.data_dir else "generated"

    @cached_property
    def train(self) -> ClipSet:
        """Balanced train, or as many random clips."""
        return self._split("bal_train", self.sizes.train_clips)

    @cached_property
    def eval(self) -> ClipSet:
        """Eval, or as many random clips."""
        return self._split("eval", self.sizes.eval_clips)

    def _split(self, name: str, count: int) -> ClipSet:
        if not self.data_dir:
            return random_clips(count, seed=len(name))
        path = Path(self.data_dir) / name
        if not path.is_dir():
            raise UserError(f"{path} does not exist; --data is a folder of the packed sets")
        return open_packed(path)[:count]


def random_clips(count: int, *, seed: int = 0, time: int = 10, features: int = 128) -> ClipSet:
    """Clips of random bytes; class frequencies fall like AudioSet's, 1 to 4 labels a clip.

    Returns:
      `count` clips of `time` x `features` bytes, all of full length, [count] distinct video ids.
    """
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, CLASSES + 1)
    share /= share.sum()
    wanted = rng.integers(1, 5, count)
    drawn = rng.choice(CLASSES, (count, 4), p=share)
    drawn[np.arange(4) >= wanted[:, None]] = -1
    drawn.sort(axis=1)
    first = np.ones(drawn.shape, bool)
    first[:, 1:] = drawn[:, 1:] != drawn[:, :-1]
    keep = first & (drawn >= 0)
    offsets = np.concatenate([[0], np.cumsum(keep.sum(axis=1))])
    return ClipSet(
        embeddings=rng.integers(0, 256, (count, time, features), dtype=np.uint8),
        num_segments=np.full(count, time, np.int32),
        label_offsets=offsets.astype(np.int64),
        label_ids=drawn[keep].astype(np.int32),
        num_classes=CLASSES,
        video_ids=np.char.mod("%011d", np.arange(count) + seed * 10_000_000).astype("S11"),
        start_times=np.zeros(count),
        embedding=Embedding("uint8", features, Scaling.default(np.uint8)),
    )


def many_clips(count: int) -> ClipSet:
    """A large number of random clips; from 50,000 on they repeat."""
    part = random_clips(min(count, 50_000))
    parts = [part] * -(-count // len(part))
    return concatenate(parts)[:count] if len(parts) > 1 else part
