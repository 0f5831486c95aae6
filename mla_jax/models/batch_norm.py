"""Batch normalisation that leaves padding out, as Keras or as PyTorch has it."""

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
        mean, var = running_mean.value, running_var.value
        if train:
            axes = tuple(range(x.ndim - 1))
            there = mask[..., None]
            count = jnp.sum(mask, dtype=x.dtype)
            n = jnp.maximum(count, 1)
            mean = jnp.sum(jnp.where(there, x, 0), axis=axes) / n
            centred = jnp.where(there, x - _like(mean, x), 0)
            var = jnp.sum(centred * centred, axis=axes) / n
            if not self.is_initializing():
                running = var * (n / jnp.maximum(n - 1, 1)) if self.unbiased else var
                keep = jnp.where(count > 0, self.momentum, 1.0).astype(x.dtype)
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_var.value = keep * running_var.value + (1 - keep) * running
        gain = scale * jax.lax.rsqrt(var + self.epsilon)
        return (x - _like(mean, x)) * _like(gain, x) + _like(bias, x)


def _like(vector: jax.Array, x: jax.Array) -> jax.Array:
    """[features] as an array of as many axes as `x`: the tests forbid implicit rank promotion."""
    return vector.reshape((1,) * (x.ndim - 1) + vector.shape)
