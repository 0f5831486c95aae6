"""Keras models of the two published programs, and HDF5 files of them in every layout that Keras writes."""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import h5py
import keras
import numpy as np
from keras import layers, ops

from mla_jax.config import parse_architecture

Edit = Callable[[dict[str, Any], dict[str, dict[str, np.ndarray]]], None]


def pool_attention(inputs: Any) -> Any:
    """What both programs have in their Lambda layers: [decisions, attention], (batch, time, K) both."""
    decisions, attention = inputs
    attention = ops.clip(attention, 1e-7, 1 - 1e-7)
    weights = attention / ops.sum(attention, axis=1, keepdims=True)
    return ops.sum(weights * decisions, axis=1)


def ibm_model(
    architecture: str = "2-A-1-A",
    *,
    time: int = 10,
    features: int = 128,
    hidden: int = 32,
    classes: int = 21,
    attend: str = "softmax",
) -> keras.Model:
    """Kong's Keras program, whose form IBM's file has: every name is made up by Keras."""
    x = inputs = layers.Input((time, features))
    branches = []
    for count in parse_architecture(architecture):
        for _ in range(count):
            x = layers.Dense(hidden)(x)
            x = layers.BatchNormalization()(x)
            x = layers.Dropout(0.5)(layers.Activation("relu")(x))
        branches.append(x)
    pooled = []
    for x in branches:
        maps = [layers.Dense(classes, activation=a)(x) for a in ("sigmoid", attend)]
        pooled.append(layers.Lambda(pool_attention, output_shape=(classes,))(maps))
    if len(pooled) == 1:
        return randomised(keras.Model(inputs, pooled[0]))
    joined = layers.Dense(classes)(layers.Concatenate(axis=-1)(pooled))
    return randomised(keras.Model(inputs, layers.Activation("sigmoid")(joined)))


def authors_model(
    architecture: str = "2-A-1-A",
    *,
    time: int = 10,
    features: int = 128,
    hidden: int = 32,
    classes: int = 21,
) -> keras.Model:
    """The program of the paper's authors: the deepest head is made, numbered and joined first."""
    inputs = layers.Input((time, features))
    x = layers.BatchNormalization()(inputs)
    branches = []
    for count in parse_architecture(architecture):
        for _ in range(count):
            x = layers.Dense(hidden, kernel_regularizer=keras.regularizers.L2(1e-3))(x)
            x = layers.BatchNormalization()(x)
            x = layers.Dropout(0.4)(layers.Activation("relu")(x))
        branches.insert(0, x)
    pooled = []
    for number, x in enumerate(branches, start=1):
        maps = []
        for name, activation in ((f"cla_{number}", "sigmoid"), (attend_name(number), "softmax")):
            y = layers.BatchNormalization()(layers.Dense(classes, name=name)(x))
            maps.append(layers.Activation(activation)(y))
        pooled.append(layers.Lambda(pool_attention, output_shape=(classes,))(maps))
    if len(pooled) == 1:
        return randomised(keras.Model(inputs, pooled[0]))
    y = layers.Dense(classes, name="output")(layers.Concatenate(axis=1)(pooled))
    return randomised(
        keras.Model(inputs, layers.Activation("sigmoid")(layers.BatchNormalization()(y)))
    )


def attend_name(number: int) -> str:
    return "att_1" if number == 1 else f"att{number}"


MODELS = {"ibm": ibm_model, "authors": authors_model}


def randomised(model: keras.Model) -> keras.Model:
    """No two layers' weights are alike, nor any statistic what it starts as, so that mix-ups show."""
    rng = np.random.default_rng(7)
    for layer in model.layers:
        values = []
        for weight in layer.weights:
            shape, name = weight.shape, weight.name
            if name == "kernel":
                values.append(rng.normal(size=shape) * 2 / np.sqrt(shape[0]))
            elif name in ("gamma", "moving_variance"):
                values.append(rng.uniform(0.5, 2, shape))
            else:
                values.append(rng.normal(size=shape) * 0.5)
        layer.set_weights(values)
    return model


