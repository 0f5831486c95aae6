"""The training step and a whole run on a GPU, the data set resident there."""

import dataclasses
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import numpy as np

from experiments.benchmarks import torch_peer
from experiments.benchmarks.cpu import PRODUCTS, Trainer, matrix_product, step_operations
from experiments.benchmarks.rows import NotMeasuredError, Row, alone, compare
from experiments.benchmarks.setting import Setting, many_clips
from mla_jax.config import TrainConfig
from mla_jax.evaluation.metrics import evaluate
from mla_jax.inference.predictor import Predictor
from mla_jax.models.multi_level import build_model
from mla_jax.training.loop import fit
from mla_jax.training.state import TrainState, fresh_state


def _require_gpu() -> None:
    if jax.default_backend() != "gpu":
        raise NotMeasuredError("no GPU")


def gpu_step(setting: Setting) -> list[Row]:
    """Steps on a set of 2,000,000 clips, against PyTorch as it is written and compiled."""
    _require_gpu()
    return steps_on(setting, "cuda")


def steps_on(setting: Setting, device: str) -> list[Row]:
    """The rows of `gpu_step`; `device` is PyTorch's name for the device that JAX uses."""
    sizes, config = setting.sizes, setting.config
    clips = many_clips(sizes.many_clips)
    ours = Trainer(config, clips)
    operations = step_operations(config, clips, sizes.gpu_steps)
    rows = []
    peers = {"PyTorch, eager": (False, "10x"), "PyTorch, torch.compile": (True, "1x")}
    for peer, (compiled, at_least) in peers.items():
        notes: dict[str, Any] = {"operations": operations}
        try:
            theirs = torch_peer.Trainer(config, clips, device=device, compiled=compiled)
            timed = compare(
                lambda: ours.steps(sizes.gpu_steps),
                partial(theirs.steps, sizes.gpu_steps),
                max(2, sizes.repeats // 2),
                matrix_product(operations),
            )
        except NotMeasuredError as error:
            timed = alone(lambda: ours.steps(sizes.gpu_steps), sizes.repeats)
            notes["not measured"] = f"peer: {error}"
        rows.append(
            Row(
                peer=peer,
                work=f"{sizes.gpu_steps} steps of {sizes.batch_size}, {len(clips):,} clips on the device",
                at_least=at_least,
                limit=PRODUCTS,
                notes=notes,
                **timed,
            )
        )
    return rows


def gpu_run(setting: Setting) -> list[Row]:
    """50,000 steps on 2,000,000 clips with 50 evaluations of 20,000, mAP included."""
    _require_gpu()
    return run_on(setting)


def run_on(setting: Setting) -> list[Row]:
    """The row of `gpu_run`, on whatever device JAX uses."""
    sizes = setting.sizes
    train, test = many_clips(sizes.many_clips), setting.eval
    every = sizes.run_steps // sizes.evaluations
    schedule = TrainConfig(
        steps=sizes.run_steps, log_every=every, eval_every=every, checkpoint_every=sizes.run_steps
    )
    config = dataclasses.replace(setting.config, train=schedule)
    model = build_model(config.model, train.num_classes)
    labels = test.multi_hot()
    found: list[dict[str, Any]] = []

    def run(steps: int) -> float:
        """Trains to `steps` with evaluations on the way; returns the seconds it took."""
        state = fresh_state(model, train, config)
        wanted = dataclasses.replace(config, train=dataclasses.replace(schedule, steps=steps))
        with ThreadPoolExecutor(1) as worker:

            def score(state: TrainState) -> dict[str, Future[float]]:
                probs = Predictor(model, state.variables).start(test)
                return {"eval_mAP": worker.submit(lambda: evaluate(probs(), labels).mAP)}

            began = time.perf_counter()
            fit(
                model,
                state,
                train,
                wanted,
                evaluate=score,
                on_log=lambda _, entry: found.append(entry),
            )
            assert all(np.isfinite(entry["eval_mAP"].result()) for entry in found)
            return time.perf_counter() - began

    run(1)  # compiles
    found.clear()
    seconds = run(sizes.run_steps)
    assert len(found) == sizes.evaluations
    operations = step_operations(config, train, sizes.run_steps)
    product, times = matrix_product(operations)
    return [
        Row(
            ours_s=seconds,
            work=f"{sizes.run_steps:,} steps on {len(train):,} clips, {sizes.evaluations} evaluations of "
            f"{len(test):,}",
            at_least="20 s on an H200",
            limit_s=times * alone(product, sizes.repeats)["ours_s"],
            limit=PRODUCTS,
            notes={"operations": operations, "moving the data to the device included": True},
        )
    ]
