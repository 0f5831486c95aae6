"""Seeded damage to bytes, and record files taken apart and put together with right checksums."""

import struct
from collections.abc import Callable, Sequence

import numpy as np

Rng = np.random.Generator


def _range(data: bytes, rng: Rng, most: int = 24) -> tuple[int, int]:
    start = int(rng.integers(0, len(data) + 1))
    return start, min(len(data), start + int(rng.integers(1, most + 1)))


def flip(data: bytes, rng: Rng, _: bytes) -> bytes:
    changed = bytearray(data)
    if changed:
        changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def truncate(data: bytes, rng: Rng, _: bytes) -> bytes:
    return data[: rng.integers(0, len(data) + 1)]


def insert(data: bytes, rng: Rng, _: bytes) -> bytes:
    a, b = _range(data, rng)
    return data[:a] + rng.bytes(b - a + 1) + data[a:]


def delete(data: bytes, rng: Rng, _: bytes) -> bytes:
    a, b = _range(data, rng)
    return data[:a] + data[b:]


def duplicate(data: bytes, rng: Rng, _: bytes) -> bytes:
    a, b = _range(data, rng, most=max(1, len(data) // 2))
    return data[:b] + data[a:b] + data[b:]


def swap(data: bytes, rng: Rng, _: bytes) -> bytes:
    a, b, c = sorted(rng.integers(0, len(data) + 1, 3).tolist())
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def splice(data: bytes, rng: Rng, other: bytes) -> bytes:
    return data[: rng.integers(0, len(data) + 1)] + other[rng.integers(0, len(other) + 1) :]


def zero(data: bytes, rng: Rng, _: bytes) -> bytes:
    a, b = _range(data, rng)
    return data[:a] + bytes(b - a) + data[b:]


def overwrite(data: bytes, rng: Rng, _: bytes) -> bytes:
    a, b = _range(data, rng, most=8)
    return data[:a] + rng.bytes(b - a) + data[b:]


MUTATIONS: list[Callable[[bytes, Rng, bytes], bytes]] = [
    flip,
    truncate,
    insert,
    delete,
    duplicate,
    swap,
    splice,
    zero,
    overwrite,
]


def mutate(data: bytes, rng: Rng, other: bytes) -> bytes:
    """One kind of damage, drawn at random; `other` is a second file of the same kind."""
    return MUTATIONS[rng.integers(len(MUTATIONS))](data, rng, other)


# Records: framed as length, checksum of the length, payload, checksum of the payload.


def crc32c(data: bytes) -> int:
    """CRC-32C bit by bit, as its definition has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """The checksum as TFRecord files store it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes, length: int | None = None) -> bytes:
    """A record; with a `length` that is not its own if one is given."""
    head = struct.pack("<Q", len(payload) if length is None else length)
    return b"".join(
        [head, struct.pack("<I", masked(head)), payload, struct.pack("<I", masked(payload))]
    )


def payloads_of(content: bytes) -> list[bytes]:
    """The payloads of an undamaged file."""
    found = []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        found.append(content[12 : 12 + length])
        content = content[16 + length :]
    return found


def mutate_payloads(content: bytes, rng: Rng, other: bytes) -> bytes:
    """Damages what one record holds and frames it anew, so that its checksums are right."""
    payloads = payloads_of(content)
    i = int(rng.integers(len(payloads)))
    strangers: Sequence[bytes] = payloads_of(other)
    for _ in range(int(rng.integers(1, 4))):
        payloads[i] = mutate(payloads[i], rng, strangers[rng.integers(len(strangers))])
    return b"".join(map(frame, payloads))


def mutate_length(content: bytes, rng: Rng, _: bytes) -> bytes:
    """Gives one record another length, with the right checksum of that length."""
    payloads = payloads_of(content)
    i = int(rng.integers(len(payloads)))
    lengths = [
        0,
        1,
        len(payloads[i]) - 1,
        len(payloads[i]) + 1,
        len(content),
        2**31,
        2**63,
        2**64 - 1,
    ]
    parts = [frame(payload) for payload in payloads]
    parts[i] = frame(payloads[i], lengths[rng.integers(len(lengths))])
    return b"".join(parts)


def mutate_records(content: bytes, rng: Rng, other: bytes) -> bytes:
    """Any of these: damage to the file, to a length, or to what a record holds."""
    kinds = [mutate, mutate_length, mutate_payloads, mutate_payloads]
    return kinds[rng.integers(len(kinds))](content, rng, other)
