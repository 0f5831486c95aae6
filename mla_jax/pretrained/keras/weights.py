"""The weights of a Keras model as the variables of ours."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mla_jax.config import ModelConfig
from mla_jax.errors import UserError
from mla_jax.models.multi_level import Variables, build_model, init_variables
from mla_jax.pretrained.keras.file import Arrays, KerasFile, read_keras_file
from mla_jax.pretrained.keras.form import layout_of
from mla_jax.pretrained.keras.layout import Layout
from mla_jax.pretrained.keras.names import layout_from_names

_DENSE = {"kernel": "kernel", "bias": "bias"}
_NORM = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}


@dataclasses.dataclass(frozen=True)
class KerasModel:
    """A Keras model as one of ours.

    Attributes:
      config: its settings.
      num_classes, num_features: K and M.
      max_segments: T, if its input tells; else 0.
      variables: `params` and `batch_stats`, float32.
      has_graph: whether the settings were read from the model's graph, or inferred from weights alone, which
        do not tell dropout, batch norm's constants and the order in which levels are joined.
    """

    config: ModelConfig
    num_classes: int
    num_features: int
    max_segments: int
    variables: Variables
    has_graph: bool


def load_keras(path: str | Path, architecture: str = "") -> KerasModel:
    """Reads a Keras HDF5 file as a multi-level attention model.

    Nothing in the file is executed; a Lambda layer is taken to be the attention pooling of the published
    programs (see `mla_jax.pretrained.keras.walk`).

    Args:
      path: what `model.save("x.h5")`, or `model.save_weights`, of Keras 2 or 3 wrote.
      architecture: such as 2-A-1-A; needed if the file has weights alone.

    Raises:
      UserError: the file cannot be read, or its model does not fit; the message names the layer.
    """
    file = read_keras_file(path)
    try:
        return _model(file, architecture)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _model(file: KerasFile, architecture: str) -> KerasModel:
    has_graph = file.model_config is not None
    if has_graph:
        layout = layout_of(file.model_config)
        found = layout.config.architecture
        if architecture not in ("", found):
            raise UserError(f"its graph is {found}, not {architecture}; leave --architecture out")
    elif architecture:
        layout = layout_from_names(file.layers, architecture)
    else:
        raise UserError(
            "it has weights alone, without the model's graph; give --architecture, such as 2-A-1-A"
        )
    num_features = _num_features(layout, file.layers)
    return KerasModel(
        config=layout.config,
        num_classes=layout.num_classes,
        num_features=num_features,
        max_segments=layout.max_segments,
        variables=_variables(layout, num_features, file.layers),
        has_graph=has_graph,
    )


def _num_features(layout: Layout, layers: Mapping[str, Arrays]) -> int:
    name = layout.blocks[0].dense
    kernel = layers.get(name, {}).get("kernel")
    if kernel is None or kernel.ndim != 2:
        raise UserError(f"layer {name} has no kernel [inputs, outputs] in the file")
    return int(kernel.shape[0])


def _variables(layout: Layout, num_features: int, layers: Mapping[str, Arrays]) -> Variables:
    """Fills the model's variables; every array must fit, and none may be left over."""
    model = build_model(layout.config, layout.num_classes)
    expected = jax.eval_shape(lambda: init_variables(model, 0, num_features))
    layer_of = layout.layer_of()
    unused = {(layer, name) for layer, arrays in layers.items() for name in arrays}

    def fill(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        _, *module, variable = (key.key for key in path)
        layer = layer_of[tuple(module)]
        name = (_NORM if module[-1].endswith("norm") else _DENSE)[variable]
        array = layers.get(layer, {}).get(name)
        if array is None:
            raise UserError(
                f"layer {layer} has no {name} in the file, but the model needs one of {list(leaf.shape)}"
            )
        if array.shape != leaf.shape:
            raise UserError(
                f"layer {layer} has a {name} of {list(array.shape)}, where {layout.config.architecture} of "
                f"{num_features} features, {layout.config.hidden_units} units and {layout.num_classes} "
                f"classes has {list(leaf.shape)}"
            )
        unused.discard((layer, name))
        return array

    variables: Variables = jax.tree_util.tree_map_with_path(fill, expected)
    if unused:
        layer, name = min(unused)
        raise UserError(
            f"layer {layer} has a {name} that no part of the model takes; a file must hold one model and "
            "nothing else"
        )
    return variables
