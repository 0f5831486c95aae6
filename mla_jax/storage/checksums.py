"""Checksums of a file, read block by block."""

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import google_crc32c

from mla_jax.progress import Progress


def checksums(path: str | Path) -> dict[str, str]:
    """`crc32c` and `md5` of a file in base64, as Google's servers write them, `sha256` in hexadecimal.

    All in one reading, whose progress is shown.
    """
    checksum, sha256 = google_crc32c.Checksum(), hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False)
    progress = Progress("check", -(-os.path.getsize(path) // 10**6), "MB")
    done = 0
    try:
        for block in _blocks(path):
            for digest in (checksum, md5, sha256):
                digest.update(block)
            done += len(block)
            progress.update(done // 10**6)
    finally:
        progress.close()
    return {
        "crc32c": base64.b64encode(checksum.digest()).decode(),
        "md5": base64.b64encode(md5.digest()).decode(),
        "sha256": sha256.hexdigest(),
    }


def crc32c(path: str | Path) -> str:
    """The checksum of a file as buckets state it: base64 of four bytes, big end first."""
    checksum = google_crc32c.Checksum()
    for block in _blocks(path):
        checksum.update(block)
    return base64.b64encode(checksum.digest()).decode()


def _blocks(path: str | Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            yield block
