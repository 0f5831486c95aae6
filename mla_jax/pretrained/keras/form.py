"""Architecture, sizes and form of a Keras model, from its graph."""

from collections.abc import Sequence
from typing import Any, TypeVar

from mla_jax.config import ModelConfig
from mla_jax.errors import UserError
from mla_jax.pretrained.keras.graph import Graph, read_graph
from mla_jax.pretrained.keras.layout import Layout, Stack, architecture_of, join_of
from mla_jax.pretrained.keras.walk import Block, Branch, Walk

_T = TypeVar("_T", bool, int, float)


def layout_of(model_config: Any) -> Layout:
    """Finds the parts of a multi-level attention model (`mla_jax.pretrained.keras.walk` says which).

    Args:
      model_config: the graph, as Keras 2 or 3 writes it.

    Raises:
      UserError: it is no such model, layers that are alike in ours differ in it, or it is not as Keras writes
        it; the message names the layer.
    """
    try:
        return _layout(read_graph(model_config))
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(
            f"its model_config is not as Keras writes it ({error!r}); save the model again"
        ) from error


def _layout(graph: Graph) -> Layout:
    walk = Walk(graph)
    output, pooled = walk.output()
    joined = [walk.branch(name) for name in pooled]
    walk.require_all_used()
    branches = sorted(joined, key=lambda branch: len(branch.trunk.blocks))
    trunk = branches[-1].trunk
    _require_one_trunk(branches)
    maps = [stack for branch in branches for stack in branch.layers]
    blocks = [block.stack for block in trunk.blocks]
    outputs = [output] if output else []
    norms = [trunk.norm, *(stack.norm for stack in (*blocks, *maps, *outputs))]
    norms = [norm for norm in norms if norm]
    for norm in norms:
        _require_usual_norm(graph, norm, pooled=bool(output and norm == output.norm))
    _require_bias(graph, [*maps, *outputs])
    config = ModelConfig(
        architecture=architecture_of([len(branch.trunk.blocks) for branch in branches]),
        hidden_units=_shared(graph, [s.dense for s in blocks], "units", 0),
        dropout_rate=_dropout_rate(graph, trunk.blocks),
        pooling=_pooling(branches),
        input_norm=bool(trunk.norm),
        block_norm=_normed(blocks),
        head_norm=_normed(maps),
        output_norm=bool(output and output.norm),
        norm_momentum=_shared(graph, norms, "momentum", ModelConfig.norm_momentum),
        norm_epsilon=_shared(graph, norms, "epsilon", ModelConfig.norm_epsilon),
        hidden_bias=_shared(graph, [s.dense for s in blocks], "use_bias", True),
        join=_join(joined),
    )
    settings = graph.layers[trunk.input].settings
    shape = settings.get("batch_shape") or settings.get("batch_input_shape") or []
    return Layout(
        config=config,
        num_classes=_shared(graph, [s.dense for s in (*maps, *outputs)], "units", 0),
        blocks=tuple(blocks),
        heads=tuple(branch.layers for branch in branches),
        input_norm=trunk.norm,
        output=output,
        max_segments=int(shape[1] or 0) if len(shape) == 3 else 0,
    )


def _require_one_trunk(branches: Sequence[Branch]) -> None:
    """Heads must be at different depths, on the way to the deepest one."""
    deepest = branches[-1].trunk
    for i, (layers, _, trunk) in enumerate(branches):
        depth = len(trunk.blocks)
        if trunk != deepest._replace(blocks=deepest.blocks[:depth]):
            raise UserError(
                f"layer {layers.classify.dense} does not take the end of a block on the way to the deepest "
                "head; heads must branch off between blocks, behind the dropout"
            )
        if i and depth == len(branches[i - 1].trunk.blocks):
            raise UserError(
                f"layers {branches[i - 1].layers.classify.dense} and {layers.classify.dense} are both heads "
                f"behind block {depth}; every head must be at a depth of its own"
            )


def _join(joined: Sequence[Branch]) -> str:
    depths = [len(branch.trunk.blocks) for branch in joined]
    if len(depths) == 1:  # nothing is joined; as in the presets
        return join_of(bool(joined[0].layers.classify.norm))
    if depths == sorted(depths):
        return "shallowest_first"
    if depths == sorted(depths, reverse=True):
        return "deepest_first"
    names = ", ".join(branch.layers.classify.dense for branch in joined)
    raise UserError(
        f"the heads {names} are joined in this order, behind blocks {depths}; they must be joined from the "
        "deepest or from the shallowest on"
    )


def _shared(graph: Graph, names: Sequence[str], setting: str, default: _T) -> _T:
    """The value of a setting that the layers must have in common; old files leave defaults out."""
    values = [type(default)(graph.layers[name].settings.get(setting, default)) for name in names]
    for name, value in zip(names, values, strict=True):
        if value != values[0]:
            raise UserError(
                f"layer {name} has {setting} {value}, but layer {names[0]} {values[0]}; layers of one part "
                "of the model must be alike"
            )
    return values[0] if values else default


def _normed(stacks: Sequence[Stack]) -> bool:
    for stack in stacks:
        if bool(stack.norm) != bool(stacks[0].norm):
            with_norm, without = (stack, stacks[0]) if stack.norm else (stacks[0], stack)
            raise UserError(
                f"layer {with_norm.dense} has a batch norm behind it, but layer {without.dense} none; all "
                "blocks must be alike, and all maps of heads"
            )
    return bool(stacks[0].norm)


def _dropout_rate(graph: Graph, blocks: Sequence[Block]) -> float:
    names = [block.dropout for block in blocks if block.dropout]
    if names and len(names) != len(blocks):
        without = next(block.stack.dense for block in blocks if not block.dropout)
        raise UserError(
            f"layer {without} has no dropout behind it, but other blocks have; all must be alike"
        )
    return _shared(graph, names, "rate", 0.0)


def _pooling(branches: Sequence[Branch]) -> str:
    for branch in branches:
        if branch.pooling != branches[0].pooling:
            raise UserError(
                f"layer {branch.layers.attend.dense} has another activation than "
                f"{branches[0].layers.attend.dense}; all heads must attend alike"
            )
    return branches[0].pooling


def _require_usual_norm(graph: Graph, name: str, *, pooled: bool) -> None:
    """Settings that our batch norm does not have must be as in ours."""
    settings = graph.layers[name].settings
    axis = settings.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis not in (-1, 1 if pooled else 2):
        raise UserError(f"layer {name} normalises axis {axis}; it must be the last, -1")
    if not (settings.get("center", True) and settings.get("scale", True)):
        raise UserError(f"layer {name} has no gamma or no beta; a batch norm must have both")


def _require_bias(graph: Graph, stacks: Sequence[Stack]) -> None:
    for stack in stacks:
        if not graph.layers[stack.dense].settings.get("use_bias", True):
            raise UserError(f"layer {stack.dense} has no bias; heads and the output must have one")