def probabilities(model: keras.Model, embeddings: np.ndarray) -> np.ndarray:
    """Keras's own, of bytes [clips, time, features]; padding is bytes of zero like any other."""
    return np.asarray(model((embeddings.astype(np.float32) - 128) / 128, training=False))


def write_keras3(model: keras.Model, path: Path, *, weights_only: bool = False) -> Path:
    if weights_only:
        model.save_weights(path)
    else:
        model.save(path)
    return path


def write_keras2(
    model: keras.Model,
    path: Path,
    *,
    weights_only: bool = False,
    edit: Edit | None = None,
    names_in_parts_of: int = 0,
) -> Path:
    """The layout of Keras 2, by hand; `edit` may change the config and the arrays by layer first."""
    config = keras2_config(model)
    arrays = {
        keras2_name(layer.name): {
            weight.name: np.asarray(value)
            for weight, value in zip(layer.weights, layer.get_weights(), strict=True)
        }
        for layer in model.layers
    }
    if edit:
        edit(config, arrays)
    with h5py.File(path, "w") as file:
        if not weights_only:
            file.attrs["model_config"] = np.bytes_(json.dumps(config))
            file.attrs["keras_version"] = np.bytes_("2.2.4")
        root = file if weights_only else file.create_group("model_weights")
        write_layers(root, arrays, names_in_parts_of)
    return path


def write_layers(
    root: h5py.Group, arrays: Mapping[str, Mapping[str, np.ndarray]], names_in_parts_of: int
) -> None:
    """Arrays by layer. A list of names that is too long for one attribute stands in several."""
    names, part = np.array(list(arrays), "S"), names_in_parts_of
    if part:
        for i in range(0, len(names), part):
            root.attrs[f"layer_names{i // part}"] = names[i : i + part]
    else:
        root.attrs["layer_names"] = names
    for layer, held in arrays.items():
        group = root.create_group(layer)
        group.attrs["weight_names"] = np.array([f"{layer}/{name}:0" for name in held], "S")
        for name, value in held.items():
            group[f"{layer}/{name}:0"] = value


def keras2_name(name: str) -> str:
    """Keras 2.2 numbers from 1 where Keras 3 writes no number at first."""
    if re.fullmatch(r"(cla|att)_?\d+|output", name):
        return name
    stem, _, number = re.fullmatch(r"(.*?)(_(\d+))?", name).groups()
    return f"{stem.replace('input_layer', 'input')}_{int(number or 0) + 1}"


_KEPT = (
    "units",
    "activation",
    "use_bias",
    "axis",
    "momentum",
    "epsilon",
    "center",
    "scale",
    "rate",
)


def keras2_config(model: keras.Model) -> dict[str, Any]:
    """The graph as Keras 2 writes it: [layer, call, tensor, arguments] for every input."""
    described = json.loads(model.to_json())["config"]
    made = []
    for layer in described["layers"]:
        kind, name = layer["class_name"], keras2_name(layer["name"])
        settings = {k: v for k, v in layer["config"].items() if k in _KEPT}
        if kind == "InputLayer":
            settings["batch_input_shape"] = layer["config"]["batch_shape"]
        if kind == "Lambda":  # Python's compiled code, as text; ours must never look at it
            settings |= {"function": ["4wEAAAA not code", None, None], "function_type": "lambda"}
        inputs = re.findall(r'"keras_history": \["(\w+)", 0, 0\]', json.dumps(layer))
        made.append(
            {
                "name": name,
                "class_name": kind,
                "config": {"name": name, "trainable": True, **settings},
                "inbound_nodes": [[[keras2_name(i), 0, 0, {}] for i in inputs]] if inputs else [],
            }
        )
    config = {
        "name": "model_1",
        "layers": made,
        "input_layers": [[made[0]["name"], 0, 0]],
        "output_layers": [[keras2_name(described["output_layers"][0]), 0, 0]],
    }
    return {"class_name": "Model", "config": config}
