"""The training step and inference on a CPU, against the same model in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.benchmarks import torch_peer
from experiments.benchmarks.rows import Row, Work, block, compare
from experiments.benchmarks.setting import Setting
from mla_jax.config import Config
from mla_jax.data.clips import ClipSet
from mla_jax.inference.predictor import Predictor, default_batch_size
from mla_jax.models.multi_level import build_model
from mla_jax.parallel.mesh import on_all
from mla_jax.training.batches import DeviceClips
from mla_jax.training.sampler import make_sampler
from mla_jax.training.state import TrainState, fresh_state
from mla_jax.training.step import Recipe, run_steps

PRODUCTS = "its matrix products at the speed of a large one here"
"""The limit that `matrix_product` times."""


class Trainer:
    """Our steps, as `fit` makes them, without what happens between its calls."""

    def __init__(self, config: Config, clips: ClipSet, mesh: Mesh | None = None) -> None:
        self.config = config
        self.model = build_model(config.model, clips.num_classes)
        self.data = DeviceClips.put(clips, mesh=mesh)
        state: TrainState = fresh_state(self.model, clips, config)
        sampler = make_sampler(clips, "balanced", seed=0, batch_size=config.data.batch_size)
        self.state, self.sampler, self.key = on_all((state, sampler, jax.random.key(1)), mesh)

    def steps(self, count: int) -> None:
        """Makes `count` steps, and waits for the last."""
        self.state, _ = run_steps(
            self.model,
            Recipe.of(self.config),
            self.state,
            self.data,
            self.sampler,
            self.key,
            np.int32(count),
        )
        block(self.state)


def cpu_step(setting: Setting) -> list[Row]:
    """Steps of 2-A-1-A with dropout: sample, gather, forward, backward, Adam."""
    torch_peer.on_cpu()
    sizes, config = setting.sizes, setting.config
    ours, theirs = Trainer(config, setting.train), torch_peer.Trainer(config, setting.train)
    operations = step_operations(config, setting.train, sizes.steps)
    return [
        Row(
            peer="PyTorch, as many threads",
            work=f"{sizes.steps} steps of {config.model.architecture}, {sizes.batch_size} clips, float32",
            at_least="1.0x",
            limit=PRODUCTS,
            notes={"operations": operations},
            **compare(
                lambda: ours.steps(sizes.steps),
                lambda: theirs.steps(sizes.steps),
                sizes.repeats,
                matrix_product(operations),
            ),
        )
    ]


def cpu_inference(setting: Setting) -> list[Row]:
    """The eval clips to probabilities."""
    torch_peer.on_cpu()
    config, clips = setting.config, setting.eval
    ours, theirs = Trainer(config, setting.train), torch_peer.Trainer(config, setting.train)
    operations = forward_operations(config, clips) * len(clips) / config.data.batch_size
    batch_size = default_batch_size()
    return [
        Row(
            peer="PyTorch, as many threads, the same batches",
            work=f"{len(clips):,} clips to probabilities, {batch_size} at a time",
            at_least="1.0x",
            limit=PRODUCTS,
            notes={"operations": operations},
            **compare(
                lambda: Predictor(ours.model, ours.state.variables, batch_size=batch_size).predict(
                    clips
                ),
                lambda: theirs.predict(clips, batch_size),
                max(2, setting.sizes.repeats // 2),
                matrix_product(operations),
            ),
        )
    ]


def step_operations(config: Config, clips: ClipSet, steps: int) -> float:
    """Those of training: a backward pass takes twice as many as a forward pass."""
    return steps * 3 * forward_operations(config, clips)


def forward_operations(config: Config, clips: ClipSet) -> float:
    """Multiplications and additions in the matrix products of one batch, forward."""
    model, classes = config.model, clips.num_classes
    units = model.hidden_units

    def of_blocks(count: int) -> int:
        return clips.num_features * units + (count - 1) * units**2

    a_segment = of_blocks(sum(model.stages)) + len(model.stages) * 2 * units * classes
    a_clip = clips.max_segments * a_segment
    if model.clip_blocks:
        a_clip += of_blocks(model.clip_blocks) + units * classes
    if model.mixes_levels:
        a_clip += model.num_levels * classes**2
    return 2.0 * config.data.batch_size * a_clip


def matrix_product(operations: float) -> tuple[Work, float]:
    """A large matrix product, and how often it fits into so many operations: a `limit` for `compare`."""
    size = 8_000 if jax.default_backend() == "gpu" else 2_000
    matrix = jnp.ones((size, size), jnp.float32)
    product = jax.jit(jnp.matmul)
    return lambda: block(product(matrix, matrix)), operations / (2 * size**3)
