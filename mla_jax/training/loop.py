"""`fit`: steps, and what happens between them."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import jax
import jax.numpy as jnp
import numpy as np

from mla_jax.config import Config
from mla_jax.data.clips import ClipSet
from mla_jax.data.sampler import Sampler, make_sampler
from mla_jax.errors import UserError
from mla_jax.models.multi_level import MultiLevelModel
from mla_jax.training.feed import make_feed
from mla_jax.training.mesh import make_mesh, on_all
from mla_jax.training.processes import agree
from mla_jax.training.state import TrainState
from mla_jax.training.step import MAX_STEPS_PER_CALL, StepMetrics, run_steps
from mla_jax.training.window import Record, Window

# A compiled call should last about this long: short enough to show progress and to stop between calls,
# long enough that the host costs nothing. The results do not depend on it.
_SECONDS_PER_CALL = 1.0
_DROPOUT_STREAM = 2  # apart from the random numbers of the weights and of the sampler


class NotFiniteError(UserError):
    """The loss or the gradient of a step was not finite.

    Attributes:
      step: the step.
      loss, grad_norm: its figures.
      rows: [batch] which clips of the training set it was made of.
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


def next_stop(step: int, config: Config, *, evaluates: bool) -> int:
    """The next step at which something is to be done: a record, an evaluation, a checkpoint, the end."""
    train = config.train
    periods = [train.log_every, train.checkpoint_every]
    if evaluates and train.eval_every:
        periods.append(train.eval_every)
    return min(train.steps, *((step // period + 1) * period for period in periods))


def due(step: int, every: int, config: Config) -> bool:
    """Whether something that happens every so many steps (0: at the end only) happens at `step`."""
    return step == config.train.steps or (every > 0 and step % every == 0)


def fit(
    model: MultiLevelModel,
    state: TrainState,
    clips: ClipSet,
    config: Config,
    *,
    seeds: Sequence[int] | None = None,
    evaluate: Callable[[TrainState], Record | Future[Record]] | None = None,
    on_record: Callable[[TrainState, Record], None] | None = None,
    on_progress: Callable[[int, float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_stop: Callable[[TrainState, Window, float], None] | None = None,
    window: Window | None = None,
) -> TrainState:
    """Trains from the state's step to `config.train.steps`.

    Which clips and which dropout a step sees follow from the seed and the step alone, so a run that goes
    on from a checkpoint gives the same bits as one that never stopped.

    Args:
      model: the model.
      state: where to begin; donated, so use the one returned.
      clips: the training set; it lies where `config.data.placement` says.
      config: its `data`, `optim` and `train`.
      seeds: train these together instead of `config.train.seed` alone; `state` is then a stack of theirs
        (`stack_states`), and `loss` and `grad_norm` of a record are lists.
      evaluate: called every `eval_every` steps and at the end; what it returns joins the record. It may
        return a future, and the steps go on until that is done (in a run of a single process).
      on_record: called with the state and `{"step", "loss", "grad_norm", "seconds", ...}` at every step
        that `log_every`, `eval_every` or `checkpoint_every` divides, and at the last. `loss` and
        `grad_norm` are means since the record before. The state must not be kept beyond the call.
      on_progress: called with the step and its loss about once a second.
      should_stop: asked about once a second whether to end before the last step; of several processes
        all end where one says so.
      on_stop: called then with the state, the steps since the last record, and the seconds so far.
      window: of the `on_stop` of the run that `state` comes from, if it was ended so.

    Returns:
      The state after the last step.

    Raises:
      NotFiniteError: the loss or the gradient of a step was not finite; a UserError that names the step.
    """
    sampler, dropout_key = _randomness(clips, config, seeds)
    mesh = make_mesh(config.train.devices)
    state, dropout_key = on_all((state, dropout_key), mesh)
    feed = make_feed(
        clips,
        sampler,
        placement=config.data.placement,
        use_mask=config.data.mask,
        examples=config.data.examples,
        mesh=mesh,
    )
    step, steps_per_call, began = int(state.step), 1, time.monotonic()
    window = window or Window()
    waiting = _Waiting(on_record)
    try:
        while step < config.train.steps:
            stop = next_stop(step, config, evaluates=evaluate is not None)
            while step < stop:
                asked = bool(should_stop and should_stop())
                stopping, steps_per_call = agree(asked, steps_per_call)
                if stopping:
                    waiting.settle()
                    if on_stop:
                        on_stop(state, window, time.monotonic() - began)
                    return state
                portion = feed.at(step)
                count = min(steps_per_call, stop - step, portion.end - step)
                call_began = time.monotonic()
                state, history = run_steps(
                    model,
                    config.optim,
                    state,
                    portion.data,
                    portion.sampler,
                    dropout_key,
                    np.int32(count),
                )
                history = jax.tree.map(lambda x, n=count: np.asarray(x)[:n], history)
                seconds = time.monotonic() - call_began
                _require_finite(step, history, clips, sampler)
                window.add(history)
                step += count
                steps_per_call = _next_count(steps_per_call, count, seconds)
                if on_progress:
                    on_progress(step, float(history.loss[-1].mean()))
                waiting.settle(only_if_done=True)
            waiting.settle()
            record: Record = {
                "step": step,
                **window.means(),
                "seconds": time.monotonic() - began,
            }
            window = Window()
            due_now = evaluate is not None and due(step, config.train.eval_every, config)
            waiting.add(state, record, evaluate(state) if evaluate and due_now else {})
        waiting.settle()
    except NotFiniteError:
        waiting.settle()
        raise
    finally:
        feed.close()
    return state


class _Waiting:
    """The record whose evaluation is not finished, while the steps behind it go on."""

    def __init__(self, on_record: Callable[[TrainState, Record], None] | None) -> None:
        self._on_record = on_record
        self._held: tuple[TrainState, Record, Future[Record]] | None = None

    def add(self, state: TrainState, record: Record, found: Record | Future[Record]) -> None:
        """Gives the record at once, or keeps it until its evaluation is there."""
        if isinstance(found, Future):
            # The steps that follow take the state's memory.
            self._held = (jax.tree.map(jnp.copy, state), record, found)
        elif self._on_record:
            self._on_record(state, record | found)

    def settle(self, *, only_if_done: bool = False) -> None:
        """Waits for the evaluation, if there is one, and gives its record."""
        if self._held is None or (only_if_done and not self._held[2].done()):
            return
        (state, record, found), self._held = self._held, None
        record |= found.result()
        if self._on_record:
            self._on_record(state, record)


def _randomness(
    clips: ClipSet, config: Config, seeds: Sequence[int] | None
) -> tuple[Sampler, jax.Array]:
    """The sampler and the key of the dropout; with a key for each of several seeds in both."""

    def of(seed: int) -> tuple[Sampler, jax.Array]:
        sampler = make_sampler(
            clips, config.data.sampler, seed=seed, batch_size=config.data.batch_size
        )
        return sampler, jax.random.fold_in(jax.random.key(seed), _DROPOUT_STREAM)

    if seeds is None:
        return of(config.train.seed)
    samplers, dropout_keys = zip(*(of(seed) for seed in seeds), strict=True)
    keys = jnp.stack([sampler.key for sampler in samplers])
    return dataclasses.replace(samplers[0], key=keys), jnp.stack(dropout_keys)


def _next_count(before: int, count: int, seconds: float) -> int:
    """How many steps the next call should make, at most four times as many as this one."""
    fitting = int(_SECONDS_PER_CALL * count / max(seconds, 1e-6))
    return max(1, min(fitting, 4 * max(before, 1), MAX_STEPS_PER_CALL))


def _require_finite(step: int, history: StepMetrics, clips: ClipSet, sampler: Sampler) -> None:
    bad = np.argwhere(~np.isfinite(history.loss + history.grad_norm))
    if bad.size:
        where = tuple(bad[0])  # of several seeds: the step, and which seed
        if len(where) > 1:
            sampler = dataclasses.replace(sampler, key=sampler.key[where[1]])
        rows = np.asarray(sampler(step + int(where[0])))
        figures = float(history.loss[where]), float(history.grad_norm[where])
        raise NotFiniteError(step + int(where[0]) + 1, *figures, clips, rows)
