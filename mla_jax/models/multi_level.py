"""The multi-level attention model as Linen modules.

Sizes: B clips in a batch, T segments, M features, H hidden units, K classes, L levels.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mla_jax.config import ModelConfig
from mla_jax.errors import UserError
from mla_jax.models.batch_norm import BatchNorm
from mla_jax.models.dense import Dense, apply_dense
from mla_jax.models.dropout import Dropout
from mla_jax.models.over_time import mean_over_time
from mla_jax.models.pooling import POOLINGS
from mla_jax.models.variables import Variables


def _norm(config: ModelConfig, name: str) -> BatchNorm:
    return BatchNorm(
        momentum=config.norm_momentum,
        epsilon=config.norm_epsilon,
        unbiased=config.norm_unbiased,
        name=name,
    )


def _dense(config: ModelConfig, units: int, name: str, *, use_bias: bool = True) -> Dense:
    init = getattr(nn.initializers, config.kernel_init)()
    return Dense(units, init, use_bias, name=name)


class DenseBlock(nn.Module):
    """Dense -> batch norm -> ReLU -> dropout, on each segment, or clip, by itself."""

    config: ModelConfig

    @nn.compact
    def __call__(self, h: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Maps h [..., M or H] to [..., H]; padding, False in mask [...], takes no part in the statistics."""
        config = self.config
        layer = _dense(config, config.hidden_units, "dense", use_bias=config.hidden_bias)
        (h,) = apply_dense(h, [layer])
        if config.block_norm:
            h = _norm(config, "norm")(h, mask, train)
        h = nn.relu(h)
        return Dropout(config.dropout_rate)(h, train)


