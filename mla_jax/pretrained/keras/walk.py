"""Follows a Keras graph from its output to its input, and finds the parts of a multi-level attention model.

It must consist of

    input   InputLayer [-> BatchNormalization]
    block   Dense -> [BatchNormalization ->] relu [-> Dropout], one behind the other
    head    two maps of one block's output, Dense -> [BatchNormalization ->] sigmoid for the classes and
            softmax or sigmoid for the attention, and a Lambda of both
    output  Concatenate of the heads -> Dense -> [BatchNormalization ->] sigmoid; with one head, its Lambda

A Lambda's code is compiled Python, which cannot be read safely, so it is never looked at. It is taken to be
the
attention pooling of both published programs: attention clipped to [1e-7, 1 - 1e-7] and divided by its sum
over time, then the sum over time of its product with the classification.
"""

from typing import NamedTuple

from mla_jax.errors import UserError
from mla_jax.pretrained.keras.graph import Graph, Layer
from mla_jax.pretrained.keras.layout import HeadLayers, Stack

_ACTIVATIONS = ("Activation", "ReLU", "Softmax")
_NORM = "BatchNormalization"
_POOLINGS = {"softmax": "attention", "sigmoid": "attention_sigmoid"}


class Part(NamedTuple):
    """A dense layer with what follows it; `source` is the layer that it takes."""

    stack: Stack
    activation: str
    source: str


class Block(NamedTuple):
    """A dense block; `dropout` is "" where there is none."""

    stack: Stack
    dropout: str


class Trunk(NamedTuple):
    """The way from the input to a head."""

    input: str
    norm: str
    blocks: tuple[Block, ...]


class Branch(NamedTuple):
    """A head, the name of its pooling among ours, and the way to it."""

    layers: HeadLayers
    pooling: str
    trunk: Trunk


class Walk:
    """Goes through a graph, and notes which layers it has met. Methods raise UserError, naming the layer."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.used: set[str] = set()

    def output(self) -> tuple[Stack | None, tuple[str, ...]]:
        """The output layer, if there is one, and the Lambdas of the heads in the order of joining."""
        name = self.graph.output
        if self._peek(name).kind == "Lambda":
            return None, (name,)
        part = self._part(name, "the output")
        if part.activation != "sigmoid":
            raise UserError(
                f"layer {name} ends the model by {part.activation}; it must be a sigmoid"
            )
        joined = self._take(part.source, "what joins the heads", "Concatenate")
        axis = joined.settings.get("axis", -1)
        if axis not in (-1, 1):
            raise UserError(
                f"layer {joined.name} joins the heads along axis {axis}; it must be the classes', -1"
            )
        return part.stack, joined.inputs

    def branch(self, name: str) -> Branch:
        """The head that the Lambda `name` pools; of two sigmoids the first is the classification."""
        pool = self._take(name, "a head's pooling", "Lambda")
        classify, attend = (self._part(s, "a head's map") for s in self._inputs(pool, 2))
        if classify.activation == "softmax":
            classify, attend = attend, classify
        if classify.activation != "sigmoid" or attend.activation not in _POOLINGS:
            raise UserError(
                f"layer {name} pools {classify.stack.dense} ({classify.activation}) with "
                f"{attend.stack.dense} ({attend.activation}); a head pools a sigmoid with a softmax or a "
                "sigmoid"
            )
        if classify.source != attend.source:
            raise UserError(
                f"layer {name} pools maps of two layers, {classify.source} and {attend.source}; both maps of "
                "a head must take the same"
            )
        trunk = self._trunk(classify.source)
        if not trunk.blocks:
            raise UserError(
                f"layer {classify.stack.dense} takes the input itself; a head must come behind a block"
            )
        layers = HeadLayers(classify.stack, attend.stack)
        return Branch(layers, _POOLINGS[attend.activation], trunk)

    def require_all_used(self) -> None:
        """Every layer must have been met."""
        for name, layer in self.graph.layers.items():
            if name not in self.used:
                raise UserError(
                    f"layer {name} ({layer.kind}) does not lead to the output, so it is not part of a "
                    "multi-level attention model"
                )

    def _trunk(self, name: str) -> Trunk:
        blocks: list[Block] = []
        while not self._starts(name):
            if len(blocks) > len(self.graph.layers):
                raise UserError(f"layer {name} is among its own inputs; save the model again")
            block, name = self._block(name)
            blocks.insert(0, block)
        norm = ""
        if self._peek(name).kind == _NORM:
            norm = name
            name = self._inputs(self._take(name, "the input's batch norm", _NORM))[0]
        self._take(name, "the input", "InputLayer")
        return Trunk(name, norm, tuple(blocks))

    def _starts(self, name: str) -> bool:
        """Whether the layer is the input, or the input's batch norm."""
        layer = self._peek(name)
        if layer.kind == _NORM:
            layer = self._peek(self._inputs(layer)[0])
        return layer.kind == "InputLayer"

    def _block(self, name: str) -> tuple[Block, str]:
        """The block that ends in layer `name`, and the layer that it takes."""
        dropout = ""
        if self._peek(name).kind == "Dropout":
            dropout = name
            name = self._inputs(self._take(name, "a block", "Dropout"))[0]
        part = self._part(name, "a block")
        if part.activation != "relu":
            raise UserError(f"layer {name} ends a block by {part.activation}; it must be a relu")
        return Block(part.stack, dropout), part.source

    def _part(self, name: str, what: str) -> Part:
        """Dense -> [BatchNormalization ->] activation, or Dense with an activation of its own."""
        last = layer = self._take(name, what, "Dense", _NORM, *_ACTIVATIONS)
        activation, norm = "linear", ""
        if layer.kind in _ACTIVATIONS:
            activation = layer.activation
            layer = self._take(self._inputs(layer)[0], what, "Dense", _NORM)
        if layer.kind == _NORM:
            norm = layer.name
            layer = self._take(self._inputs(layer)[0], what, "Dense")
        if layer.activation != "linear":
            if layer is not last:
                raise UserError(
                    f"layer {last.name} ({last.kind}) comes behind the {layer.activation} that {layer.name} "
                    f"applies; the activation must be the last of {what}"
                )
            activation = layer.activation
        return Part(Stack(layer.name, norm), activation, self._inputs(layer)[0])

    def _peek(self, name: str) -> Layer:
        if name not in self.graph.layers:
            raise UserError(f"layer {name} is taken by another, but is not in the model_config")
        return self.graph.layers[name]

    def _take(self, name: str, what: str, *kinds: str) -> Layer:
        """The layer, which must be of one of the kinds in order to be `what`."""
        layer = self._peek(name)
        if layer.kind not in kinds:
            raise UserError(
                f"layer {name} ({layer.kind}) stands where {what} of a multi-level attention model must be: "
                f"{' or '.join(kinds)}"
            )
        self.used.add(name)
        return layer

    def _inputs(self, layer: Layer, count: int = 1) -> tuple[str, ...]:
        if len(layer.inputs) != count:
            raise UserError(
                f"layer {layer.name} ({layer.kind}) has {len(layer.inputs)} inputs; it must have {count}"
            )
        return layer.inputs
