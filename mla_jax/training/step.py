"""One training step, and a run of many in one compiled call with the data set on the device."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mla_jax.config import OptimConfig
from mla_jax.data.sampler import Sampler
from mla_jax.models.multi_level import MultiLevelModel
from mla_jax.training.batches import Batch, DeviceClips
from mla_jax.training.losses import binary_cross_entropy
from mla_jax.training.state import TrainState, keras_adam

MAX_STEPS_PER_CALL = 1000


class StepMetrics(NamedTuple):
    """What a step reports: scalars of one step, or [steps] arrays of a run."""

    loss: jax.Array
    grad_norm: jax.Array


def train_step(
    model: MultiLevelModel,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    dropout_key: jax.Array,
) -> tuple[TrainState, StepMetrics]:
    """One step of gradient descent; `dropout_key` is the same at every step."""

    def loss_of(params: optax.Params) -> tuple[jax.Array, Any]:
        logits, updates = model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            batch.embeddings,
            batch.mask,
            train=True,
            rngs={"dropout": jax.random.fold_in(dropout_key, state.step)},
            mutable=["batch_stats"],
        )
        return binary_cross_entropy(logits, batch.labels), updates

    (loss, updates), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    moves, opt_state = optimizer.update(grads, state.opt_state, state.params)
    state = TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, moves),
        batch_stats=updates.get("batch_stats", {}),
        opt_state=opt_state,
    )
    return state, StepMetrics(loss, optax.tree.norm(grads))


@partial(jax.jit, static_argnames=("model", "optim"), donate_argnames=("state",))
def run_steps(
    model: MultiLevelModel,
    optim: OptimConfig,
    state: TrainState,
    data: DeviceClips,
    sampler: Sampler,
    dropout_key: jax.Array,
    num_steps: jax.Array | int,
) -> tuple[TrainState, StepMetrics]:
    """Up to MAX_STEPS_PER_CALL steps without the host: sample, gather, forward, backward, Adam.

    The number of steps is an argument of the one compiled program, so a run gives the same bits however
    it is cut into calls. It ends early after a step whose loss or gradient is not finite.

    Args:
      state: donated.
      num_steps: int32 scalar.

    Returns:
      The new state, and [MAX_STEPS_PER_CALL] metrics of which the first state.step - (old step) count.
    """
    optimizer = keras_adam(optim)
    empty = jnp.full(MAX_STEPS_PER_CALL, jnp.nan, jnp.float32)
    Carry = tuple[jax.Array, jax.Array, TrainState, StepMetrics]

    def go_on(carry: Carry) -> jax.Array:
        done, finite, _, _ = carry
        return (done < num_steps) & finite

    def body(carry: Carry) -> Carry:
        done, _, state, history = carry
        batch = data.batch(sampler(state.step))
        state, metrics = train_step(model, optimizer, state, batch, dropout_key)
        history = jax.tree.map(lambda h, m: h.at[done].set(m), history, metrics)
        return done + 1, jnp.isfinite(metrics.loss + metrics.grad_norm), state, history

    start = (jnp.int32(0), jnp.bool_(True), state, StepMetrics(empty, empty))
    _, _, state, history = jax.lax.while_loop(go_on, body, start)
    return state, history
