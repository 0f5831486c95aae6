"""The sampler against the lists that the original programs shuffle."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.rows import Row, block, compare
from experiments.benchmarks.setting import Setting, many_clips
from mla_jax.data.clips import ClipSet
from mla_jax.training.sampler import make_sampler

_BATCHES = 200


def sampler(setting: Setting) -> list[Row]:
    """Building the index of many clips, and drawing batches."""
    sizes = setting.sizes
    clips = many_clips(sizes.many_clips)
    peer = "per-class shuffled lists, in NumPy"

    def ours() -> object:
        return block(make_sampler(clips, "balanced", seed=0, batch_size=sizes.batch_size))

    tracemalloc.start()
    made = ours()
    host_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(made) if hasattr(leaf, "nbytes"))
    build = Row(
        peer=peer,
        work=f"index of {len(clips):,} clips, {len(clips.label_ids):,} labels",
        at_least="under 3 s, 200 MB",
        notes={"peak MB": (host_peak + held) / 1e6, "kept MB": held / 1e6},
        **compare(ours, lambda: ShuffledLists(clips, sizes.batch_size), max(2, sizes.repeats // 2)),
    )

    draw = jax.jit(
        lambda sampler, n: jax.lax.fori_loop(
            0, n, lambda step, total: total + jnp.sum(sampler(step)), jnp.int32(0)
        )
    )
    lists = ShuffledLists(clips, sizes.batch_size)
    timed = compare(
        lambda: block(draw(made, _BATCHES)),
        lambda: [lists.batch() for _ in range(_BATCHES)],
        sizes.repeats,
    )
    batches = Row(
        peer=peer,
        work=f"{_BATCHES} batches of {sizes.batch_size}",
        at_least="1 % of a CPU step",
        notes={"us a batch": timed["ours_s"] / _BATCHES * 1e6},
        **timed,
    )
    return [build, batches]


class ShuffledLists:
    """As the original programs: a list of clips for each class, shuffled, and again whenever it ends."""

    def __init__(self, clips: ClipSet, batch_size: int) -> None:
        self.rng, self.batch_size = np.random.default_rng(0), batch_size
        owner = np.repeat(np.arange(len(clips)), np.diff(clips.label_offsets))
        order = np.argsort(clips.label_ids, kind="stable")
        bounds = np.cumsum(clips.class_counts())[:-1]
        lists = np.split(owner[order], bounds)
        self.lists = [self.rng.permutation(rows) for rows in lists if len(rows)]
        self.places = [0] * len(self.lists)
        self.queue: list[int] = []

    def batch(self) -> np.ndarray:
        """The clips of the next batch, [batch_size] indices."""
        while len(self.queue) < self.batch_size:
            self.queue += self.rng.permutation(len(self.lists)).tolist()
        drawn, self.queue = self.queue[: self.batch_size], self.queue[self.batch_size :]
        rows = []
        for k in drawn:
            rows.append(self.lists[k][self.places[k]])
            self.places[k] += 1
            if self.places[k] == len(self.lists[k]):
                self.places[k] = 0
                self.rng.shuffle(self.lists[k])
        return np.array(rows)
