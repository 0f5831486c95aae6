"""The variables of a model, by name: arrays in nested dicts, `params` and, with norms, `batch_stats`."""

from collections.abc import Mapping
from typing import Any

Variables = Mapping[str, Any]


def flat(variables: Variables) -> dict[str, Any]:
    """Each array by its place, such as `params/block_0/dense/kernel`, in the order of the dicts."""
    found: dict[str, Any] = {}
    for name, value in variables.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{inner}": leaf for inner, leaf in flat(value).items()}
        else:
            found[name] = value
    return found


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Of arrays by their places, what `flat` takes."""
    variables: dict[str, Any] = {}
    for place, array in arrays.items():
        *folders, name = place.split("/")
        node = variables
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = array
    return variables
