"""The optimizer: Adam in two forms, its learning rate by step, and weight decay."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mla_jax.config import OptimConfig
from mla_jax.errors import UserError


class _AdamState(NamedTuple):
    num_steps: jax.Array
    mu: Any
    nu: Any


def make_optimizer(config: OptimConfig, num_steps: int = 0) -> optax.GradientTransformation:
    r"""Adam, with what the settings put before and behind it.

    The gradient is clipped (`clip_norm`) and goes through Adam, its epsilon where `epsilon_place` says.
    With weight decay $\lambda$ each kernel $\theta$ moves by $-\eta \lambda \theta$ as well, but no bias and
    no parameter of a norm (AdamW; Loshchilov and Hutter, 2019, arXiv:1711.05101). All of it is multiplied by
    `rate_factor`.

    Args:
      config: the settings.
      num_steps: `train.steps`; needed where the schedule is not constant.

    Raises:
      UserError: `num_steps` is needed, and not above `warmup_steps`.
    """
    if config.epsilon_place == "after_correction":
        adam = optax.adam(config.learning_rate, config.b1, config.b2, config.epsilon)
    else:
        adam = keras_adam(config)
    parts = [adam]
    if config.clip_norm:
        parts.insert(0, optax.clip_by_global_norm(config.clip_norm))
    if config.weight_decay:
        by_step = -config.learning_rate * config.weight_decay
        parts.append(optax.add_decayed_weights(by_step, mask=_is_kernel))
    if config.schedule != "constant" or config.warmup_steps:
        parts.append(optax.scale_by_schedule(rate_factor(config, num_steps)))
    return optax.chain(*parts) if len(parts) > 1 else adam


def rate_factor(config: OptimConfig, num_steps: int) -> Callable[[Any], Any]:
    r"""What the learning rate is multiplied by at each step, in (0, 1].

    In the $w$ steps of the warm-up, $t = 1 ... w$, it is $t / w$. Then it is 1, or with the schedule "cosine"
    $\frac12 (1 + \cos \pi \frac{t - 1 - w}{n - w})$ for $t = w + 1 ... n$: half a cosine from 1 to almost
    zero at the last step (Loshchilov and Hutter, 2017, arXiv:1608.03983, without restarts).

    Args:
      config: the settings.
      num_steps: n; not needed for a constant schedule.

    Returns:
      A function of the number of steps done before, t - 1.

    Raises:
      UserError: n is needed, and not above w.
    """
    warmup = config.warmup_steps
    after: Any = optax.constant_schedule(1.0)
    if config.schedule == "cosine":
        if num_steps <= warmup:
            raise UserError(
                f"optim.schedule=cosine needs the number of steps, above optim.warmup_steps={warmup}, not "
                f"{num_steps}; give num_steps=config.train.steps"
            )
        after = optax.cosine_decay_schedule(1.0, num_steps - warmup)
    if not warmup:
        return after
    rise = optax.linear_schedule(1 / warmup, 1.0, warmup - 1)
    return optax.join_schedules([rise, after], [warmup])


def _is_kernel(params: optax.Params) -> Any:
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path[-1:], simple=True) == "kernel", params
    )


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
