"""The training loop: `Trainer` makes the steps, `fit` is the whole loop for a model in memory."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mla_jax.config import Config, DataConfig, TrainConfig
from mla_jax.data.clips import ClipSet
from mla_jax.errors import UserError
from mla_jax.models.multi_level import MultiLevelModel
from mla_jax.parallel.mesh import make_mesh, on_all
from mla_jax.parallel.processes import smallest
from mla_jax.training.feed import make_feed
from mla_jax.training.sampler import Sampler, make_sampler
from mla_jax.training.state import TrainState
from mla_jax.training.step import MAX_STEPS_PER_CALL, Recipe, StepMetrics, run_steps

# A compiled call should last about this long: short enough to show progress and to stop between calls,
# long enough that the host costs nothing. The results do not depend on it.
SECONDS_PER_CALL = 1.0
_DROPOUT_STREAM = 2  # apart from the random numbers of the weights and of the sampler


class NotFiniteError(UserError):
    """The loss or the gradient of a step was not finite.

    Attributes:
      step: the step.
      loss, grad_norm: its loss and gradient norm.
      rows: [batch] which clips of the training set were in its batch.
    """

    def __init__(self, step: int, loss: float, grad_norm: float, clips: ClipSet, rows: np.ndarray):
        self.step, self.loss, self.grad_norm, self.rows = step, loss, grad_norm, rows
        what = "gradient" if math.isfinite(loss) else "loss"
        first = ", ".join(clips.describe(i) for i in rows[:3])
        super().__init__(
            f"the {what} of step {step} is not finite (loss {loss}, gradient norm {grad_norm}); its batch "
            f"was {first} and {max(len(rows) - 3, 0)} more; look for extreme values in their embeddings, or "
            "lower optim.learning_rate, or set optim.clip_norm"
        )


class Trainer:
    """Makes the steps of training, many in one compiled call. Use it as a context manager.

    Which clips, which changes of them and which dropout a step sees follow from the seed and the step alone,
    so training that goes on from a saved state gives the same bits as training that never stopped.

    Attributes:
      state: after the last step; the next call donates it, so copy what you want to keep.
      step: the number of steps done.
    """

    def __init__(
        self,
        model: MultiLevelModel,
        state: TrainState,
        clips: ClipSet,
        config: Config,
        *,
        seeds: Sequence[int] = (),
        history: Mapping[str, Any] | None = None,
    ) -> None:
        """Puts the training set where `config.data.placement` says.

        Args:
          model: the model.
          state: where to begin; donated, so use the trainer's.
          clips: the training set.
          config: its `data`, `augment`, `optim` and `train`.
          seeds: instead of `config.train.seed`; several train together, and `state` is a stack of theirs
            (`stack_states`).
          history: `history()` of the trainer that `state` comes from.
        """
        self._model, self._clips, self._recipe = model, clips, Recipe.of(config)
        mesh = make_mesh(config.train.devices)
        self._sampler, key = _randomness(clips, config.data, seeds or [config.train.seed])
        self.state, self._key = on_all((state, key), mesh)
        self._feed = make_feed(clips, self._sampler, config.data, mesh)
        self.step = int(state.step)
        self._steps_per_call = 1
        before = history or {}
        # By name a list of arrays, [steps] or [steps, seeds]: since the last log entry.
        self._history = {
            name: [np.asarray(before[name], np.float32)] if before.get(name) else []
            for name in StepMetrics._fields
        }

    def __enter__(self) -> "Trainer":
        return self

    def __exit__(self, *_: object) -> None:
        self._feed.close()

    def advance(self, stop: int) -> float:
        """Makes steps for about a second, at least one and none after step `stop`.

        Returns:
          The loss of the last of them; of several seeds their mean.

        Raises:
          NotFiniteError: the loss or the gradient of a step was not finite.
        """
        # How long a call took differs between processes; all must make the same call.
        self._steps_per_call = smallest(self._steps_per_call)
        portion = self._feed.at(self.step)
        count = min(self._steps_per_call, stop - self.step, portion.end - self.step)
        began = time.monotonic()
        self.state, metrics = run_steps(
            self._model,
            self._recipe,
            self.state,
            portion.data,
            portion.sampler,
            self._key,
            np.int32(count),
        )
        metrics = jax.tree.map(lambda values: np.asarray(values)[:count], metrics)
        fitting = int(SECONDS_PER_CALL * count / max(time.monotonic() - began, 1e-6))
        self._steps_per_call = max(1, min(fitting, 4 * self._steps_per_call, MAX_STEPS_PER_CALL))
        self._require_finite(metrics)
        for name, values in metrics._asdict().items():
            self._history[name].append(values)
        self.step += count
        return float(metrics.loss[-1].mean())

    def log_entry(self) -> dict[str, Any]:
        """The step, and the means of `loss` and `grad_norm` since the last entry; of several seeds lists."""
        means: dict[str, Any] = {}
        for name, parts in self._history.items():
            means[name] = np.concatenate(parts).mean(axis=0, dtype=np.float64).tolist()
            parts.clear()
        return {"step": self.step, **means}

    def history(self) -> dict[str, Any]:
        """The losses and gradient norms since the last entry, as plain lists that keep every bit."""
        return {
            name: np.concatenate(parts).tolist() if parts else []
            for name, parts in self._history.items()
        }

    def _require_finite(self, metrics: StepMetrics) -> None:
        bad = np.argwhere(~np.isfinite(metrics.loss + metrics.grad_norm))
        if not bad.size:
            return
        where = tuple(bad[0])  # of several seeds: the step, and which seed
        sampler = self._sampler
        if len(where) > 1:
            sampler = dataclasses.replace(sampler, key=sampler.key[where[1]])
        step = self.step + int(where[0])
        loss, grad_norm = float(metrics.loss[where]), float(metrics.grad_norm[where])
        raise NotFiniteError(step + 1, loss, grad_norm, self._clips, np.asarray(sampler(step)))


def fit(
    model: MultiLevelModel,
    state: TrainState,
    clips: ClipSet,
    config: Config,
    *,
    evaluate: Callable[[TrainState], dict[str, Any]] | None = None,
    on_log: Callable[[TrainState, dict[str, Any]], None] | None = None,
) -> TrainState:
    """Trains from the state's step to `config.train.steps`; nothing is saved.

    Args:
      model: the model.
      state: where to begin; donated, so use the one returned.
      clips: the training set.
      config: its `data`, `augment`, `optim` and `train`.
      evaluate: called every `eval_every` steps and at the end; what it returns joins the log entry.
      on_log: called with the state and the log entry `{"step", "loss", "grad_norm", "seconds", ...}` at
        every step that `log_every`, `eval_every` or `checkpoint_every` divides, and at the last. `loss` and
        `grad_norm` are means since the entry before. The state must not be kept beyond the call.

    Returns:
      The state after the last step.

    Raises:
      NotFiniteError: the loss or the gradient of a step was not finite; a UserError that names the step.
    """
    began = time.monotonic()
    with Trainer(model, state, clips, config) as trainer:
        while trainer.step < config.train.steps:
            stop = next_stop(trainer.step, config.train, evaluates=evaluate is not None)
            while trainer.step < stop:
                trainer.advance(stop)
            entry = trainer.log_entry() | {"seconds": time.monotonic() - began}
            if evaluate and due(trainer.step, config.train.eval_every, config.train):
                entry |= evaluate(trainer.state)
            if on_log:
                on_log(trainer.state, entry)
        return trainer.state


def next_stop(step: int, train: TrainConfig, *, evaluates: bool) -> int:
    """The next step at which there is a log entry, an evaluation or a checkpoint, or training ends."""
    periods = [train.log_every, train.checkpoint_every]
    if evaluates and train.eval_every:
        periods.append(train.eval_every)
    return min(train.steps, *((step // period + 1) * period for period in periods))


def due(step: int, every: int, train: TrainConfig) -> bool:
    """Whether something that happens every so many steps (0: at the end only) happens at `step`."""
    return step == train.steps or (every > 0 and step % every == 0)


def _randomness(
    clips: ClipSet, data: DataConfig, seeds: Sequence[int]
) -> tuple[Sampler, jax.Array]:
    """The sampler, and the key of all else that is random; of several seeds both have a stack of keys."""
    samplers = [
        make_sampler(clips, data.sampler, seed=seed, batch_size=data.batch_size) for seed in seeds
    ]
    keys = [jax.random.fold_in(jax.random.key(seed), _DROPOUT_STREAM) for seed in seeds]
    if len(seeds) == 1:
        return samplers[0], keys[0]
    stacked = jnp.stack([sampler.key for sampler in samplers])
    return dataclasses.replace(samplers[0], key=stacked), jnp.stack(keys)
