"""Reads a Keras HDF5 file with h5py alone: the graph as JSON, and arrays by layer.

Nothing in the file is executed or unpickled; the code of a `Lambda` layer stays text. Four layouts are known:

    model.save("x.h5"), Keras 2 and 3       attribute model_config; model_weights/<layer>/<variable's name>
    model.save_weights("x.h5"), Keras 2     <layer>/<variable's name>
    model.save_weights("x.weights.h5"), 3   layers/<class>/vars/<number>, the layer's name as an attribute
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mla_jax.errors import UserError
from mla_jax.storage.locks import held_elsewhere

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped]

Arrays = dict[str, np.ndarray]

_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
# Raised by h5py and json if a file is not as its layout says.
_UNREADABLE = (OSError, AttributeError, KeyError, TypeError, ValueError, RuntimeError)
_SAVE_AGAIN = "save the model again with model.save('x.h5')"


@dataclasses.dataclass(frozen=True)
class KerasFile:
    """The contents of a file.

    Attributes:
      model_config: the graph, as Keras writes it; None if the file has weights alone.
      layers: float32 arrays by layer and by variable: kernel, bias, gamma, beta, moving_mean,
        moving_variance. Layers without weights are left out.
    """

    model_config: Any
    layers: dict[str, Arrays]


def read_keras_file(path: str | Path) -> KerasFile:
    """Reads a Keras HDF5 file of any of the layouts above.

    Raises:
      UserError: h5py is not installed, the file is missing, damaged or not Keras's, or a layer's arrays are
        not those of a dense or a batch-norm layer.
    """
    try:
        import h5py
    except ImportError:
        raise UserError(
            f"{path} is HDF5, which needs h5py: pip install 'mla_jax[hdf5]', or pip install h5py"
        ) from None
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist or is no file; give a Keras HDF5 file (.h5)")
    if not h5py.is_hdf5(path):
        raise UserError(f"{path} is not an HDF5 file; {_SAVE_AGAIN}")
    try:
        with h5py.File(path, "r") as file:
            _require_no_links_out(file)
            config = file.attrs.get("model_config")
            return KerasFile(
                model_config=None if config is None else json.loads(_text(config)),
                layers={name: arrays for name, arrays in _layers(file) if arrays},
            )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except BlockingIOError as error:
        raise held_elsewhere(path) from error
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is damaged ({reason}); get it again, or {_SAVE_AGAIN}") from error


def _require_no_links_out(file: "h5py.File") -> None:
    """Refuses links to other files, before anything reads them."""
    found: list[tuple[str, str]] = []

    def visit(name: str, link: Any) -> None:  # an exception in here would become a SystemError
        if hasattr(link, "filename"):
            found.append((name, link.filename))

    file.visititems_links(visit)
    for name, target in found:
        raise UserError(f"its {name} is a link to another file, {target}; {_SAVE_AGAIN}")


def _layers(file: "h5py.File") -> Iterator[tuple[str, Arrays]]:
    root = file.get("model_weights", file)
    if _names(root, "layer_names"):
        for name in _names(root, "layer_names"):
            yield name, _named_arrays(root[name], name)
    elif "layers" in file:
        yield from _numbered_arrays(file["layers"])
    else:
        raise UserError(f"it has no Keras layers; {_SAVE_AGAIN}")


def _named_arrays(group: "h5py.Group", layer: str) -> Arrays:
    """A layer's arrays in the layouts where variables have names, such as `dense_1/kernel:0`."""
    arrays: Arrays = {}
    for name in _names(group, "weight_names"):
        if "seed_generator" in name:
            continue  # a dropout layer's random state
        variable = name.split("/")[-1].split(":")[0]
        if variable in arrays:
            raise UserError(f"layer {layer} has two arrays {variable}; {_SAVE_AGAIN}")
        if name not in group:
            raise UserError(f"layer {layer} lacks its array {name}; {_SAVE_AGAIN}")
        arrays[variable] = _array(group[name], layer, variable)
    return arrays


def _numbered_arrays(layers: "h5py.Group") -> Iterator[tuple[str, Arrays]]:
    """The layers of Keras 3's own layout, whose variables have numbers and no names."""
    found: list[h5py.Group] = []

    def visit(name: str, item: "h5py.Group | h5py.Dataset") -> None:
        if f"/{name}".endswith("/vars") and "seed_generator" not in name and len(item):
            found.append(item)

    layers.visititems(visit)
    for group in found:
        if "name" not in group.attrs:
            raise UserError(
                f"the layer stored as {group.parent.name} does not say its name, so layers cannot be told "
                f"apart; {_SAVE_AGAIN}"
            )
        layer = _text(group.attrs["name"])
        items = [group[str(i)] for i in range(len(group))]
        yield layer, _by_number(layer, items)


def _by_number(layer: str, items: "list[h5py.Dataset]") -> Arrays:
    """Names a layer's variables by their shapes, in the order in which Keras makes them."""
    ranks = [len(item.shape) for item in items]
    if ranks in ([2], [2, 1]):
        names: tuple[str, ...] = ("kernel", "bias")[: len(items)]
    elif ranks == [1] * len(_NORM):
        names = _NORM
    else:
        shapes = ", ".join(str(list(item.shape)) for item in items)
        raise UserError(
            f"layer {layer} has arrays of shapes {shapes}, which are neither a dense layer's nor a batch "
            "norm's; it is not part of a multi-level attention model"
        )
    return {name: _array(item, layer, name) for name, item in zip(names, items, strict=True)}


def _array(item: "h5py.Dataset", layer: str, variable: str) -> np.ndarray:
    if item.external or item.is_virtual:
        raise UserError(f"layer {layer}: its {variable} lies in another file; {_SAVE_AGAIN}")
    if item.dtype.kind != "f":
        raise UserError(f"layer {layer}: its {variable} is of {item.dtype}, not of floats")
    array = np.asarray(item[()], np.float32)
    if not np.isfinite(array).all():
        raise UserError(
            f"layer {layer}: its {variable} holds values that are not finite; training went wrong, or the "
            "file is damaged"
        )
    return array


def _names(group: "h5py.Group", name: str) -> list[str]:
    """A list of names; a long one is kept in parts, `name0`, `name1`, ..."""
    if name in group.attrs:
        return [_text(item) for item in group.attrs[name]]
    names: list[str] = []
    for part in itertools.count():
        if f"{name}{part}" not in group.attrs:
            break
        names += [_text(item) for item in group.attrs[f"{name}{part}"]]
    return names


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
