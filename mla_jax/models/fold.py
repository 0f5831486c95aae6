"""The weights of a trained model as it is applied: fewer and larger products than it was trained with.

At inference a batch norm is a gain and a shift, which the dense layer in front of it takes over, and the
two maps of a head are one product. `fold` makes these weights once, in NumPy, so nothing is compiled for it.
"""

from typing import NamedTuple

import jax
import numpy as np

from mla_jax.config import ModelConfig
from mla_jax.models.pooling import POOLINGS
from mla_jax.models.variables import Variables

Array = np.ndarray | jax.Array


class Norm(NamedTuple):
    """A batch norm that follows no dense layer, at inference; each array is [features]."""

    mean: Array
    gain: Array
    shift: Array

    def __call__(self, x: jax.Array) -> jax.Array:
        """Of [..., features], the same shape."""
        # The mean first: far from zero, x * gain and mean * gain would differ by rounding alone.
        return (x - _like(self.mean, x)) * _like(self.gain, x) + _like(self.shift, x)


class Dense(NamedTuple):
    """A dense layer with the batch norm behind it: [in, out] and [out]."""

    kernel: Array
    bias: Array

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., in] to [..., out]."""
        y = x @ self.kernel
        return y + _like(self.bias, y)


class Head(NamedTuple):
    """The head of a level.

    Attributes:
      maps: the class logits, or with `attend_to=features` the features; and the attention's logits behind
        them, if the pooling uses attention.
      norm, classify: of the pooled features, with `attend_to=features`; else None. So is `norm` where the
        form has none.
    """

    maps: Dense
    norm: Norm | None
    classify: Dense | None

    def of_pooled(self, features: jax.Array) -> jax.Array:
        """[..., H] features that were pooled to class logits, [..., K]."""
        assert self.classify is not None, "decisions are pooled"
        normed = self.norm(features) if self.norm else features
        return self.classify(jax.nn.relu(normed))


class ClipLevel(NamedTuple):
    """The level of whole clips.

    Attributes:
      blocks: its dense blocks, in order.
      classify: what follows them.
    """

    blocks: tuple[Dense, ...]
    classify: Dense

    def __call__(self, mean: jax.Array) -> jax.Array:
        """[..., M], the mean of segments, to class logits, [..., K]."""
        for block in self.blocks:
            mean = jax.nn.relu(block(mean))
        return self.classify(mean)


class FoldedWeights(NamedTuple):
    """All that a model is applied by; a pytree, float32.

    Attributes:
      input_norm: the batch norm of the input, or None.
      blocks: the dense blocks of segments, in order.
      heads: of each level of segments, the shallowest first.
      clip: the level of whole clips, or None.
      output: the layer that joins the levels, or None.
    """

    input_norm: Norm | None
    blocks: tuple[Dense, ...]
    heads: tuple[Head, ...]
    clip: ClipLevel | None
    output: Dense | None


def fold(config: ModelConfig, variables: Variables) -> FoldedWeights:
    """The weights of a model as it is applied, in NumPy.

    Args:
      config: what the model looks like.
      variables: its `params` and, if it has batch norms, `batch_stats`; NumPy's or JAX's arrays.
    """
    whole = _Part(config, variables["params"], variables.get("batch_stats", {}))
    heads = ("head_0" if config.share_heads else f"head_{i}" for i in range(len(config.stages)))
    return FoldedWeights(
        input_norm=whole.norm("input_norm"),
        blocks=_blocks(whole, sum(config.stages)),
        heads=tuple(_head(whole.part(name)) for name in heads),
        clip=_clip_level(whole.part("clip")) if config.clip_blocks else None,
        output=whole.dense("output", "output_norm") if config.mixes_levels else None,
    )


class _Part:
    """The dense layers and batch norms of a module, by their names; a norm that is not there does nothing."""

    def __init__(self, config: ModelConfig, params: Variables, stats: Variables) -> None:
        self.config, self._params, self._stats = config, params, stats

    def part(self, name: str) -> "_Part":
        """A module within this one."""
        return _Part(self.config, self._params[name], self._stats.get(name, {}))

    def norm(self, name: str) -> Norm | None:
        """A batch norm that follows no dense layer."""
        return Norm(*self._norm(name)) if name in self._params else None

    def dense(self, name: str, norm: str) -> Dense:
        """A dense layer, and the batch norm that follows it."""
        kernel = np.asarray(self._params[name]["kernel"])
        bias = np.asarray(self._params[name].get("bias", np.zeros(kernel.shape[1], kernel.dtype)))
        if norm not in self._params:
            return Dense(kernel, bias)
        mean, gain, shift = self._norm(norm)
        return Dense(kernel * gain[None, :], (bias - mean) * gain + shift)

    def _norm(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        params, stats = (
            {place: np.asarray(array) for place, array in arrays[name].items()}
            for arrays in (self._params, self._stats)
        )
        gain = params["scale"] / np.sqrt(stats["var"] + np.float32(self.config.norm_epsilon))
        return stats["mean"], gain, params["bias"]


def _head(part: _Part) -> Head:
    decides = part.config.attend_to == "decisions"
    uses_attention = POOLINGS[part.config.pooling].uses_attention
    names = ["classify" if decides else "value", *(["attend"] if uses_attention else [])]
    kernels, biases = zip(*(part.dense(name, f"{name}_norm") for name in names), strict=True)
    return Head(
        maps=Dense(np.concatenate(kernels, axis=1), np.concatenate(biases)),
        norm=None if decides else part.norm("norm"),
        classify=None if decides else part.dense("classify", ""),
    )


def _clip_level(part: _Part) -> ClipLevel:
    return ClipLevel(_blocks(part, part.config.clip_blocks), part.dense("classify", ""))


def _blocks(part: _Part, count: int) -> tuple[Dense, ...]:
    return tuple(part.part(f"block_{i}").dense("dense", "norm") for i in range(count))


def _like(vector: Array, x: jax.Array) -> Array:
    """[features] as an array of as many axes as `x`: the tests forbid implicit rank promotion."""
    return vector.reshape((1,) * (x.ndim - 1) + vector.shape)
