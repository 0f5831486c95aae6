"""The state of training, and the optimizer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from mla_jax.config import Config, OptimConfig
from mla_jax.data.clips import ClipSet
from mla_jax.models.multi_level import MultiLevelModel, Variables, init_variables


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
      step: int32 scalar, the number of steps done.
      params, batch_stats: the model's variables.
      opt_state: Adam's moments.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> Variables:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


class _AdamState(NamedTuple):
    num_steps: jax.Array
    mu: Any
    nu: Any


def make_optimizer(config: OptimConfig) -> optax.GradientTransformation:
    """Adam, its epsilon where `epsilon_place` says; first clips the gradient if `clip_norm` is set."""
    if config.epsilon_place == "after_correction":
        adam = optax.adam(config.learning_rate, config.b1, config.b2, config.epsilon)
    else:
        adam = keras_adam(config)
    if not config.clip_norm:
        return adam
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adam)


def keras_adam(config: OptimConfig) -> optax.GradientTransformation:
    r"""Adam as in Keras, where epsilon is added to the second moment before its correction.

    $m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t$, $v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2$,
    $\Delta_t = -\eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m_t}{\sqrt{v_t} + \epsilon}$.

    `optax.adam` adds epsilon after the correction, which makes its epsilon larger by
    $1 / \sqrt{1 - \beta_2^t}$: 32 times at the first step.
    """

    def init(params: optax.Params) -> _AdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return _AdamState(jnp.zeros((), jnp.int32), zeros, jax.tree.map(jnp.copy, zeros))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, _AdamState]:
        del params
        count = state.num_steps + 1
        mu = optax.tree.update_moment(updates, state.mu, config.b1, 1)
        nu = optax.tree.update_moment(updates, state.nu, config.b2, 2)
        # -expm1(t log b) = 1 - b^t keeps its digits in the first steps.
        t = count.astype(jax.dtypes.canonicalize_dtype(float))
        correction1, correction2 = (-jnp.expm1(t * jnp.log(b)) for b in (config.b1, config.b2))
        rate = config.learning_rate * jnp.sqrt(correction2) / correction1

        def move(m: jax.Array, v: jax.Array) -> jax.Array:
            return -rate.astype(m.dtype) * m / (jnp.sqrt(v) + config.epsilon)

        return jax.tree.map(move, mu, nu), _AdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def init_state(variables: Variables, optim: OptimConfig) -> TrainState:
    """The state before the first step."""
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=make_optimizer(optim).init(params),
    )


def class_prior(clips: ClipSet) -> np.ndarray:
    """Each class's share of the clips, [num_classes] float64, at least half a clip away from 0 and 1.

    Of a class, only clips whose label is known count.
    """
    known = len(clips) if clips.label_mask is None else clips.label_mask.sum(axis=0)
    return (clips.class_counts() + 0.5) / (known + 1.0)


def fresh_state(model: MultiLevelModel, clips: ClipSet, config: Config) -> TrainState:
    """The state before the first step of training on `clips`."""
    variables = init_variables(
        model, config.train.seed, clips.num_features, class_prior=class_prior(clips)
    )
    return init_state(variables, config.optim)


_SHARED: Any = None
STACKED = TrainState(step=_SHARED, params=0, batch_stats=0, opt_state=0)
"""The axis of seeds in a stack of states, for `jax.vmap`: all have the same step."""


def stack_states(states: Sequence[TrainState]) -> TrainState:
    """Several states of the same step as one: every other array has an axis of seeds in front."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return stacked.replace(step=states[0].step)


def unstack_state(stacked: TrainState, i: int) -> TrainState:
    """The state of the i-th seed of a stack."""
    return jax.tree.map(lambda leaf: leaf[i] if leaf.ndim else leaf, stacked)
