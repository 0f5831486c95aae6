"""A user's arrays as clips keep them: embeddings of three dtypes, ids of bytes; none changes silently."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mla_jax.data.embedding import EMBEDDING_DTYPES
from mla_jax.errors import UserError

_HELD = "uint8, float16 or float32 (float64 is kept as float32, whole numbers 0 to 255 as uint8)"


def kept_as(dtype: np.dtype, name: str) -> np.dtype:
    """The dtype that embeddings of `dtype` are kept in.

    Raises:
      UserError: there is none; the message has `name`.
    """
    if dtype.name in EMBEDDING_DTYPES:
        return dtype.newbyteorder("=")  # JAX knows only the machine's own byte order
    if dtype.kind == "f" or dtype.name == "bfloat16":
        return np.dtype(np.float32)
    if dtype.kind in "iu":
        return np.dtype(np.uint8)
    raise UserError(f"{name} is of {dtype}; embeddings must be {_HELD}")


def cast(values: np.ndarray, name: str) -> np.ndarray:
    """Embeddings in the dtype that they are kept in.

    Args:
      values: of any shape; a copy is made only where the dtype changes.
      name: of the array, for errors.

    Raises:
      UserError: a value cannot be kept: a whole number outside 0 to 255, or one that float32 has no room for.
    """
    dtype = kept_as(values.dtype, name)
    if values.dtype.name == dtype.name:
        return values.astype(dtype, copy=False)
    if dtype == np.uint8:
        lost = (values < 0) | (values > 255)
        kept = values.astype(dtype)
    else:
        with np.errstate(over="ignore"):
            kept = values.astype(dtype)
        lost = ~np.isfinite(kept) & np.isfinite(values)
    if lost.any():
        raise UserError(
            f"{name} is of {values.dtype} and has {values[lost].flat[0]}, which {dtype} cannot hold; "
            f"embeddings must be {_HELD}"
        )
    return kept


def note_of(dtype: np.dtype, name: str) -> str:
    """What a cast is for a person, or an empty string where there is none."""
    kept = kept_as(dtype, name)
    return "" if kept.name == dtype.name else f"{name} is of {dtype}: kept as {kept}"


def refuse_masked(values: Any, name: str) -> None:
    """Checks that no value of an array, or of the arrays in a list, is hidden by a mask of NumPy's.

    Raises:
      UserError: one is; what lies under the mask would be taken for a value.
    """
    whole = hasattr(values, "__array__") or not np.iterable(values)
    parts = [values] if whole else values
    if any(np.ma.is_masked(part) for part in parts):
        raise UserError(
            f"{name} is a masked array of NumPy with values masked; leave these out, or fill them"
        )


def seconds(values: Any, name: str) -> np.ndarray:
    """Times as float64, none of which is changed by being kept so.

    Raises:
      UserError: they are no real numbers, masked, or such as float64 does not hold exactly.
    """
    refuse_masked(values, name)
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise UserError(f"{name} is of {array.dtype}; give seconds, whole numbers or floats")
    with np.errstate(over="ignore"):
        kept = array.astype(np.float64)
    # Of whole numbers in a list NumPy may have made floats already; Python compares the two exactly.
    listed = array.dtype.kind in "iu" or not hasattr(values, "__array__")
    given = np.asarray(values, object) if listed else array
    lost = np.asarray(given != kept) & ~np.isnan(kept)
    if lost.any():
        raise UserError(
            f"{name} has {given[lost].flat[0]}, which float64 does not hold exactly; give seconds"
        )
    return kept


def as_clips(
    embeddings: np.ndarray | Sequence[np.ndarray], num_segments: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Embeddings as [num_clips, time, features] of any dtype, and how many segments clips have."""
    refuse_masked(embeddings, "embeddings")
    if hasattr(embeddings, "__array__") and np.asarray(embeddings).dtype != object:
        array = np.asarray(embeddings)
        if array.ndim == 2:
            array = array[:, None]
        if array.ndim != 3:
            raise UserError(
                f"embeddings is {list(array.shape)}; give [clips, segments, features], [clips, features] or "
                "a list of [segments, features]"
            )
        return array, num_segments
    parts = [np.asarray(part) for part in embeddings]
    kinds = {(part.ndim, part.shape[-1:], part.dtype.name) for part in parts}
    if len(kinds) != 1 or parts[0].ndim != 2 or num_segments is not None:
        raise UserError(
            "embeddings given as a list must be [segments, features] of one dtype and as many features for "
            "each clip, and need no num_segments"
        )
    lengths = np.array([len(part) for part in parts])
    array = np.zeros((len(parts), max(1, lengths.max()), parts[0].shape[1]), parts[0].dtype)
    for row, part in zip(array, parts, strict=True):
        row[: len(part)] = part
    return array, lengths


def bytes_ids(video_ids: Sequence[bytes | str] | np.ndarray) -> np.ndarray:
    """Ids as bytes strings, none of which is changed by being kept so."""
    if not all(isinstance(v, str | bytes) for v in video_ids):
        raise UserError("video_ids must be strings, or bytes strings")
    ids = [v.encode() if isinstance(v, str) else bytes(v) for v in video_ids]
    for i, video_id in enumerate(ids):
        if not video_id or video_id.endswith(b"\0"):
            raise UserError(
                f"clip {i} has the video id {video_id!r}; an id cannot be empty or end in a zero byte"
            )
    return np.array(ids, np.bytes_)
