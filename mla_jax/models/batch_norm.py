"""Batch normalisation that leaves padding out, as Keras or as PyTorch has it."""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp


class BatchNorm(nn.Module):
    r"""Normalises each feature over all examples whose mask is True.

    In training, over these $n$ examples, $\mu = \frac1n \sum x$ and
    $\sigma^2 = \frac1n \sum (x - \mu)^2$ (in this order: $E[x^2] - E[x]^2$ loses the variance of features
    far from zero); $y = \gamma (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta$. The running statistics
    become `momentum * old + (1 - momentum) * new`, and take the place of $\mu$ and $\sigma^2$ at
    inference. With no example they stay as they are.

    Attributes:
      momentum: Keras's; PyTorch's is 1 - momentum.
      epsilon: added to the variance.
      unbiased: the running variance is $\sigma^2 n / (n - 1)$, as in PyTorch; $\sigma^2$ in Keras.
    """

    momentum: float
    epsilon: float
    unbiased: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Normalises x [..., features]; mask [...] bool is False in padding."""
        features = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, features)
        bias = self.param("bias", nn.initializers.zeros, features)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, features)
        running_var = self.variable("batch_stats", "var", jnp.ones, features)
        if not train:
            gain = scale * jax.lax.rsqrt(running_var.value + self.epsilon)
            return (x - _like(running_mean.value, x)) * _like(gain, x) + _like(bias, x)
        y, mean, var = normalised(x, mask, scale, bias, self.epsilon)
        if not self.is_initializing():
            count = jnp.sum(mask, dtype=x.dtype)
            n = jnp.maximum(count, 1)
            running = var * (n / jnp.maximum(n - 1, 1)) if self.unbiased else var
            keep = jnp.where(count > 0, self.momentum, 1.0).astype(x.dtype)
            running_mean.value = keep * running_mean.value + (1 - keep) * mean
            running_var.value = keep * running_var.value + (1 - keep) * running
        return y


class Normalised(NamedTuple):
    """What normalising gives.

    Attributes:
      y: [..., features] normalised, scaled and shifted.
      mean, var: [features] the statistics.
    """

    y: jax.Array
    mean: jax.Array
    var: jax.Array


class _Saved(NamedTuple):
    """What the gradient needs; `inverse` is one over the deviation, `n` the number of examples."""

    x: jax.Array
    mask: jax.Array
    mean: jax.Array
    inverse: jax.Array
    scale: jax.Array
    n: jax.Array


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def normalised(
    x: jax.Array, mask: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> Normalised:
    """Normalises by the statistics of the examples themselves.

    The gradient is written out, since two sums over the examples are enough for it; the one that JAX makes of
    these lines goes over them several times more, which took an eighth of a training step on a CPU.

    Args:
      x: [..., features].
      mask: [...] bool, False in padding, which counts in no statistic.
      scale, bias: [features].
      epsilon: added to the variance.
    """
    return _forward(x, mask, scale, bias, epsilon)[0]


def _forward(
    x: jax.Array, mask: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[Normalised, _Saved]:
    axes, there = tuple(range(x.ndim - 1)), mask[..., None]
    n = jnp.maximum(jnp.sum(mask, dtype=x.dtype), 1)
    mean = jnp.sum(jnp.where(there, x, 0), axis=axes) / n
    centred = jnp.where(there, x - _like(mean, x), 0)
    var = jnp.sum(centred * centred, axis=axes) / n
    inverse = jax.lax.rsqrt(var + epsilon)
    y = (x - _like(mean, x)) * _like(scale * inverse, x) + _like(bias, x)
    return Normalised(y, mean, var), _Saved(x, mask, mean, inverse, scale, n)


def _backward(
    _: float, saved: _Saved, g: Normalised
) -> tuple[jax.Array, None, jax.Array, jax.Array]:
    x, mask, mean, inverse, scale, n = saved
    axes, centred, gain = tuple(range(x.ndim - 1)), x - _like(mean, x), scale * inverse
    of_bias = jnp.sum(g.y, axis=axes)
    along = jnp.sum(g.y * centred, axis=axes)
    of_mean = (g.mean - gain * of_bias) / n
    of_var = (g.var - gain * inverse * inverse * along / 2) * 2 / n
    # By way of the statistics, of which padding has no part.
    through = jnp.where(mask[..., None], _like(of_mean, x) + _like(of_var, x) * centred, 0)
    return g.y * _like(gain, x) + through, None, along * inverse, of_bias


normalised.defvjp(_forward, _backward)


def _like(vector: jax.Array, x: jax.Array) -> jax.Array:
    """[features] as an array of as many axes as `x`: the tests forbid implicit rank promotion."""
    return vector.reshape((1,) * (x.ndim - 1) + vector.shape)
