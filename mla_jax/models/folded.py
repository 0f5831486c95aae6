"""A trained model as it is applied: the same logits as `MultiLevelModel` gives, by the weights of `fold`.

Only JAX is needed, not Flax: a command that uses a model does not import what defines and trains one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mla_jax.config import ModelConfig
from mla_jax.models.fold import ClipLevel, FoldedWeights, Head
from mla_jax.models.over_time import mean_over_time
from mla_jax.models.pooling import POOLINGS, Pooling
from mla_jax.models.windows import logits_of_windows, pool_windows


class ModelForm(NamedTuple):
    """What a model looks like: all that applying it needs besides its weights.

    Attributes:
      config: the architecture and its form.
      num_classes: K.
    """

    config: ModelConfig
    num_classes: int


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
    return model.logits(model.levels(embeddings).of_clips(mask))


class FoldedModel(NamedTuple):
    """A model in its parts: the levels, and what makes one of them.

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

    def levels(self, embeddings: jax.Array) -> "FoldedLevels":
        """What every level makes of [B, T, M] float32, scaled."""
        x = h = self.normed(embeddings)
        of_segments, blocks = [], iter(self.weights.blocks)
        for num_blocks, head in zip(self.config.stages, self.weights.heads, strict=True):
            for _ in range(num_blocks):
                h = jax.nn.relu(next(blocks)(h))
            of_segments.append(FoldedLevel.of(POOLINGS[self.config.pooling], head, h))
        clip = self.weights.clip
        return FoldedLevels(of_segments, FoldedClipLevel(clip, x) if clip else None)

    def logits(self, levels: list[jax.Array]) -> jax.Array:
        """Of the logits of every level, in the order of `FoldedLevels`, those of the model; [..., K]."""
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


class FoldedLevels(NamedTuple):
    """The levels of a model.

    Attributes:
      of_segments: the levels of segments, the shallowest first.
      clip: the level of whole clips, or None; it comes behind the others.
    """

    of_segments: "list[FoldedLevel]"
    clip: "FoldedClipLevel | None"

    def of_clips(self, mask: jax.Array) -> list[jax.Array]:
        """The clip logits of each level, [B, K]."""
        found = [level.of_clips(mask) for level in self.of_segments]
        return [*found, self.clip.of_clips(mask)] if self.clip else found

    def of_windows(
        self, mask: jax.Array, size: int, of_clip: jax.Array | None = None
    ) -> list[jax.Array]:
        """The logits of each level of the window around each segment, as a clip; [B, T, K].

        Args:
          mask: [B, T] bool, True where there is a segment.
          size: segments in a window.
          of_clip: [B, K] what the level of whole clips, if there is one, shall say of every window; None:
            what it says of the window.
        """
        found = [level.of_windows(mask, size) for level in self.of_segments]
        if not self.clip:
            return found
        if of_clip is None:
            return [*found, self.clip.of_windows(mask, size)]
        return [*found, jnp.broadcast_to(of_clip[:, None], found[0].shape)]


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


class FoldedClipLevel(NamedTuple):
    """The level of whole clips, with the clips.

    Attributes:
      weights: what it is applied by.
      segments: [B, T, M], behind the batch norm of the input.
    """

    weights: ClipLevel
    segments: jax.Array

    def of_clips(self, mask: jax.Array) -> jax.Array:
        """The level's clip logits, [B, K]."""
        return self.weights(mean_over_time(self.segments, mask))

    def of_windows(self, mask: jax.Array, size: int) -> jax.Array:
        """The level's logits of the window around each segment, as a clip; [B, T, K]."""
        mean = pool_windows(lambda x, _, m: mean_over_time(x, m), self.segments, None, mask, size)
        return self.weights(mean)
