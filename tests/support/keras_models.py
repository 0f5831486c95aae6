"""The models of the papers in Keras, from its standard layers, to compare ours with.

Every layer has the path of our parameters as its name, so weights can be copied both ways.
"""

import os
from typing import Any

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax
import keras
import numpy as np
import tensorflow as tf  # noqa: F401 (Keras's gradients are its)
from keras import layers, ops

from mla_jax.config import ModelConfig, parse_architecture

# What tests break to see that it would be noticed.
Details = dict[str, Any]


def attention_pooling(inputs: Any) -> Any:
    """Equation 3 with the clipping of the published programs: [cla, att], both (batch, time, K)."""
    cla, att = inputs
    att = ops.clip(att, 1e-7, 1 - 1e-7)
    return ops.sum(cla * att / ops.sum(att, axis=1, keepdims=True), axis=1)


def build(
    config: ModelConfig, time: int, features: int, num_classes: int, l2: float = 0.0, **details: Any
) -> keras.Model:
    """A functional Keras model of the form and architecture of `config`, without dropout's randomness.

    Args:
      config: what to build; pooling `attention` or `attention_sigmoid` of decisions.
      time, features, num_classes: sizes.
      l2: the blocks' kernel regularizer.
      **details: `epsilon`, `softmax_axis` or `join`, to build it wrong.
    """
    epsilon = details.get("epsilon", config.norm_epsilon)

    def norm(name: str, x: Any) -> Any:
        return layers.BatchNormalization(momentum=config.norm_momentum, epsilon=epsilon, name=name)(
            x
        )

    def attention(x: Any) -> Any:
        if config.pooling == "attention_sigmoid":
            return layers.Activation("sigmoid")(x)
        return layers.Softmax(axis=details.get("softmax_axis", -1))(x)

    x = inputs = layers.Input((time, features))
    if config.input_norm:
        x = norm("input_norm", x)
    pooled, block = [], 0
    for level, count in enumerate(parse_architecture(config.architecture)):
        for _ in range(count):
            x = layers.Dense(
                config.hidden_units,
                use_bias=config.hidden_bias,
                kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
                name=f"block_{block}_dense",
            )(x)
            if config.block_norm:
                x = norm(f"block_{block}_norm", x)
            x = layers.Dropout(config.dropout_rate)(layers.Activation("relu")(x))
            block += 1
        maps = []
        for name in ("classify", "attend"):
            y = layers.Dense(num_classes, name=f"head_{level}_{name}")(x)
            maps.append(norm(f"head_{level}_{name}_norm", y) if config.head_norm else y)
        maps = [layers.Activation("sigmoid")(maps[0]), attention(maps[1])]
        pooled.append(layers.Lambda(attention_pooling)(maps))
    if len(pooled) == 1:
        return keras.Model(inputs, pooled[0])
    if details.get("join", config.join) == "deepest_first":
        pooled.reverse()
    y = layers.Dense(num_classes, name="output")(layers.Concatenate(axis=-1)(pooled))
    if config.output_norm:
        y = norm("output_norm", y)
    return keras.Model(inputs, layers.Activation("sigmoid")(y))


_KERAS_NAMES = {"scale": "gamma", "mean": "moving_mean", "var": "moving_variance"}


def _weight(model: keras.Model, path: tuple[Any, ...]) -> Any:
    """The Keras weight that belongs to a path of our variables."""
    *parts, last = (key.key for key in path)
    layer = model.get_layer("_".join(parts))
    if last == "bias" and hasattr(layer, "beta"):
        return layer.beta
    return getattr(layer, _KERAS_NAMES.get(last, last))


def copy_weights(variables: dict[str, Any], model: keras.Model) -> None:
    """Puts our variables into the Keras model; every weight of it must get one."""
    count = 0
    for collection in variables.values():
        for path, leaf in jax.tree_util.tree_leaves_with_path(collection):
            _weight(model, path).assign(np.asarray(leaf))
            count += 1
    assert count == len(model.weights)


def weights_like(collection: Any, model: keras.Model) -> Any:
    """The Keras model's weights in the structure of our `params` or `batch_stats`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: np.asarray(_weight(model, path)), collection
    )


def gradients_like(params: Any, model: keras.Model, gradients: dict[int, Any]) -> Any:
    """Gradients by the id of the Keras weight, in the structure of our `params`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: np.asarray(gradients[id(_weight(model, path))]), params
    )
