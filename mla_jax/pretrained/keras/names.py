"""A Keras model from its weights alone: names, shapes, and the architecture that the user gives.

Keras lists layers by depth, so their order says little, but the numbers in their names (dense, dense_1, ...;
in old versions dense_1, dense_2, ...) say in which order they were made. Both published programs make the
blocks from the input on; then the heads, each classification before its attention; then the output. Shapes
tell blocks, heads and the output apart. The authors' program names its heads (cla_1, att_1, cla_2, att2) and
its output, and makes the deepest head first; Kong's names nothing, and makes the shallowest first.

Weights alone do not tell at which depths the heads are (2-A-1-A and 1-A-2-A have the same shapes), the order
in which the levels are joined, the activations (attention is taken to be a softmax), dropout, and the
constants of batch norm.
"""

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mla_jax.config import ModelConfig, parse_architecture
from mla_jax.errors import UserError
from mla_jax.pretrained.keras.file import Arrays
from mla_jax.pretrained.keras.layout import HeadLayers, Layout, Stack, join_of

_NEED_GRAPH = "a file of the whole model, model.save('x.h5'), is needed"
_OUTPUT = "output"
# Batch norm may follow any of these.
_PARTS = ("input", "block", "head", "output")


class _Sizes(NamedTuple):
    features: int
    hidden: int
    classes: int


class _Roles(NamedTuple):
    """The dense layers by what they are, each list in the order in which they were made."""

    blocks: list[str]
    heads: list[str]
    output: str


def layout_from_names(layers: Mapping[str, Arrays], architecture: str) -> Layout:
    """Finds the parts of a model of this architecture among layers without a graph.

    Args:
      layers: arrays by layer and variable.
      architecture: such as 2-A-1-A.

    Raises:
      UserError: the layers are not those of such a model, or leave its parts open; the message names
        the layer that does not fit.
    """
    counts = parse_architecture(architecture)
    _require_kinds(layers)
    dense, norms = _by_age(layers, "kernel"), _by_age(layers, "gamma")
    kernels = {name: layers[name]["kernel"].shape for name in dense}
    sizes = _sizes(kernels, len(counts))
    roles = _roles(kernels, sizes, counts, architecture)
    by_part = _norms(layers, norms, sizes, roles)
    blocks = _stacks(roles.blocks, by_part["block"])
    maps = _stacks(roles.heads, by_part["head"])
    head_norm = bool(by_part["head"])
    # Named heads are the authors' program too, whatever its form.
    deepest_first = head_norm or _is_named(roles.heads[0])
    pairs = [HeadLayers(*maps[i : i + 2]) for i in range(0, len(maps), 2)]
    for pair in pairs:
        _require_pair(pair.classify.dense, pair.attend.dense)
    config = ModelConfig(
        architecture=architecture,
        hidden_units=sizes.hidden,
        input_norm=bool(by_part["input"]),
        block_norm=bool(by_part["block"]),
        head_norm=head_norm,
        output_norm=bool(by_part["output"]),
        hidden_bias="bias" in layers[roles.blocks[0]],
        join=join_of(deepest_first),
    )
    return Layout(
        config=config,
        num_classes=sizes.classes,
        blocks=tuple(blocks),
        heads=tuple(reversed(pairs) if deepest_first else pairs),
        input_norm="".join(by_part["input"]),
        output=Stack(roles.output, "".join(by_part["output"])) if roles.output else None,
    )


def _require_kinds(layers: Mapping[str, Arrays]) -> None:
    for name, arrays in layers.items():
        if "gamma" not in arrays and ("kernel" not in arrays or arrays["kernel"].ndim != 2):
            held = ", ".join(f"{n} {list(array.shape)}" for n, array in arrays.items())
            raise UserError(
                f"layer {name} ({held}) is neither dense nor a batch norm, so it is not part of a "
                "multi-level attention model"
            )


def _require_pair(classify: str, attend: str) -> None:
    """Maps that have names must be cla and att of the same number."""
    if not (_is_named(classify) or _is_named(attend)):
        return
    stems = [name.replace("_", "") for name in (classify, attend)]
    if stems[1] != stems[0].replace("cla", "att") or not stems[0].startswith("cla"):
        raise UserError(
            f"layer {classify} stands alone among the heads: {attend} comes after it, where an att of the "
            f"same number must; {_NEED_GRAPH}"
        )


def _by_age(layers: Mapping[str, Arrays], variable: str) -> list[str]:
    """The layers that have the variable, in the order in which they were made: by number.

    Heads that have names are numbered apart: cla_1, att_1, cla_2, att2.
    """

    def age(name: str) -> tuple[int, bool]:
        number = re.search(r"(\d+)$", name)
        return int(number[1]) if number else 0, name.startswith("att")

    named = [name for name, arrays in layers.items() if variable in arrays]
    auto = [name for name in named if not _is_named(name)]
    kinds = {re.sub(r"_?\d+$", "", name) for name in auto}
    if len(kinds) > 1:
        raise UserError(
            f"layers are called {' and '.join(sorted(kinds))}, so their numbers do not say in which order "
            f"they were made; {_NEED_GRAPH}"
        )
    return [*sorted(auto, key=age), *sorted(set(named) - set(auto), key=age)]


