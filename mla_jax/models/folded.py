"""A trained model as it is applied: the same logits as `MultiLevelModel` gives, by fewer and larger products.

At inference a batch norm is a gain and a shift, which the dense layer in front of it takes over, and the
two maps of a head are one product. `fold` makes these weights once, in NumPy, so nothing is compiled for it.
Only JAX is needed, not Flax: a command that uses a model does not import what defines and trains one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mla_jax.config import ModelConfig, parse_architecture
from mla_jax.models.pooling import POOLINGS, Pooling
from mla_jax.models.variables import Variables
from mla_jax.models.windows import logits_of_windows, pool_windows

Array = np.ndarray | jax.Array


class ModelForm(NamedTuple):
    """What a model looks like: all that applying it needs besides its weights.

    Attributes:
      config: the architecture and its form.
      num_classes: K.
    """

    config: ModelConfig
    num_classes: int


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


class FoldedWeights(NamedTuple):
    """All that a model is applied by; a pytree, float32.

    Attributes:
      input_norm: the batch norm of the input, or None.
      blocks: the dense blocks, in order.
      heads: of each level, the shallowest first.
      output: the layer that joins the levels, or None.
    """

    input_norm: Norm | None
    blocks: tuple[Dense, ...]
    heads: tuple[Head, ...]
    output: Dense | None


def fold(config: ModelConfig, variables: Variables) -> FoldedWeights:
    """The weights of a model as it is applied, in NumPy.

    Args:
      config: what the model looks like.
      variables: its `params` and, if it has batch norms, `batch_stats`; NumPy's or JAX's arrays.
    """
    whole = _Part(config, variables["params"], variables.get("batch_stats", {}))
    stages = parse_architecture(config.architecture)
    averages = len(stages) == 1 or config.join == "mean"
    blocks = (whole.part(f"block_{block}").dense("dense", "norm") for block in range(sum(stages)))
    heads = (
        whole.part("head_0" if config.share_heads else f"head_{i}") for i in range(len(stages))
    )
    return FoldedWeights(
        input_norm=whole.norm("input_norm"),
        blocks=tuple(blocks),
        heads=tuple(_head(head) for head in heads),
        output=None if averages else whole.dense("output", "output_norm"),
    )


def folded_logits(
    config: ModelConfig, weights: FoldedWeights, embeddings: jax.Array, mask: jax.Array
) -> jax.Array:
    """Clip logits, as `MultiLevelModel.__call__` gives them without `train`, to rounding.

    Args:
      config: what the model looks like.
      weights: `fold` of its variables.
      embeddings: [B, T, M] float32, scaled.
      mask: [B, T] bool, True where there is a segment.

    Returns:
      [B, K] float32.
    """
    model = FoldedModel(config, weights)
    return model.logits([level.of_clips(mask) for level in model.levels(embeddings)])


class FoldedModel(NamedTuple):
    """A model in its parts: the levels of segments, and what makes one of the levels.

    Attributes:
      config: what the model looks like.
      weights: `fold` of its variables.
    """

    config: ModelConfig
    weights: FoldedWeights

    def normed(self, embeddings: jax.Array) -> jax.Array:
        """[B, T, M] float32, scaled, behind the batch norm of the input if there is one."""
        norm = self.weights.input_norm
        return norm(embeddings) if norm else embeddings

    def levels(self, embeddings: jax.Array) -> "list[FoldedLevel]":
        """The maps of every level, the shallowest first, of [B, T, M] float32, scaled."""
        h = self.normed(embeddings)
        levels, blocks = [], iter(self.weights.blocks)
        stages = parse_architecture(self.config.architecture)
        for num_blocks, head in zip(stages, self.weights.heads, strict=True):
            for _ in range(num_blocks):
                h = jax.nn.relu(next(blocks)(h))
            levels.append(FoldedLevel.of(POOLINGS[self.config.pooling], head, h))
        return levels

    def logits(self, levels: list[jax.Array]) -> jax.Array:
        """Of the logits of every level, the shallowest first, those of the model; [..., K]."""
        return self.blended_logits([(1.0, levels)])

    def blended_logits(self, views: list[tuple[float, list[jax.Array]]]) -> jax.Array:
        """The weighted sum of the logits of several views of one thing, for one product.

        Behind the levels the model is linear, so what goes in is summed instead of what comes out.

        Args:
          views: (weight, what `logits` takes); the weights sum to one.
        """
        first, *others = (weight * self._joined(levels) for weight, levels in views)
        blend = sum(others, first)
        output = self.weights.output
        return output(blend) if output else blend

    def _joined(self, levels: list[jax.Array]) -> jax.Array:
        if not self.weights.output:
            return sum(levels[1:], levels[0]) / len(levels)
        ordered = levels[::-1] if self.config.join == "deepest_first" else levels
        return jnp.concatenate([jax.nn.sigmoid(logits) for logits in ordered], axis=-1)


class FoldedLevel(NamedTuple):
    """The maps that the head of a level makes of segments.

    Attributes:
      pooling: how the head pools.
      head: the head.
      values: [B, T, K] class logits, or with `attend_to=features` the features, [B, T, H].
      attend: the logits of the attention, of the same shape; None if the pooling uses none.
    """

    pooling: Pooling
    head: Head
    values: jax.Array
    attend: jax.Array | None

    @classmethod
    def of(cls, pooling: Pooling, head: Head, h: jax.Array) -> "FoldedLevel":
        """Of what lies below the head, [B, T, H]."""
        maps = head.maps(h)
        if not pooling.uses_attention:
            return cls(pooling, head, maps, None)
        return cls(pooling, head, *jnp.split(maps, 2, axis=-1))

    def attention(self, mask: jax.Array) -> jax.Array:
        """a, which sums to one over the segments of a clip; of the shape of `values`."""
        return self.pooling.pool(self.values, self.attend, mask).weights

    def of_clips(self, mask: jax.Array) -> jax.Array:
        """The level's clip logits, [B, K]."""
        if self._decides:
            return self.pooling.pool(self.values, self.attend, mask).logits
        return self.head.of_pooled(self._pool_vectors(self.values, self.attend, mask))

    def of_windows(self, mask: jax.Array, size: int) -> jax.Array:
        """The level's logits of the window around each segment, as a clip; [B, T, K]."""
        if self._decides:
            return logits_of_windows(self.pooling, self.values, self.attend, mask, size)
        pooled = pool_windows(self._pool_vectors, self.values, self.attend, mask, size)
        return self.head.of_pooled(pooled)

    @property
    def _decides(self) -> bool:
        return self.head.classify is None

    def _pool_vectors(
        self, values: jax.Array, attend: jax.Array | None, mask: jax.Array
    ) -> jax.Array:
        weights = self.pooling.pool(values, attend, mask).weights
        # Zero times an infinity in padding would be NaN.
        return jnp.sum(weights * jnp.where(mask[:, :, None], values, 0), axis=1)


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


def _like(vector: Array, x: jax.Array) -> Array:
    """[features] as an array of as many axes as `x`: the tests forbid implicit rank promotion."""
    return vector.reshape((1,) * (x.ndim - 1) + vector.shape)
