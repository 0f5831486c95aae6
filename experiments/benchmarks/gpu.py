"""The training step and a whole run on a GPU, the data set resident there."""

import dataclasses
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import numpy as np

from experiments.benchmarks import torch_peer
from experiments.benchmarks.cpu import Trainer, forward_operations, matrix_product
from experiments.benchmarks.rows import NotMeasuredError, Row, alone, compare
from experiments.benchmarks.setting import Setting, many_clips
from mla_jax.config import TrainConfig
from mla_jax.evaluation.metrics import evaluate
from mla_jax.evaluation.predict import start_prediction
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
    """The rows of `gpu_step`; `device` is PyTorch's name of the device that JAX uses."""
    sizes, config = setting.sizes, setting.config
    clips = many_clips(sizes.many_clips)
    ours = Trainer(config, clips)
    operations = sizes.gpu_steps * 3 * forward_operations(config, clips)
    common: dict[str, Any] = {
        "part": "gpu_step",
        "work": f"{sizes.gpu_steps} steps of {sizes.batch_size}, {len(clips):,} clips on the device",
        "limit": "its matrix products at the speed of a large one here",
        "notes": {"operations": operations},
    }
    limit = matrix_product(operations, 8_000 if device == "cuda" else 500)
    rows = []
    peers = {"PyTorch, eager": (False, "10x"), "PyTorch, torch.compile": (True, "1x")}
    for peer, (compiled, at_least) in peers.items():
        try:
            theirs = torch_peer.Trainer(config, clips, device=device, compiled=compiled)
            timed = compare(
                lambda: ours.steps(sizes.gpu_steps),
                partial(theirs.steps, sizes.gpu_steps),
                max(2, sizes.repeats // 2),
                limit,
            )
        except NotMeasuredError as error:
            timed = alone(lambda: ours.steps(sizes.gpu_steps), sizes.repeats)
            timed["notes"] = common["notes"] | {"not measured": f"peer: {error}"}
        rows.append(Row(**{**common, "peer": peer, "at_least": at_least, **timed}))
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
        """Trains to `steps` with evaluations on the way; the seconds it took."""
        state = fresh_state(model, train, config)
        wanted = dataclasses.replace(config, train=dataclasses.replace(schedule, steps=steps))
        with ThreadPoolExecutor(1) as worker:

            def score(state: TrainState) -> Future[dict[str, Any]]:
                probs = start_prediction(model, state.variables, test)
                return worker.submit(lambda: {"eval_mAP": evaluate(probs(), labels).mAP})

            began = time.perf_counter()
            fit(
                model,
                state,
                train,
                wanted,
                evaluate=score,
                on_record=lambda _, record: found.append(record),
            )
            return time.perf_counter() - began

    run(1)  # compiles
    found.clear()
    seconds = run(sizes.run_steps)
    assert len(found) == sizes.evaluations
    assert all(np.isfinite(record["eval_mAP"]) for record in found)
    operations = sizes.run_steps * 3 * forward_operations(config, train)
    limit = matrix_product(operations, 8_000 if jax.default_backend() == "gpu" else 500)
    return [
        Row(
            part="gpu_run",
            peer="-",
            ours_s=seconds,
            work=f"{sizes.run_steps:,} steps on {len(train):,} clips, {sizes.evaluations} evaluations of "
            f"{len(test):,}",
            at_least="20 s on an H200",
            limit_s=limit[1] * alone(limit[0], sizes.repeats)["ours_s"],
            limit="its matrix products at the speed of a large one here",
            notes={"operations": operations, "moving the data to the device included": True},
        )
    ]
