"""A file of one recording: .npy, or .npz as OpenL3 writes them.

A recording is an array [segments, features], or [features] if it has one segment. A .npz file has it as
`embedding` or `x`, or as its only array, and may have `timestamps` [segments]: the seconds at which segments
begin, evenly spaced.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mla_jax.data import casts
from mla_jax.data.formats.array_columns import list_arrays, open_columns
from mla_jax.errors import UserError

SUFFIXES = (".npy", ".npz")
_EMBEDDING, _TIMES = ("embedding", "x"), "timestamps"
# What says that x is of many clips.
_OF_CLIPS = ("y", "video_id_list", "num_segments", "start_times", "label_mask")


class Recording(NamedTuple):
    """A recording that was read.

    Attributes:
      vectors: [segments, features] in a dtype that is kept.
      start: when its first segment begins, in seconds.
      hop: seconds from one segment to the next; 0 where that is not known.
      timed: whether it has time stamps; of one segment these say no hop.
      dtype: as stored.
    """

    vectors: np.ndarray
    start: float
    hop: float
    timed: bool
    dtype: np.dtype


def read_recording(path: Path) -> Recording:
    """Reads a file of one recording.

    Raises:
      UserError: it cannot be read or is no recording; the message says what it is, not which file.
    """
    times = None
    if path.suffix.lower() == ".npz":
        array, times = _read_npz(path)
    else:
        array = _read_npy(path)
    shape = list(array.shape)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or 0 in array.shape:
        raise UserError(
            f"it is an array of {shape}; a file is one recording, [segments, features]; save many clips with "
            "numpy.savez(file, x=embeddings, y=labels), and give that file"
        )
    start, hop = _timing(times, len(array)) if times is not None else (0.0, 0.0)
    return Recording(casts.cast(array, "its array"), start, hop, times is not None, array.dtype)


def read_hop(path: Path) -> float:
    """The hop that a file states, without its embeddings; 0 where it states none or cannot be read."""
    if path.suffix.lower() != ".npz":
        return 0.0
    try:
        with open_columns(str(path), [_TIMES]) as columns:
            times = [block for column in columns.values() for block in column.blocks(1 << 20)]
        return _timing(np.concatenate(times), sum(map(len, times)))[1] if times else 0.0
    except UserError:
        return 0.0


def _read_npy(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
            if file.read(1):
                raise ValueError("it has more values than its header says")
    except Exception as error:  # of a damaged file NumPy raises errors of many kinds
        raise UserError(
            f"it cannot be read as a .npy file ({' '.join(str(error).split())})"
        ) from error
    return array


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    there = list_arrays(str(path))
    others = [name for name in there if name != _TIMES]
    name = next(
        (name for name in _EMBEDDING if name in there), others[0] if len(others) == 1 else ""
    )
    if not name:
        raise UserError(
            f"it has the arrays {', '.join(there) or 'of nothing'}; a recording is called embedding or x"
        )
    of_clips = [other for other in there if other in _OF_CLIPS] if name == "x" else []
    if of_clips:
        raise UserError(
            f"its array x has {' and '.join(of_clips)} beside it, so it is of many clips; give that file by "
            "itself"
        )
    with open_columns(str(path), [name, _TIMES]) as columns:
        if not all(column.shape and column.shape[0] for column in columns.values()):
            raise UserError(
                f"its {name} is {list(columns[name].shape)}; it needs a segment at least"
            )
        read = {
            key: np.concatenate(list(column.blocks(1 << 20))) for key, column in columns.items()
        }
    return read[name], read.get(_TIMES)


def _timing(times: np.ndarray, segments: int) -> tuple[float, float]:
    """When the first segment begins, and the seconds from one to the next (0 where there is only one)."""
    if times.shape != (segments,) or times.dtype.kind not in "iuf" or not np.isfinite(times).all():
        raise UserError(
            f"its {_TIMES} are {list(times.shape)} of {times.dtype}; its {segments} segments need as many "
            "finite seconds"
        )
    if segments == 1:
        return float(times[0]), 0.0
    hop = round((float(times[-1]) - float(times[0])) / (segments - 1), 6)
    steps = np.diff(times.astype(np.float64))
    if hop <= 0 or np.abs(steps - hop).max() > 0.01 * hop:
        raise UserError(
            f"its {_TIMES} are not evenly spaced: {steps.min():.9g} to {steps.max():.9g} s apart"
        )
    return float(times[0]), hop
