"""A trained model as it is applied: the same logits as `MultiLevelModel` gives, by fewer and larger products.

At inference a batch norm is a gain and a shift, which the dense layer in front of it takes over, and the
two maps of a head are one product. Nothing of it is kept: the weights are folded within the compiled program
that uses them, which costs a hundredth of a batch of 500 clips, so it works on variables wherever they lie.
Only JAX is needed, not Flax: a command that uses a model does not import what defines and trains one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mla_jax.config import ModelConfig, parse_architecture
from mla_jax.models.pooling import POOLINGS
from mla_jax.models.variables import Variables


class ModelForm(NamedTuple):
    """What a model looks like: all that applying it needs besides its variables.

    Attributes:
      config: the architecture and its form.
      num_classes: K.
    """

    config: ModelConfig
    num_classes: int


def folded_logits(
    config: ModelConfig, variables: Variables, embeddings: jax.Array, mask: jax.Array
) -> jax.Array:
    """Clip logits, as `MultiLevelModel.__call__` gives them without `train`, to rounding.

    Args:
      config: what the model looks like.
      variables: its `params` and, if it has batch norms, `batch_stats`.
      embeddings: [B, T, M] float32, scaled.
      mask: [B, T] bool, True where there is a segment.

    Returns:
      [B, K] float32.
    """
    whole = _Part(config, variables["params"], variables.get("batch_stats", {}))
    h = whole.normed(embeddings, "input_norm")
    levels, block = [], 0
    for level, num_blocks in enumerate(parse_architecture(config.architecture)):
        for _ in range(num_blocks):
            h = jax.nn.relu(whole.part(f"block_{block}").mapped(h, "dense", norm="norm"))
            block += 1
        levels.append(
            _pooled(whole.part("head_0" if config.share_heads else f"head_{level}"), h, mask)
        )
    if len(levels) == 1 or config.join == "mean":
        return sum(levels[1:], levels[0]) / len(levels)
    if config.join == "deepest_first":
        levels.reverse()
    joined = jnp.concatenate([jax.nn.sigmoid(logits) for logits in levels], axis=-1)
    return whole.mapped(joined, "output", norm="output_norm")


def _pooled(head: "_Part", h: jax.Array, mask: jax.Array) -> jax.Array:
    """The clip logits of a head, [B, K]."""
    config = head.config
    pooling = POOLINGS[config.pooling]
    decides = config.attend_to == "decisions"
    maps = ["classify" if decides else "value", *(["attend"] if pooling.uses_attention else [])]
    value, *attend = head.mapped_together(h, maps)
    logits, weights = pooling.pool(value, attend[0] if attend else None, mask)
    if decides:
        return logits
    # Zero times an infinity in padding would be NaN.
    vector = jnp.sum(weights * jnp.where(mask[:, :, None], value, 0), axis=1)
    return head.mapped(jax.nn.relu(head.normed(vector, "norm")), "classify")


class _Part:
    """The dense layers and batch norms of a module, by their names; a norm that is not there does nothing."""

    def __init__(self, config: ModelConfig, params: Variables, stats: Variables) -> None:
        self.config, self._params, self._stats = config, params, stats

    def part(self, name: str) -> "_Part":
        """A module within this one."""
        return _Part(self.config, self._params[name], self._stats.get(name, {}))

    def normed(self, x: jax.Array, norm: str) -> jax.Array:
        """Behind a batch norm that follows no dense layer."""
        if norm not in self._params:
            return x
        mean, gain, bias = self._norm(norm)
        # The mean first: far from zero, x * gain and mean * gain would differ by rounding alone.
        return (x - _like(mean, x)) * _like(gain, x) + _like(bias, x)

    def mapped(self, x: jax.Array, dense: str, norm: str = "") -> jax.Array:
        """Behind a dense layer, and the batch norm that follows it."""
        kernel, bias = self._folded(dense, norm)
        return _product(x, kernel, bias)

    def mapped_together(self, x: jax.Array, dense: list[str]) -> list[jax.Array]:
        """Behind each of several dense layers of one input, with the norms `<name>_norm`: one product."""
        folded = [self._folded(name, f"{name}_norm") for name in dense]
        kernels, biases = zip(*folded, strict=True)
        both = _product(x, jnp.concatenate(kernels, axis=1), jnp.concatenate(biases))
        return jnp.split(both, len(dense), axis=-1)

    def _folded(self, dense: str, norm: str) -> tuple[jax.Array, jax.Array]:
        kernel = self._params[dense]["kernel"]
        bias = self._params[dense].get("bias", jnp.zeros(kernel.shape[1]))
        if norm not in self._params:
            return kernel, bias
        mean, gain, shift = self._norm(norm)
        return kernel * gain[None, :], (bias - mean) * gain + shift

    def _norm(self, name: str) -> tuple[jax.Array, jax.Array, jax.Array]:
        params, stats = self._params[name], self._stats[name]
        gain = params["scale"] * jax.lax.rsqrt(stats["var"] + self.config.norm_epsilon)
        return stats["mean"], gain, params["bias"]


def _product(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    y = x @ kernel
    return y + _like(bias, y)


def _like(vector: jax.Array, x: jax.Array) -> jax.Array:
    """[features] as an array of as many axes as `x`: the tests forbid implicit rank promotion."""
    return vector.reshape((1,) * (x.ndim - 1) + vector.shape)