def _is_named(name: str) -> bool:
    return name == _OUTPUT or re.fullmatch(r"(cla|att)_?\d+", name) is not None


def _sizes(kernels: Mapping[str, Sequence[int]], levels: int) -> _Sizes:
    """M, H and K; the first dense layer that was made is the first block."""
    if not kernels or _is_named(next(iter(kernels))):
        raise UserError(f"it has no dense layer called dense or dense_1; {_NEED_GRAPH}")
    first, *others = kernels
    features, hidden = kernels[first]
    widths = {kernels[name][1]: name for name in others if kernels[name][1] != hidden}
    if not widths:
        raise UserError(
            f"all dense layers have the {hidden} outputs of {first}, so blocks and heads cannot be told "
            f"apart; {_NEED_GRAPH}"
        )
    if len(widths) > 1:
        (size, name), *_, (other, last) = widths.items()
        raise UserError(
            f"layer {last} has {other} outputs, but layer {name} {size} and {first} {hidden}; blocks must be "
            "alike, and heads and the output have an output for each class"
        )
    classes = next(iter(widths))
    if levels > 1 and levels * classes == hidden and _OUTPUT not in kernels:
        raise UserError(
            f"heads and the output all have {hidden} inputs and {classes} outputs, so they cannot be told "
            f"apart; {_NEED_GRAPH}"
        )
    return _Sizes(features, hidden, classes)


def _roles(
    kernels: Mapping[str, Sequence[int]],
    sizes: _Sizes,
    counts: Sequence[int],
    architecture: str,
) -> _Roles:
    levels = len(counts)
    head = (sizes.hidden, sizes.classes)
    joined = (levels * sizes.classes, sizes.classes)
    blocks, heads, outputs = [], [], []
    for i, (name, shape) in enumerate(kernels.items()):
        if i == 0 or tuple(shape) == (sizes.hidden, sizes.hidden):
            blocks.append(name)
        elif levels > 1 and (name == _OUTPUT or (tuple(shape) == joined and not _is_named(name))):
            outputs.append(name)
        elif tuple(shape) == head:
            heads.append(name)
        else:
            raise UserError(
                f"layer {name} has a kernel of {list(shape)}, which is no part of {architecture} with "
                f"{sizes.features} features, {sizes.hidden} units and {sizes.classes} classes; give another "
                "--architecture"
            )
    _require_count("block", blocks, sum(counts), architecture)
    _require_count("map of a head", heads, 2 * levels, architecture)
    if levels > 1:
        _require_count("output", outputs, 1, architecture)
    return _Roles(blocks, heads, "".join(outputs))


def _require_count(what: str, names: Sequence[str], count: int, architecture: str) -> None:
    if len(names) > count:
        raise UserError(
            f"layer {names[count]} is {what} number {len(names[: count + 1])}, but {architecture} has "
            f"{count}; give another --architecture"
        )
    if len(names) < count:
        last = f", the last of them layer {names[-1]}" if names else ""
        raise UserError(
            f"the file has {len(names)} layers that are each a {what}{last}, but {architecture} has "
            f"{count}; give another --architecture"
        )


def _norms(
    layers: Mapping[str, Arrays], norms: Sequence[str], sizes: _Sizes, roles: _Roles
) -> dict[str, list[str]]:
    """Which batch norms follow the input, the blocks, the maps and the output, by number and size."""
    expected = {
        "input": [sizes.features],
        "block": [sizes.hidden] * len(roles.blocks),
        "head": [sizes.classes] * len(roles.heads),
        "output": [sizes.classes] if roles.output else [],
    }
    found = Counter(layers[name]["gamma"].size for name in norms)
    parts = [part for part in _PARTS if expected[part]]
    forms = [
        form
        for count in range(len(parts) + 1)
        for form in itertools.combinations(parts, count)
        if Counter(size for part in form for size in expected[part]) == found
    ]
    if len(forms) != 1:
        seen = ", ".join(f"{name} ({layers[name]['gamma'].size})" for name in norms)
        raise UserError(
            f"the batch-norm layers {seen} fit {'no' if not forms else 'more than one'} form of a model with "
            f"{sizes.features} features, {len(roles.blocks)} blocks of {sizes.hidden} units and "
            f"{len(roles.heads)} maps of {sizes.classes} classes; {_NEED_GRAPH}"
        )
    left = list(norms)
    by_part: dict[str, list[str]] = {part: [] for part in _PARTS}
    for part in forms[0]:
        for size in expected[part]:
            name = next(n for n in left if layers[n]["gamma"].size == size)
            by_part[part].append(name)
            left.remove(name)
    return by_part


def _stacks(dense: Sequence[str], norms: Sequence[str]) -> list[Stack]:
    return [Stack(d, n) for d, n in itertools.zip_longest(dense, norms, fillvalue="")]
