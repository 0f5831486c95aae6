"""Checksums of a large file, all in one reading."""

import base64
import hashlib
import os
from pathlib import Path

import google_crc32c

from mla_jax.progress import Progress


def checksums(path: str | Path) -> dict[str, str]:
    """`crc32c` and `md5` of a file in base64, as Google's servers write them, `sha256` in hexadecimal."""
    crc32c, sha256 = google_crc32c.Checksum(), hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False)
    progress = Progress("check", -(-os.path.getsize(path) // 10**6), "MB")
    done = 0
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                for digest in (crc32c, md5, sha256):
                    digest.update(chunk)
                done += len(chunk)
                progress.update(done // 10**6)
    finally:
        progress.close()
    return {
        "crc32c": base64.b64encode(crc32c.digest()).decode(),
        "md5": base64.b64encode(md5.digest()).decode(),
        "sha256": sha256.hexdigest(),
    }
