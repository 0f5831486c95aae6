"""A trained model as it is applied: the same logits as `MultiLevelModel` gives, by fewer and larger products.

At inference a batch norm is a gain and a shift, which the dense layer in front of it takes over, and the
two maps of a head are one product. Nothing of it is kept: the weights are folded within the compiled program
that uses them, at some hundredths of the cost of 500 clips, so it works on variables wherever they lie.
Only JAX is needed, not Flax: a command that uses a model does not import what defines and trains one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mla_jax.config import ModelConfig, parse_architecture
from mla_jax.models.pooling import POOLINGS, Pooling
from mla_jax.models.variables import Variables
from mla_jax.models.windows import logits_of_windows, pool_windows


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
    model = FoldedModel(config, variables)
    return model.logits([level.of_clips(mask) for level in model.levels(embeddings)])


class FoldedModel:
    """A model in its parts: the levels of segments, and what makes one of the levels.

    Args:
      config: what the model looks like.
      variables: its `params` and, if it has batch norms, `batch_stats`.
    """

    def __init__(self, config: ModelConfig, variables: Variables) -> None:
        self.config = config
        self._whole = _Part(config, variables["params"], variables.get("batch_stats", {}))
        one_level = len(parse_architecture(config.architecture)) == 1
        self._averages = one_level or config.join == "mean"

    def normed(self, embeddings: jax.Array) -> jax.Array:
        """[B, T, M] float32, scaled, behind the batch norm of the input if there is one."""
        return self._whole.normed(embeddings, "input_norm")

    def levels(self, embeddings: jax.Array) -> "list[FoldedLevel]":
        """The maps of every level, the shallowest first, of [B, T, M] float32, scaled."""
        h = self.normed(embeddings)
        levels, block = [], 0
        for level, num_blocks in enumerate(parse_architecture(self.config.architecture)):
            for _ in range(num_blocks):
                h = jax.nn.relu(self._whole.part(f"block_{block}").mapped(h, "dense", norm="norm"))
                block += 1
            levels.append(FoldedLevel.of(self._head(level), h))
        return levels

    @property
    def class_kernels(self) -> list[jax.Array]:
        """The weights of each level's class logits, [H, K]."""
        count = len(parse_architecture(self.config.architecture))
        return [self._head(level).kernel("classify") for level in range(count)]

    def _head(self, level: int) -> "_Part":
        return self._whole.part("head_0" if self.config.share_heads else f"head_{level}")

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
        return blend if self._averages else self._whole.mapped(blend, "output", norm="output_norm")

    def _joined(self, levels: list[jax.Array]) -> jax.Array:
        if self._averages:
            return sum(levels[1:], levels[0]) / len(levels)
        ordered = levels[::-1] if self.config.join == "deepest_first" else levels
        return jnp.concatenate([jax.nn.sigmoid(logits) for logits in ordered], axis=-1)


class FoldedLevel(NamedTuple):
    """The maps that the head of a level makes of segments.

    Attributes:
      head: the head.
      values: [B, T, K] class logits, or with `attend_to=features` the features, [B, T, H].
      attend: the logits of the attention, of the same shape; None if the pooling uses none.
    """

    head: "_Part"
    values: jax.Array
    attend: jax.Array | None

    @classmethod
    def of(cls, head: "_Part", h: jax.Array) -> "FoldedLevel":
        """Of what lies below the head, [B, T, H]."""
        decides = head.config.attend_to == "decisions"
        uses_attention = POOLINGS[head.config.pooling].uses_attention
        maps = ["classify" if decides else "value", *(["attend"] if uses_attention else [])]
        values, *attend = head.mapped_together(h, maps)
        return cls(head, values, attend[0] if attend else None)

    def attention(self, mask: jax.Array) -> jax.Array:
        """a, which sums to one over the segments of a clip; of the shape of `values`."""
        return self._pooling.pool(self.values, self.attend, mask).weights

    def of_clips(self, mask: jax.Array) -> jax.Array:
        """The level's clip logits, [B, K]."""
        if self._decides:
            return self._pooling.pool(self.values, self.attend, mask).logits
        return self._classified(self._pool_vectors(self.values, self.attend, mask))

    def of_windows(self, mask: jax.Array, size: int) -> jax.Array:
        """The level's logits of the window around each segment, as a clip; [B, T, K]."""
        if self._decides:
            return logits_of_windows(self._pooling, self.values, self.attend, mask, size)
        pooled = pool_windows(self._pool_vectors, self.values, self.attend, mask, size)
        return self._classified(pooled)

    @property
    def _decides(self) -> bool:
        return self.head.config.attend_to == "decisions"

    @property
    def _pooling(self) -> Pooling:
        return POOLINGS[self.head.config.pooling]

    def _pool_vectors(
        self, values: jax.Array, attend: jax.Array | None, mask: jax.Array
    ) -> jax.Array:
        weights = self._pooling.pool(values, attend, mask).weights
        # Zero times an infinity in padding would be NaN.
        return jnp.sum(weights * jnp.where(mask[:, :, None], values, 0), axis=1)

    def _classified(self, vectors: jax.Array) -> jax.Array:
        return self.head.mapped(jax.nn.relu(self.head.normed(vectors, "norm")), "classify")


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

    def kernel(self, dense: str) -> jax.Array:
        """The weights of a dense layer with those of its norm, `<name>_norm`, [in, out]."""
        return self._folded(dense, f"{dense}_norm")[0]

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
