"""The records of TFRecord files as raw bytes, each with its place and, if damaged, what is wrong.

A record is framed as its length (8 bytes, little endian), masked CRC-32C of the length, payload,
masked CRC-32C of the payload. TensorFlow's own reader yields nothing more of a file after one
damaged record and does not say which it was; this one goes on where it can, and is no slower.
"""

import io
import os
import struct
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import google_crc32c

from mla_jax.data.formats.file_kinds import HEAD_BYTES, describe

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")

# A release file is 3 to 17 kB: one read fetches all of it. Of a larger file this is only the start.
_HEAD_BYTES = 256 * 1024
# Reading ahead hides the time that files take to open: 5 to 100 ms each in a mounted bucket. On a local disk,
# some 0.01 ms each, the hand-overs between threads cost several times what the reading takes.
_THREADS = 16
_FILES_PER_TASK = 16
_SLOW_SECONDS = 1e-3


class Frame(NamedTuple):
    """One record.

    Attributes:
      path: its file.
      number: its index within the file, from 0.
      payload: its bytes; of a damaged record whatever could be read.
      fault: what is wrong with it, or an empty string.
    """

    path: Path
    number: int
    payload: bytes
    fault: str


def read_frames(files: Sequence[Path]) -> Iterator[Frame]:
    """Reads records in the order of `files` and, within a file, of its records.

    Memory is bounded by the largest record and the starts of the few files read ahead.

    Yields:
      Every record. A damaged payload costs that record alone; a damaged length, or a file that ends
      too early, costs the rest of its file; a file that cannot be opened is lost as a whole, and an
      empty one has lost whatever it had. Each gives one `Frame` with a `fault`.
    """
    for path, head in _heads(files):
        try:
            if isinstance(head, OSError):
                raise head
            if not head:
                yield Frame(path, 0, b"", "the file is empty")
            elif len(head) < _HEAD_BYTES:
                yield from _frames(path, io.BytesIO(head), len(head))
            else:
                with path.open("rb", buffering=_HEAD_BYTES) as stream:
                    yield from _frames(path, stream, os.fstat(stream.fileno()).st_size)
        except OSError as error:
            leads_nowhere = path.is_symlink() and not path.exists()
            reason = "it is a link that leads nowhere" if leads_nowhere else error.strerror or error
            yield Frame(path, 0, b"", f"the file cannot be read ({reason})")


def describe_other(path: Path) -> tuple[str, str]:
    """What a file of no records is, and what to do with it; empty for records, or if that is not known."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:
        return "", ""
    if len(head) < _HEADER.size or _masked_crc(head[:8]) == _HEADER.unpack_from(head)[1]:
        return "", ""
    return describe(head)


def _frames(path: Path, stream: BinaryIO, size: int) -> Iterator[Frame]:
    """The records of one open file of `size` bytes."""
    position, number = 0, 0
    while header := stream.read(_HEADER.size):
        lost = f"the last {size - position} bytes of the file are lost"
        if len(header) < _HEADER.size:
            yield Frame(path, number, b"", f"the file ends inside its length: {lost}")
            return
        length, crc = _HEADER.unpack(header)
        if _masked_crc(header[:8]) != crc:
            what = "its length is damaged"
            if not number:
                kind, advice = describe(header + stream.read(HEAD_BYTES))
                what = "not a TFRecord file, or damaged at once"
                what = f"not a TFRecord file but {kind}: {advice}" if kind else what
            yield Frame(path, number, b"", f"{what} (checksum of the length): {lost}")
            return
        end = position + _HEADER.size + length + _FOOTER.size
        if end > size:
            payload = stream.read(size - position - _HEADER.size)[:length]
            yield Frame(path, number, payload, f"the file ends inside it: {lost}")
            return
        payload, footer = stream.read(length), stream.read(_FOOTER.size)
        intact = _masked_crc(payload) == _FOOTER.unpack(footer)[0]
        fault = "" if intact else "it is damaged (checksum of the data)"
        yield Frame(path, number, payload, fault)
        position, number = end, number + 1


def _heads(files: Sequence[Path]) -> Iterator[tuple[Path, bytes | OSError]]:
    """Each file with its first `_HEAD_BYTES` bytes; once files open slowly, some are read ahead."""
    groups = [files[i : i + _FILES_PER_TASK] for i in range(0, len(files), _FILES_PER_TASK)]
    for k, group in enumerate(groups):
        began = time.monotonic()
        heads = _read_heads(group)
        slow = time.monotonic() - began > _SLOW_SECONDS * len(group)
        yield from zip(group, heads, strict=True)
        if slow:
            yield from _heads_ahead(groups[k + 1 :])
            return


def _heads_ahead(groups: Sequence[Sequence[Path]]) -> Iterator[tuple[Path, bytes | OSError]]:
    with ThreadPoolExecutor(_THREADS) as pool:
        ahead = deque(pool.submit(_read_heads, group) for group in groups[:_THREADS])
        for k, group in enumerate(groups):
            heads = ahead.popleft().result()
            if k + _THREADS < len(groups):
                ahead.append(pool.submit(_read_heads, groups[k + _THREADS]))
            yield from zip(group, heads, strict=True)


def _read_heads(paths: Sequence[Path]) -> list[bytes | OSError]:
    heads: list[bytes | OSError] = []
    for path in paths:
        try:
            with path.open("rb") as stream:
                heads.append(stream.read(_HEAD_BYTES))
        except OSError as error:
            heads.append(error)
    return heads


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
