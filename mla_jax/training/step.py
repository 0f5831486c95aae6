"""One step of training, and many of them in one compiled call."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mla_jax.config import AugmentConfig, Config, OptimConfig
from mla_jax.models.multi_level import MultiLevelModel
from mla_jax.parallel.mesh import constrain
from mla_jax.training.augment import Changes, changed_batch, draw_changes
from mla_jax.training.batches import Batch, DeviceClips
from mla_jax.training.losses import binary_cross_entropy, kernel_penalty
from mla_jax.training.optimizer import make_optimizer
from mla_jax.training.sampler import InOrder, Sampler
from mla_jax.training.state import TrainState, axes_of_seeds

MAX_STEPS_PER_CALL = 1000
DRAWN_AHEAD = 64
"""For so many steps at once the batches are drawn: in each turn of its loops a GPU waits for the host."""
# Of the keys that are made of a run's key: steps, whose number dropout's are made of, are below 2^31.
_AUGMENT_STREAM = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings that steps are made by, besides model and data.

    Attributes:
      optim, augment: sections of `Config`.
      num_steps: `train.steps`, if the schedule of the learning rate looks at it, else 0: then runs of another
        length are the same program.
    """

    optim: OptimConfig
    augment: AugmentConfig
    num_steps: int

    @classmethod
    def of(cls, config: Config) -> "Recipe":
        """The recipe of a run."""
        constant = config.optim.schedule == "constant"
        return cls(config.optim, config.augment, 0 if constant else config.train.steps)


class StepMetrics(NamedTuple):
    """What a step reports: scalars; of many steps [steps] or [steps, seeds]."""

    loss: jax.Array
    grad_norm: jax.Array


def train_step(
    model: MultiLevelModel,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    dropout_key: jax.Array,
    *,
    l2: float = 0.0,
    level_loss: float = 0.0,
) -> tuple[TrainState, StepMetrics]:
    """One step of gradient descent.

    Args:
      model, optimizer: what is trained, and how.
      state: before the step.
      batch: the clips of the step.
      dropout_key: the same at every step; the step's own key is made of it.
      l2: the weight of `kernel_penalty` in the loss.
      level_loss: the weight in the loss of the mean over the levels' own losses.
    """

    def loss_of(params: optax.Params) -> tuple[jax.Array, Any]:
        logits, updates = model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            batch.embeddings,
            batch.mask,
            train=True,
            rngs={"dropout": jax.random.fold_in(dropout_key, state.step)},
            mutable=["batch_stats", "levels"] if level_loss else ["batch_stats"],
        )
        there = jnp.any(batch.mask, axis=1).astype(logits.dtype)
        loss = binary_cross_entropy(logits, batch.labels, there, batch.known)
        if level_loss:
            levels: Any = updates.pop("levels")["logits"]  # type: ignore[call-overload]
            own = [binary_cross_entropy(x, batch.labels, there, batch.known) for x in levels]
            loss += level_loss * sum(own) / len(own)
        return loss + l2 * kernel_penalty(params) if l2 else loss, updates

    (loss, updates), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    moves, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, moves)
    state = state.after_step(params, updates.get("batch_stats", {}), opt_state)
    return state, StepMetrics(loss, optax.tree.norm(grads))


_Drawn = tuple[jax.Array, Changes]
"""The clips of a step, and how they are changed."""


def _draw(
    augment: AugmentConfig,
    time: int,
    sampler: Sampler | InOrder,
    key: jax.Array,
    step: jax.Array,
) -> _Drawn:
    """What is drawn for a step, apart from dropout; `time` is the most segments of a clip."""
    rows = sampler(step)
    step_key = jax.random.fold_in(jax.random.fold_in(key, _AUGMENT_STREAM), step)
    return rows, draw_changes(augment, step_key, rows, time)


@partial(jax.jit, static_argnames=("model", "recipe"), donate_argnames=("state",))
def run_steps(
    model: MultiLevelModel,
    recipe: Recipe,
    state: TrainState,
    data: DeviceClips,
    sampler: Sampler | InOrder,
    key: jax.Array,
    num_steps: jax.Array | int,
) -> tuple[TrainState, StepMetrics]:
    """Up to MAX_STEPS_PER_CALL steps without the host: sample, gather, augment, forward, backward, Adam.

    The number of steps is an argument of one compiled program, so training gives the same bits however it
    is cut into calls. A call ends early after a step whose loss or gradient is not finite.

    Several seeds train together if `key` and the sampler's key are arrays of keys, and `state` is a
    stack (`mla_jax.training.state.stack_states`).

    Args:
      model, recipe: what is trained, and how.
      state: before the steps; donated.
      data, sampler: the clips on the device, and which of them each step takes.
      key: of dropout, as in `train_step`, and of what is augmented.
      num_steps: int32 scalar.

    Returns:
      The new state, and metrics [MAX_STEPS_PER_CALL], or [MAX_STEPS_PER_CALL, seeds], of which as many count
      as steps were made.
    """
    optim, augment = recipe.optim, recipe.augment
    optimizer = make_optimizer(optim, recipe.num_steps)
    draw = partial(_draw, augment, data.embeddings.shape[1])

    def one_step(
        state: TrainState, drawn: _Drawn, key: jax.Array
    ) -> tuple[TrainState, StepMetrics]:
        batch = changed_batch(data, *drawn, augment)
        return train_step(
            model, optimizer, state, batch, key, l2=optim.l2, level_loss=optim.level_loss
        )

    if key.ndim:
        axes = axes_of_seeds(state)
        keys_differ = dataclasses.replace(jax.tree.map(lambda _: None, sampler), key=0)
        draw = jax.vmap(draw, in_axes=(keys_differ, 0, None))
        one_step = jax.vmap(one_step, in_axes=(axes, 0, 0), out_axes=(axes, 0))
    empty = jnp.full((MAX_STEPS_PER_CALL, *key.shape), jnp.nan, jnp.float32)
    Carry = tuple[jax.Array, jax.Array, TrainState, StepMetrics]

    def some_steps(carry: Carry) -> Carry:
        begin, _, state, _ = carry
        steps = state.step + jnp.arange(DRAWN_AHEAD)
        drawn = constrain(jax.vmap(partial(draw, sampler, key))(steps), data.mesh)

        def body(carry: Carry) -> Carry:
            done, _, state, history = carry
            now = jax.tree.map(lambda of_all: of_all[done - begin], drawn)
            state, metrics = constrain(one_step(state, now, key), data.mesh)
            history = jax.tree.map(lambda h, m: h.at[done].set(m), history, metrics)
            finite = jnp.all(jnp.isfinite(metrics.loss + metrics.grad_norm))
            return done + 1, finite, state, history

        return jax.lax.while_loop(until(jnp.minimum(num_steps, begin + DRAWN_AHEAD)), body, carry)

    def until(stop: jax.Array | int) -> Callable[[Carry], jax.Array]:
        return lambda carry: (carry[0] < stop) & carry[1]

    start = (jnp.int32(0), jnp.bool_(True), state, StepMetrics(empty, empty))
    _, _, state, history = jax.lax.while_loop(until(num_steps), some_steps, start)
    return state, history
