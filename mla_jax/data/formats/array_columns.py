"""The arrays of an HDF5 or .npz file as columns that are read block by block, never whole.

Headers give shapes and dtypes, so that a file of any size is looked at in a moment. h5py is an optional
dependency, imported where an HDF5 file is opened.
"""

import contextlib
import dataclasses
import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import numpy as np

from mla_jax.data.formats.pickled_strings import read_strings
from mla_jax.errors import UserError
from mla_jax.storage.locks import held_elsewhere

HDF5_SUFFIXES = (".h5", ".hdf5")
NPZ_SUFFIX = ".npz"
# As HDF5 guesses the sizes of its (compressed) chunks, a block of rows touches many: a cache that holds
# them saves reading each several times.
_CHUNK_CACHE_BYTES = 64 * 1024 * 1024
_ZIP_END_BYTES = 22 + 0xFFFF  # the most that the end of an archive takes: its record and a comment
# HDF5 can name other files, wherever they are; of a stranger's file that would be any file of the reader.
_ELSEWHERE = "its values lie in another file, which is not followed; write them into this one"


@dataclasses.dataclass(frozen=True)
class Column:
    """One array of a file.

    Attributes:
      name: what errors call it, `file, name`.
      shape, dtype: as stored; `dtype` is object for HDF5's strings of any length.
      is_text: it holds strings; blocks of it may hold str or bytes.
      blocks: yields the rows in order, so many at a time. Raises UserError where the file is damaged.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    is_text: bool
    blocks: Callable[[int], Iterator[np.ndarray]]


def list_arrays(file: str) -> list[str]:
    """The names of the arrays in a file.

    Raises:
      UserError: as `open_columns`.
    """
    with contextlib.ExitStack() as stack:
        path = _require(file)
        with _unreadable(file):
            if path.suffix.lower() == NPZ_SUFFIX:
                members = stack.enter_context(zipfile.ZipFile(path)).namelist()
                return [name.removesuffix(".npy") for name in members]
            names: list[str] = []
            opened = stack.enter_context(_h5py(path).File(path, "r"))
            opened.visit(names.append)
            links = [name for name in opened if name not in names]  # they may lead nowhere
            return names + links


def _require(file: str) -> Path:
    path = Path(file)
    if not path.is_file():
        raise UserError(f"{path} does not exist; give the path of one HDF5 or .npz file")
    return path


@contextlib.contextmanager
def open_columns(file: str, names: Sequence[str]) -> Iterator[dict[str, Column]]:
    """Opens those of `names` that are in the file; usable inside the `with` block.

    Raises:
      UserError: there is no such file, it cannot be read, or h5py is not installed.
    """
    path = _require(file)
    opener = _open_npz if path.suffix.lower() == NPZ_SUFFIX else _open_hdf5
    with contextlib.ExitStack() as stack:
        with _unreadable(file):
            columns = opener(path, names, stack)
        yield columns


def read_text(file: str, name: str) -> str:
    """A string of an .npz, or an attribute of an HDF5 file, of this name; empty if there is none.

    Raises:
      UserError: it is no string, or the file cannot be read.
    """
    path = Path(file)
    with _unreadable(f"{file}, {name}"):
        if path.suffix.lower() == NPZ_SUFFIX:
            with np.load(path, allow_pickle=False) as archive:
                found = archive[name] if name in archive.files else np.array("")
        else:
            import h5py  # type: ignore[import-untyped]

            with h5py.File(path, "r") as opened:
                found = np.array(opened.attrs.get(name, ""))
    if found.size != 1 or not isinstance(value := found.reshape(-1)[0], str | bytes):
        raise UserError(f"{file}, {name}: it is {list(found.shape)} of {found.dtype}, not a string")
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


@contextlib.contextmanager
def _unreadable(what: str) -> Iterator[None]:
    """Of a damaged file h5py, zipfile and NumPy raise errors of many kinds: all become one line."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except BlockingIOError as error:
        raise held_elsewhere(what) from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{what} cannot be read: it is cut short, damaged, or of another format ({reason}); "
            "write or copy the file again"
        ) from error


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise UserError(
            f"{path} is HDF5, which needs h5py: pip install 'mla_jax[hdf5]', or pip install h5py"
        ) from error
    return h5py


