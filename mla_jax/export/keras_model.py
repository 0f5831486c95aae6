"""The tagger in Keras, of its standard layers with the weights copied: what TensorFlow and ONNX get.

Every layer has the path of our parameters as its name. Behind the pooling the clip goes on as one more
segment, in front of the others.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from mla_jax.config import ModelConfig
from mla_jax.errors import UserError
from mla_jax.export.keras import in_float32, keras, layers, ops, require_tensorflow
from mla_jax.export.keras_pooling import ATTENTION, POOLS, pool_logits, pool_views, sigmoid
from mla_jax.export.keras_sharing import against_the_clip, share
from mla_jax.export.tagger import Tagger
from mla_jax.inference.segment_scores import DEFAULT_SCORE, SEGMENT_SCORES, segment_weights
from mla_jax.models.pooling import POOLINGS

_SCORE = SEGMENT_SCORES[DEFAULT_SCORE]
_KERAS_NAMES = {"scale": "gamma", "mean": "moving_mean", "var": "moving_variance"}


@in_float32()
def keras_tagger(tagger: Tagger) -> keras.Model:
    """A Keras model of `embeddings` and `mask` that gives `clip` and `segments`, as `Tagger` says.

    Raises:
      UserError: Keras was started for another library than TensorFlow, or does not have the model's pooling.
    """
    require_tensorflow()
    trained = tagger.trained
    if trained.config.model.pooling not in POOLS:
        raise UserError(
            f"pooling {trained.config.model.pooling!r} is not written in Keras: export to .stablehlo, or "
            "add it to mla_jax/export/keras_pooling.py"
        )
    embeddings = layers.Input((None, trained.num_features), dtype=tagger.dtype, name="embeddings")
    mask = layers.Input((None,), dtype="bool", name="mask")
    there = ops.expand_dims(mask, -1)
    # What padding holds, NaN even, must not matter.
    stored = ops.where(there, ops.cast(embeddings, "float32"), 0.0)
    scaled = (stored - tagger.embedding.scaling.offset) / tagger.embedding.scaling.scale
    counts = there if tagger.use_mask else ops.ones_like(there)
    alike = segment_weights(trained.config.model, trained.variables).alike
    built = _Built(
        trained.config.model,
        len(trained.classes),
        None if alike is None else np.asarray(alike),
    )
    probs = built.probabilities(scaled, counts)
    outputs = {
        "clip": ops.where(ops.any(there, axis=1), probs[:, 0], 0.0),
        "segments": ops.where(there, probs[:, 1:], 0.0),
    }
    model = keras.Model({"embeddings": embeddings, "mask": mask}, outputs)
    copy_weights(trained.variables, model)
    return model


class _Built:
    """Layers of a model by their names, so that heads which share weights share layers.

    Args:
      config: what the model looks like.
      num_classes: K.
      alike: how alike classes are, [K, K]; None where units are not classes.
    """

    def __init__(self, config: ModelConfig, num_classes: int, alike: np.ndarray | None) -> None:
        self.config, self.num_classes, self._alike = config, num_classes, alike
        self._layers: dict[str, layers.Layer] = {}

    def probabilities(self, x: Any, counts: Any) -> Any:
        """Of [clips, time, features] those of clip and segments, [clips, 1 + time, classes]."""
        config = self.config
        if config.input_norm:
            x = self._norm("input_norm", x)
        h, levels, attention, block = x, [], [], 0
        for level, num_blocks in enumerate(config.stages):
            for _ in range(num_blocks):
                h = self._block(f"block_{block}", h)
                block += 1
            views, says = self._head(f"head_{0 if config.share_heads else level}", h, counts)
            levels.append(views)
            attention.append(says)
        if config.clip_blocks:
            levels.append(self._clip_level(x, counts))
        clip, evidence = self._joined(list(zip(*levels, strict=True)))
        if self._alike is not None and attention[0] is not None:
            evidence = evidence + _SCORE.attention * sum(attention) / len(attention)
        evidence = share(x, evidence, sigmoid(clip), counts, self._alike)
        scores = sigmoid(clip) ** _SCORE.clip * sigmoid(evidence) ** (1 - _SCORE.clip)
        return ops.concatenate([sigmoid(clip), scores], axis=1)

    def _joined(self, views: list[tuple[Any, ...]]) -> tuple[Any, Any]:
        """The logits of the clip, [clips, 1, classes], and those blended of the windows around segments."""
        if not self.config.mixes_levels:
            clip, *windows = (sum(view) / len(view) for view in views)
            return clip, _blended(windows)
        if self.config.join == "deepest_first":
            views = [view[::-1] for view in views]
        clip, *windows = (ops.concatenate(view, axis=-1) for view in views)
        # What follows is linear: a blend of what goes in gives that of the logits.
        y = self._dense(
            "output", ops.concatenate([clip, _blended(windows)], axis=1), self.num_classes
        )
        y = self._norm("output_norm", y) if self.config.output_norm else y
        return y[:, :1], y[:, 1:]

    def _block(self, name: str, x: Any) -> Any:
        config = self.config
        x = self._dense(f"{name}_dense", x, config.hidden_units, use_bias=config.hidden_bias)
        return ops.relu(self._norm(f"{name}_norm", x) if config.block_norm else x)

    def _head(self, name: str, x: Any, counts: Any) -> tuple[list[Any], Any]:
        """What one level says: of the clip, then of the windows that a segment's score blends.

        Logits where levels are averaged, else probabilities. And what attention says of each segment, if it
        is of classes.
        """
        config, decides = self.config, self.config.attend_to == "decisions"
        size = self.num_classes if decides else config.hidden_units
        values = self._map(f"{name}_{'classify' if decides else 'value'}", x, size)
        uses_attention = POOLINGS[config.pooling].uses_attention
        attend = self._map(f"{name}_attend", x, size) if uses_attention else values
        sizes = [size for size, _ in _SCORE.windows]
        if not decides:
            views = pool_views(POOLS[config.pooling], values, attend, counts, sizes)
            views = [self._classify(name, view) for view in views]
        elif not config.mixes_levels:
            views = pool_logits(config.pooling, values, attend, counts, sizes)
        else:
            views = pool_views(POOLS[config.pooling], sigmoid(values), attend, counts, sizes)
        if not (decides and uses_attention):
            return views, None
        return views, against_the_clip(ops.log(ATTENTION[config.pooling](attend, counts)), counts)

    def _classify(self, name: str, pooled: Any) -> Any:
        """What is said of pooled vectors."""
        y = self._norm(f"{name}_norm", pooled) if self.config.block_norm else pooled
        logits = self._dense(f"{name}_classify", ops.relu(y), self.num_classes)
        return self._said(logits)

    def _said(self, logits: Any) -> Any:
        """What a level gives of its logits: these, or the probabilities that an output layer mixes."""
        return sigmoid(logits) if self.config.mixes_levels else logits

    def _clip_level(self, x: Any, counts: Any) -> list[Any]:
        """What the level of whole clips says, in the views of `_head`: of each window the same."""
        h = POOLS["mean"](x, x, counts)
        for block in range(self.config.clip_blocks):
            h = self._block(f"clip_block_{block}", h)
        says = self._said(self._dense("clip_classify", h, self.num_classes))
        windows = ops.zeros_like(counts, dtype="float32") + says
        return [says, *(windows for _ in _SCORE.windows)]

    def _map(self, name: str, x: Any, size: int) -> Any:
        y = self._dense(name, x, size)
        return self._norm(f"{name}_norm", y) if self.config.head_norm else y

    def _dense(self, name: str, x: Any, units: int, *, use_bias: bool = True) -> Any:
        return self._layer(name, lambda: layers.Dense(units, use_bias=use_bias, name=name))(x)

    def _norm(self, name: str, x: Any) -> Any:
        epsilon = self.config.norm_epsilon
        return self._layer(name, lambda: layers.BatchNormalization(epsilon=epsilon, name=name))(x)

    def _layer(self, name: str, make: Callable[[], layers.Layer]) -> layers.Layer:
        if name not in self._layers:
            self._layers[name] = make()
        return self._layers[name]


def _blended(windows: list[Any]) -> Any:
    """The weighted sum over the windows around each segment."""
    weights = [weight for _, weight in _SCORE.windows]
    return sum(weight * window for weight, window in zip(weights, windows, strict=True))


def weight_of(model: keras.Model, path: tuple[Any, ...]) -> Any:
    """The Keras weight that belongs to a path of our variables."""
    *parts, last = (key.key for key in path)
    layer = model.get_layer("_".join(parts))
    if last == "bias" and hasattr(layer, "beta"):
        return layer.beta
    return getattr(layer, _KERAS_NAMES.get(last, last))


def copy_weights(variables: Mapping[str, Any], model: keras.Model) -> None:
    """Puts our variables into a Keras model whose layers have their names; each weight must get one."""
    count = 0
    for collection in variables.values():
        for path, leaf in jax.tree_util.tree_leaves_with_path(collection):
            weight_of(model, path).assign(np.asarray(leaf))
            count += 1
    assert count == len(model.weights), (count, [w.path for w in model.weights])
