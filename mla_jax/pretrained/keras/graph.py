"""A Keras model's graph: layers by name, each with its kind, its settings and the layers it takes.

Keras 2 and Keras 3 write the same list of layers into `model_config`, and the connections between them in
two ways: `[[["dense_1", 0, 0, {}], ...]]` and `[{"args": [{"class_name": "__keras_tensor__", ...}], ...}]`.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from mla_jax.errors import UserError

KINDS = (
    "InputLayer",
    "Dense",
    "BatchNormalization",
    "Activation",
    "ReLU",
    "Softmax",
    "Dropout",
    "Lambda",
    "Concatenate",
)
"""The kinds of layer that a multi-level attention model is made of."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer.

    Attributes:
      name: its name in the file.
      kind: one of `KINDS`; Dense for `TimeDistributed(Dense(...))`.
      settings: its `config`.
      inputs: the names of the layers that it takes, in order.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    inputs: tuple[str, ...]

    @property
    def activation(self) -> str:
        """The function it applies to its output: `relu`, `sigmoid`, ...; `linear` if none."""
        if self.kind == "ReLU":
            plain = not any(
                self.settings.get(n) for n in ("max_value", "negative_slope", "threshold")
            )
            return "relu" if plain else "a ReLU with settings of its own"
        if self.kind == "Softmax":
            axis = self.settings.get("axis", -1)
            return "softmax" if axis in (-1, 2, [-1], [2]) else f"softmax over axis {axis}"
        value = self.settings.get("activation", "linear")
        if isinstance(value, dict):
            inner = value.get("config")
            value = inner if isinstance(inner, str) else value.get("class_name")
        return str(value).lower()


@dataclasses.dataclass(frozen=True)
class Graph:
    """All layers by name, and the name of the one whose output is the model's."""

    layers: dict[str, Layer]
    output: str


def read_graph(model_config: Any) -> Graph:
    """Reads a `model_config` of Keras 2 or 3.

    Raises:
      UserError: the model is not a functional one with one output, has a layer of another kind, or uses a
        layer twice.
      LookupError, TypeError, AttributeError, RecursionError: the JSON is not as Keras writes it.
    """
    kind = model_config["class_name"]
    if kind not in ("Functional", "Model"):
        raise UserError(
            f"its model is of the kind {kind}; a multi-level attention model is Functional, as heads "
            "branch off between its layers"
        )
    config = model_config["config"]
    layers = [_layer(description) for description in config["layers"]]
    outputs = list(_tensors(config["output_layers"]))
    if len(outputs) != 1:
        raise UserError(
            f"the model has {len(outputs)} outputs ({', '.join(outputs)}); it must have one, the clip "
            "probabilities"
        )
    return Graph({layer.name: layer for layer in layers}, outputs[0])


def _layer(description: Mapping[str, Any]) -> Layer:
    kind, settings = description["class_name"], description["config"]
    name = description.get("name") or settings["name"]
    if kind == "TimeDistributed":  # a dense layer acts on each segment by itself anyway
        kind, settings = settings["layer"]["class_name"], settings["layer"]["config"]
    kind = kind.removesuffix("V1").removesuffix("V2")
    if kind not in KINDS:
        raise UserError(
            f"layer {name} ({kind}) is not part of a multi-level attention model, which is made of "
            f"{', '.join(KINDS)}"
        )
    calls = description["inbound_nodes"]
    if len(calls) > 1:
        raise UserError(f"layer {name} is used {len(calls)} times; every layer must be used once")
    return Layer(name, kind, settings, tuple(_tensors(calls)))


def _tensors(value: Any) -> Iterator[str]:
    """The names of the layers whose outputs are named in `value`, a part of a call's description."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield value["config"]["keras_history"][0]
        else:
            for part in value.values():
                yield from _tensors(part)
    elif isinstance(value, list):
        # [layer, call, tensor] or [layer, call, tensor, further arguments]
        if len(value) in (3, 4) and isinstance(value[0], str) and isinstance(value[1], int):
            yield value[0]
            yield from _tensors(value[3:])
        else:
            for part in value:
                yield from _tensors(part)