def _open_hdf5(path: Path, names: Sequence[str], stack: contextlib.ExitStack) -> dict[str, Column]:
    h5py = _h5py(path)
    file = stack.enter_context(h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES))
    columns = {}
    for name in names:
        if name not in file:
            continue
        label = f"{path}, {name}"
        if isinstance(file.get(name, getlink=True), h5py.ExternalLink):
            raise UserError(f"{label}: {_ELSEWHERE}")
        found = file[name]
        if not isinstance(found, h5py.Dataset) or found.shape is None:
            raise UserError(f"{label}: it is not an array; give a file where it is one")
        if found.file.filename != file.filename or found.external or found.is_virtual:
            raise UserError(f"{label}: {_ELSEWHERE}")
        is_text = h5py.check_string_dtype(found.dtype) is not None
        blocks = partial(_hdf5_blocks, label, found)
        columns[name] = Column(label, found.shape, found.dtype, is_text, blocks)
    return columns


def _hdf5_blocks(label: str, found: Any, rows: int) -> Iterator[np.ndarray]:
    with _unreadable(label):
        for start in range(0, found.shape[0], rows):
            yield found[start : start + rows]


def _open_npz(path: Path, names: Sequence[str], stack: contextlib.ExitStack) -> dict[str, Column]:
    """`numpy.load` would give whole arrays; this reads their headers, and then rows as they are asked for."""
    archive = stack.enter_context(zipfile.ZipFile(path))
    _require_all_members(path, archive)
    members = set(archive.namelist())
    columns = {}
    for name in names:
        if f"{name}.npy" not in members:
            continue
        label, member = f"{path}, {name}", f"{name}.npy"
        with _unreadable(label), archive.open(member) as file:
            shape, _, dtype = _read_header(file)
            strings = (
                read_strings(file.read(), shape[0]) if dtype.hasobject and len(shape) == 1 else None
            )
        if strings is not None:
            array = np.array(strings)
            columns[name] = Column(label, shape, array.dtype, True, partial(_array_blocks, array))
            continue
        if dtype.hasobject:
            raise UserError(
                f"{label}: it holds Python objects, which are not loaded as they could run code; save "
                "it as an array of numbers or of strings"
            )
        blocks = partial(_npz_blocks, label, archive, member)
        columns[name] = Column(label, shape, dtype, dtype.kind in "SU", blocks)
    return columns


def _array_blocks(array: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    yield from (array[i : i + rows] for i in range(0, len(array), rows))


def _require_all_members(path: Path, archive: zipfile.ZipFile) -> None:
    """Where damage hides an array that may be missing, clips would have other ids, lengths or times."""
    for info in archive.infolist():  # a name stands twice in an archive; opening compares the two
        archive.open(info).close()
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, _ZIP_END_BYTES), os.SEEK_END)
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    (count,) = struct.unpack_from("<H", tail, end + 10)
    if count not in (len(archive.infolist()), 0xFFFF):  # the latter stands for more than it can say
        raise ValueError(f"it lists {len(archive.infolist())} arrays where {count} were written")


def _npz_blocks(
    label: str, archive: zipfile.ZipFile, member: str, rows: int
) -> Iterator[np.ndarray]:
    with _unreadable(label), archive.open(member) as file:
        shape, fortran_order, dtype = _read_header(file)
        if fortran_order:  # the values of a row are not together
            file.seek(0)
            whole = np.lib.format.read_array(file, allow_pickle=False)
            yield from (whole[i : i + rows] for i in range(0, len(whole), rows))
            return
        row_bytes = dtype.itemsize * math.prod(shape[1:])
        for start in range(0, shape[0], rows):
            count = min(rows, shape[0] - start)
            data = file.read(count * row_bytes)
            if len(data) != count * row_bytes:
                raise EOFError("it has fewer values than its header says")
            yield np.frombuffer(data, dtype).reshape(count, *shape[1:])
        if file.read(1):  # also, only at the end zipfile compares the checksum
            raise ValueError("it has more values than its header says")


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, dtype; `file` then stands at the first value."""
    stream = cast(BinaryIO, file)
    if np.lib.format.read_magic(stream) == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)