class Head(nn.Module):
    """Turns segments into clip logits by pooling.

    With `attend_to="decisions"` the dense layers `classify` and `attend` have K outputs for each segment, and
    the decisions are pooled. With `attend_to="features"` the layers `value` and `attend` have H outputs, and
    the vectors are pooled; the pooled vector goes through batch norm, ReLU and dropout to a dense layer
    `classify` with K outputs.
    """

    config: ModelConfig
    num_classes: int

    @nn.compact
    def __call__(self, h: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Maps h [B, T, H] to clip logits [B, K].

        Sows into the collection `intermediates`: `attention` a, [B, T, K or H], and, if decisions are pooled,
        `segment_probs` f, [B, T, K].
        """
        config = self.config
        pooling = POOLINGS[config.pooling]
        decides = config.attend_to == "decisions"
        size = self.num_classes if decides else config.hidden_units
        names = ["classify" if decides else "value", "attend"][: 1 + pooling.uses_attention]
        maps = apply_dense(h, [_dense(config, size, name) for name in names])
        if config.head_norm:
            norms = [_norm(config, f"{name}_norm") for name in names]
            maps = [norm(y, mask, train) for norm, y in zip(norms, maps, strict=True)]
        value, attend = maps[0], maps[1] if pooling.uses_attention else None
        logits, weights = pooling.pool(value, attend, mask)
        self.sow("intermediates", "attention", weights)
        if decides:
            self.sow("intermediates", "segment_probs", nn.sigmoid(value))
            return logits
        # Zero times an infinity in padding would be NaN.
        pooled = jnp.sum(weights * jnp.where(mask[:, :, None], value, 0), axis=1)
        if config.block_norm:
            pooled = _norm(config, "norm")(pooled, jnp.any(mask, axis=1), train)
        pooled = Dropout(config.dropout_rate)(nn.relu(pooled), train)
        (logits,) = apply_dense(pooled, [_dense(config, self.num_classes, "classify")])
        return logits


class ClipLevel(nn.Module):
    """Level of whole clips: dense blocks on the mean of their segments, and a dense layer to the classes."""

    config: ModelConfig
    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Maps x [B, T, M] to clip logits [B, K]."""
        config, there = self.config, jnp.any(mask, axis=1)
        h = mean_over_time(x, mask)
        for block in range(config.clip_blocks):
            h = DenseBlock(config, name=f"block_{block}")(h, there, train)
        (logits,) = apply_dense(h, [_dense(config, self.num_classes, "classify")])
        return logits


class MultiLevelModel(nn.Module):
    """Dense blocks with a head at each level; several levels are mixed by an output layer, or averaged.

    With `clip_blocks` one more level, behind the others, sees the clip as a whole (`ClipLevel`).

    Attributes:
      config: the architecture and its form.
      num_classes: K.
    """

    config: ModelConfig
    num_classes: int

    @nn.compact
    def __call__(
        self, embeddings: jax.Array, mask: jax.Array | None = None, *, train: bool = False
    ) -> jax.Array:
        """Clip logits; `jax.nn.sigmoid` of them are the clip probabilities.

        Sows into the collection `levels` the `logits` of each level, the shallowest first, that of the whole
        clip last.

        Args:
          embeddings: [B, T, M] float32, scaled (for AudioSet's bytes, (e - 128) / 128).
          mask: [B, T] bool, True where there is a segment; all of them if left out. Padding affects
            no output, no statistic and no gradient, whatever it holds.
          train: use batch statistics and dropout (needs the rng `dropout`, and `batch_stats` mutable).

        Returns:
          [B, K] float32.
        """
        config = self.config
        if mask is None:
            mask = jnp.ones(embeddings.shape[:2], bool)
        x = embeddings
        if config.input_norm:
            x = _norm(config, "input_norm")(x, mask, train)
        h, levels, block = x, [], 0
        shared = Head(config, self.num_classes, name="head_0") if config.share_heads else None
        for level, num_blocks in enumerate(config.stages):
            for _ in range(num_blocks):
                h = DenseBlock(config, name=f"block_{block}")(h, mask, train)
                block += 1
            head = shared or Head(config, self.num_classes, name=f"head_{level}")
            levels.append(head(h, mask, train))
        if config.clip_blocks:
            levels.append(ClipLevel(config, self.num_classes, name="clip")(x, mask, train))
        for logits in levels:
            self.sow("levels", "logits", logits)
        if not config.mixes_levels:
            return sum(levels[1:], levels[0]) / len(levels)
        if config.join == "deepest_first":
            levels.reverse()
        joined = jnp.concatenate([nn.sigmoid(logits) for logits in levels], axis=-1)
        (logits,) = apply_dense(joined, [_dense(config, self.num_classes, "output")])
        if config.output_norm:
            # Clips of nothing but padding, which fill up a batch, do not count.
            logits = _norm(config, "output_norm")(logits, jnp.any(mask, axis=1), train)
        return logits


def build_model(config: ModelConfig, num_classes: int) -> MultiLevelModel:
    """The model that a config describes.

    Raises:
      UserError: the pooling is not known or there is no class.
    """
    if config.pooling not in POOLINGS:
        raise UserError(
            f"model.pooling={config.pooling!r} is not known: choose from {', '.join(POOLINGS)}"
        )
    if num_classes < 1:
        raise UserError(
            f"num_classes={num_classes}: a model needs at least one class; give clips with labels"
        )
    return MultiLevelModel(config, num_classes)


def init_variables(
    model: MultiLevelModel,
    seed: int | jax.Array,
    num_features: int,
    class_prior: np.ndarray | None = None,
) -> Variables:
    """Fresh `params` and `batch_stats`: kernels as `kernel_init` says, biases zero.

    Args:
      model: the model.
      seed: an integer or a PRNG key.
      num_features: M.
      class_prior: [K] each class's share of the clips, in (0, 1); needed with `prior_bias`, else unused.

    Raises:
      UserError: `prior_bias` without a class prior.
    """
    key = jax.random.key(seed) if isinstance(seed, int) else seed
    variables = _drawn(model, key, num_features)
    variables = {name: variables[name] for name in ("params", "batch_stats") if name in variables}
    if model.config.prior_bias:
        if class_prior is None:
            raise UserError("model.prior_bias needs class_prior: the share of clips of each class")
        log_odds = np.log(class_prior) - np.log1p(-class_prior)
        _set_last_bias(variables["params"], model.config, jnp.asarray(log_odds, jnp.float32))
    return variables


# Compiled: op by op it takes seconds. Once for each form, of which seeds differ in the key alone.
@partial(jax.jit, static_argnames=("model", "num_features"))
def _drawn(model: MultiLevelModel, key: jax.Array, num_features: int) -> Variables:
    variables: Variables = model.init(key, jnp.zeros((1, 1, num_features)))
    return variables


def _set_last_bias(params: Variables, config: ModelConfig, value: jax.Array) -> None:
    """Sets the bias that is added last: of the batch norm if one follows the dense layer, else of that."""
    if config.mixes_levels:
        params["output_norm" if config.output_norm else "output"]["bias"] = value
        return
    for level in params.values():
        if "classify" in level:
            last = "classify_norm" if "classify_norm" in level else "classify"
            # A copy for each: training gives its buffers away.
            level[last]["bias"] = jnp.array(value)


def num_parameters(variables: Variables) -> int:
    """The number of trainable parameters."""
    return sum(int(leaf.size) for leaf in jax.tree.leaves(variables["params"]))
