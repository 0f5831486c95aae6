"""A model in one small file, without its training state: for models that are given away.

The file is an .npz without pickles. A matrix is kept in 8 bits: each column as integers from -127 to 127 and
one float32, the largest magnitude in it divided by 127, so that no weight is off by more than half of that.
What is no matrix of some size (biases, batch statistics) stays as it is. `meta.json` in it, a text as bytes,
has what a checkpoint keeps beside the state, `step`, and the checksum of the weights as they are read.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.errors import UserError
from mla_jax.models.variables import Variables, flat, nested
from mla_jax.runs.saved_weights import WEIGHTS_SHA256, weights_checksum
from mla_jax.storage import files

_META, _SCALE = "meta.json", " scale"
_LEAST = 1024  # smaller matrices are not worth it
_MOST = 127


def write_model(path: Path, variables: Variables, meta: Mapping[str, Any]) -> None:
    """Writes the file, which appears when it is complete; equal models give equal bytes.

    Args:
      path: the file, on a disk or in a bucket.
      variables: what `model.apply` takes, float32.
      meta: plain values, as `mla_jax.runs.results.checkpoint_meta` gives them, with the `step` besides.

    Raises:
      UserError: it cannot be written.
    """
    arrays: dict[str, Any] = {}
    for name, value in flat(variables).items():
        arrays |= _packed(name, np.asarray(value))
    meta = {**meta, WEIGHTS_SHA256: weights_checksum(_variables(arrays))}
    arrays[_META] = np.frombuffer(files.to_json(meta).encode(), np.uint8)
    with files.replacing(path, binary=True) as file:
        np.savez_compressed(file, **arrays)


def read_model(path: Path) -> tuple[Variables, dict[str, Any]]:
    """The variables in float32, in NumPy arrays, and the meta.

    Raises:
      UserError: the file is damaged, or of another kind.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
        meta: dict[str, Any] = json.loads(arrays.pop(_META).tobytes())
        variables = _variables(arrays)
        # Files of before have no checksum.
        if meta.get(WEIGHTS_SHA256, "") not in ("", weights_checksum(variables)):
            raise ValueError("it has not the weights that it was written with")
        return variables, meta
    except Exception as error:  # of many kinds: NumPy's, zipfile's, zlib's, JSON's
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged ({reason}); get the model again") from error


def require_shapes(path: Path, variables: Variables, like: Variables) -> None:
    """Checks that the variables are those of a model.

    Args:
      path: what they were read from, for the message.
      variables: as `read_model` gives them.
      like: arrays of the shapes that the model has.

    Raises:
      UserError: they are not.
    """
    ours, theirs = (
        {name: (value.shape, value.dtype) for name, value in flat(one).items()}
        for one in (variables, like)
    )
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise UserError(
                f"{path} does not fit its settings: {name} is {ours.get(name)}, not {theirs.get(name)}; get "
                "the model again"
            )


def _variables(arrays: Mapping[str, np.ndarray]) -> Variables:
    return nested(
        {
            name: _unpacked(value, arrays.get(name + _SCALE))
            for name, value in arrays.items()
            if not name.endswith(_SCALE)
        }
    )


def _packed(name: str, value: np.ndarray) -> dict[str, np.ndarray]:
    if value.ndim != 2 or value.size < _LEAST:
        return {name: value}
    scale = np.abs(value).max(axis=0) / np.float32(_MOST)
    steps = np.divide(value, scale, out=np.zeros_like(value), where=scale > 0)
    return {name: np.rint(steps).astype(np.int8), name + _SCALE: scale}


def _unpacked(value: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    return value if scale is None else value.astype(np.float32) * scale
