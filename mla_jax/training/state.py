"""The state of training: what a step changes, and what of it is the model."""

from collections.abc import Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from mla_jax.config import Config, OptimConfig
from mla_jax.data.clips import ClipSet
from mla_jax.models.multi_level import MultiLevelModel, Variables, init_variables
from mla_jax.training.optimizer import make_optimizer


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
      step: int32 scalar, the number of steps done.
      params, batch_stats: the variables that steps are made of.
      opt_state: Adam's moments.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> Variables:
        """The model of the run: what `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def after_step(self, params: Any, batch_stats: Any, opt_state: Any) -> "TrainState":
        """The state after one more step, which has led to these."""
        return self.replace(  # type: ignore[attr-defined]
            step=self.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state
        )


@flax.struct.dataclass
class AveragedState(TrainState):
    r"""A state whose model is a running average of the weights over the steps.

    $\bar\theta_t = d_t \bar\theta_{t-1} + (1 - d_t) \theta_t$ with $d_t = \min(d, t / (9 + t))$, so that the
    first steps are soon forgotten: the form of TensorFlow's `ExponentialMovingAverage` with `num_updates`
    (Polyak and Juditsky, 1992, average evenly). The running statistics of batch normalisation are averaged in
    the same way. Steps do not look at the average.

    Attributes:
      average: as `variables`.
      decay: d, in [0, 1).
    """

    average: Any
    decay: float = flax.struct.field(pytree_node=False)

    @property
    def variables(self) -> Variables:
        """The model of the run: the average."""
        variables: Variables = self.average
        return variables

    def after_step(self, params: Any, batch_stats: Any, opt_state: Any) -> TrainState:
        """The state after one more step; its average has moved towards the new weights."""
        state = TrainState.after_step(self, params, batch_stats, opt_state)
        t = state.step.astype(jnp.float32)
        share = 1 - jnp.minimum(self.decay, t / (9 + t))

        def move(average: jax.Array, new: jax.Array) -> jax.Array:
            return average + share.astype(average.dtype) * (new - average)

        new = {"params": params, "batch_stats": batch_stats}
        return state.replace(  # type: ignore[attr-defined]
            average=jax.tree.map(move, self.average, new)
        )


def init_state(variables: Variables, optim: OptimConfig, num_steps: int = 0) -> TrainState:
    """The state before the first step; the arguments behind `variables` are those of `make_optimizer`."""
    begin = {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}
    parts = {
        "step": jnp.zeros((), jnp.int32),
        **begin,
        "opt_state": make_optimizer(optim, num_steps).init(begin["params"]),
    }
    if not optim.average_decay:
        return TrainState(**parts)
    # A copy, since a step is given both to write over.
    average = jax.tree.map(jnp.copy, begin)
    return AveragedState(**parts, average=average, decay=optim.average_decay)


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
    return init_state(variables, config.optim, config.train.steps)


def axes_of_seeds(stacked: TrainState) -> Any:
    """The axis of seeds in each array of a stack of states, for `jax.vmap`: all have the same step."""
    return jax.tree.map(lambda _: 0, stacked).replace(step=None)


def stack_states(states: Sequence[TrainState]) -> TrainState:
    """Several states of the same step as one: every other array has an axis of seeds in front."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return stacked.replace(step=states[0].step)


def unstack_state(stacked: TrainState, i: int) -> TrainState:
    """The state of the i-th seed of a stack."""
    return jax.tree.map(lambda leaf: leaf[i] if leaf.ndim else leaf, stacked)
