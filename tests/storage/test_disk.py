"""Checksums, sizes and names on a disk."""

import hashlib
from base64 import b64encode
from pathlib import Path

from mla_jax.storage.checksums import checksums
from mla_jax.storage.disk import in_bytes, require_case
from tests.support.helpers import raises_user_error


def test_checksums_are_those_of_others(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123456789")
    found = checksums(tmp_path / "file")
    assert found == {
        "crc32c": b64encode(bytes.fromhex("e3069283")).decode(),  # the check value of CRC-32C
        "md5": b64encode(hashlib.md5(b"123456789").digest()).decode(),
        "sha256": hashlib.sha256(b"123456789").hexdigest(),
    }


def test_bytes_for_a_person() -> None:
    numbers = (0, 999, 1000, 2_400_000_000, 10**15)
    assert [in_bytes(n) for n in numbers] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "2.4 GB",
        "1,000.0 TB",
    ]


def test_names_that_differ_in_case_are_told_apart_here(tmp_path: Path) -> None:
    require_case(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".cASE").touch()  # as it is found on a disk that does not, when `.Case` is made
    with raises_user_error(f"the disk of {tmp_path} does not tell upper case from lower"):
        require_case(tmp_path)
