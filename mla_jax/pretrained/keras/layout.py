"""Which layer of a Keras model plays which part in ours."""

import dataclasses
from typing import NamedTuple

from mla_jax.config import ModelConfig


class Stack(NamedTuple):
    """A dense layer and the batch norm behind it, by their names in the file; "" is none."""

    dense: str
    norm: str = ""


class HeadLayers(NamedTuple):
    """The two maps of a head."""

    classify: Stack
    attend: Stack


@dataclasses.dataclass(frozen=True)
class Layout:
    """A Keras model as a multi-level attention model.

    Attributes:
      config: the architecture and the form.
      num_classes: K.
      blocks: the dense blocks, from the input on.
      heads: the heads, the shallowest first.
      input_norm: the batch norm of the input.
      output: the layer that joins the levels; None if there is one level.
      max_segments: T, if the model's input tells; else 0.
    """

    config: ModelConfig
    num_classes: int
    blocks: tuple[Stack, ...]
    heads: tuple[HeadLayers, ...]
    input_norm: str = ""
    output: Stack | None = None
    max_segments: int = 0

    def layer_of(self) -> dict[tuple[str, ...], str]:
        """The layer's name for each of our modules, such as ("block_0", "dense")."""
        found: dict[tuple[str, ...], str] = {("input_norm",): self.input_norm}
        for i, block in enumerate(self.blocks):
            found |= {(f"block_{i}", "dense"): block.dense, (f"block_{i}", "norm"): block.norm}
        for level, head in enumerate(self.heads):
            for name, stack in head._asdict().items():
                found[f"head_{level}", name] = stack.dense
                found[f"head_{level}", f"{name}_norm"] = stack.norm
        if self.output is not None:
            found |= {("output",): self.output.dense, ("output_norm",): self.output.norm}
        return {module: layer for module, layer in found.items() if layer}


def architecture_of(depths: list[int]) -> str:
    """`[2, 3]` -> "2-A-1-A": blocks before each head, counted from the head before."""
    return "-".join(f"{d - before}-A" for before, d in zip([0, *depths], depths, strict=False))


def join_of(head_norm: bool) -> str:
    """How the published programs join levels: the authors' has batch norm in its heads, Kong's has none."""
    return "deepest_first" if head_norm else "shallowest_first"
