"""Archives from elsewhere: unpacked whole, or not at all; and nothing outside their folder."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mla_jax.audioset.archive import DamagedArchiveError, unpack
from mla_jax.errors import UserError
from tests.support.helpers import raises_user_error
from tests.support.mutations import mutate

MOST = 10**7
BODY = np.random.default_rng(0).bytes(20_000)
FILES = {
    "top/a/--.tfrecord": BODY,
    "top/a/-A.tfrecord": BODY[:512],
    "top/a/-a.tfrecord": BODY[:511],
    "top/b/empty.tfrecord": b"",
    "top/b/" + "long" * 60 + ".tfrecord": BODY[:1],
}


def member(name: str, content: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as file:
        for info, content in members:
            file.addfile(info, io.BytesIO(content))
    return made.getvalue()


def tar_of(files: dict[str, bytes]) -> bytes:
    folder = member("top", b"", type=tarfile.DIRTYPE, mode=0o000)
    return tar(folder, *(member(name, content) for name, content in files.items()))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, 1))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def refused(path: Path, folder: Path, *parts: str, most_bytes: int = MOST) -> None:
    """Refused in one line as of no use, and nothing is there that was not there before."""
    before = contents(folder)
    with pytest.raises(DamagedArchiveError) as caught:
        unpack(path, folder / "out", most_bytes=most_bytes)
    with raises_user_error(str(path), *parts):
        raise caught.value
    assert contents(folder) == before
    assert not (folder / "out").exists()


def test_everything_is_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar.gz", tar_of(FILES))
    unpacked = unpack(path, tmp_path / "out", most_bytes=MOST)
    assert contents(tmp_path / "out") == FILES
    assert unpacked == (len(FILES), sum(map(len, FILES.values())))
    # As someone else unpacks it.
    with tarfile.open(path) as file:
        file.extractall(tmp_path / "theirs", filter="data")
    assert contents(tmp_path / "theirs") == FILES


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_all_kinds_of_tar(tmp_path: Path, kind: int) -> None:
    source = tmp_path / "source"
    files = {n: c for n, c in FILES.items() if len(n) < 100 or kind != tarfile.USTAR_FORMAT}
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz", format=kind) as file:
        file.add(source, ".")
    unpack(tmp_path / "x.tar.gz", tmp_path / "out", most_bytes=MOST)
    assert contents(tmp_path / "out") == files


UNSAFE = {
    "up": (member("../x"), "'../x' leads out of its folder"),
    "up from within": (member("a/../../x"), "leads out of its folder"),
    "up and down": (member("a/../x"), "leads out of its folder"),
    "absolute": (member("/tmp/x"), "'/tmp/x' leads out of its folder"),
    "several slashes": (member("//x"), "leads out of its folder"),
    "folder up": (member("..", b"", type=tarfile.DIRTYPE), "leads out of its folder"),
    "symlink": (member("s", b"", type=tarfile.SYMTYPE, linkname="a"), "neither a plain file"),
    "symlink out": (member("s", b"", type=tarfile.SYMTYPE, linkname="../x"), "neither a plain"),
    "hard link": (member("h", b"", type=tarfile.LNKTYPE, linkname="a"), "neither a plain file"),
    "hard link out": (member("h", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"), "neither"),
    "device": (member("d", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3), "neither a plain"),
    "block device": (member("d", b"", type=tarfile.BLKTYPE), "neither a plain file"),
    "pipe": (member("p", b"", type=tarfile.FIFOTYPE), "neither a plain file nor a folder"),
    "twice": (member("a", b"other"), "'a' comes twice"),
    "twice, said otherwise": (member("./a", b"other"), "comes twice"),
    "file for a folder": (member("folder", b"other"), "comes twice"),
    "folder for a file": (member("a/b"), "in each other's way"),
    "several lines": (member("../x\ny"), "'../x\\ny' leads out of its folder"),
    "not a name": (member("../\udcff"), "'../\\udcff' leads out of its folder"),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_what_is_not_safe_is_refused_with_all_that_came_before(tmp_path: Path, name: str) -> None:
    bad, reason = UNSAFE[name]
    good = (member("a"), member("folder", b"", type=tarfile.DIRTYPE))
    (tmp_path / "x").write_bytes(b"not to be touched")
    path = write(tmp_path / "x.tar.gz", tar(*good, bad, member("later")))
    refused(path, tmp_path, reason)


def test_a_link_that_was_there_is_not_written_through(tmp_path: Path) -> None:
    """A link cannot come first, since links are refused: only then could a file go through it."""
    link = member("a", b"", type=tarfile.SYMTYPE, linkname=str(tmp_path))
    refused(
        write(tmp_path / "x.tar.gz", tar(link, member("a/x"))), tmp_path, "neither a plain file"
    )


def test_modes_and_times_are_tame(tmp_path: Path) -> None:
    odd = member("a", b"x", mode=0o7777, uid=12345, uname="root", mtime=10**9)
    unpack(write(tmp_path / "x.tar.gz", tar(odd)), tmp_path / "out", most_bytes=MOST)
    found = (tmp_path / "out/a").stat()
    assert found.st_mode & 0o7777 == 0o755
    assert found.st_uid == os.getuid()
    (tmp_path / "other").mkdir()
    path = write(tmp_path / "y.tar.gz", tar(member("b", b"x", mtime=1e300)))
    refused(path, tmp_path / "other", "has a member of no use")


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    """Which could be of any size, out of nothing."""
    info, content = member("a", bytes(512))
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1"}
    info.pax_headers |= {"GNU.sparse.map": "0,512", "GNU.sparse.size": str(10**13)}
    refused(write(tmp_path / "x.tar.gz", tar((info, content))), tmp_path, "neither a plain file")


def test_more_than_may_come_out_is_refused(tmp_path: Path) -> None:
    zeros = write(tmp_path / "x.tar.gz", tar(member("a", bytes(MOST))))
    assert zeros.stat().st_size < MOST / 100
    refused(zeros, tmp_path, "holds more than the 1,000,000 bytes", most_bytes=10**6)
    unpack(zeros, tmp_path / "out", most_bytes=MOST + 10**5)
    # Behind the end mark too.
    path = write(tmp_path / "y.tar.gz", tar(member("a")) + bytes(MOST))
    refused_later = tmp_path / "later"
    refused_later.mkdir()
    refused(path, refused_later, "holds more than", most_bytes=10**6)


def test_a_header_does_not_fill_the_memory(tmp_path: Path) -> None:
    info, content = member("a")
    info.pax_headers = {"comment": "x" * 3 * 10**6}
    path = write(tmp_path / "x.tar.gz", tar((info, content)))
    refused(path, tmp_path, "a header of 3,0")


def test_more_members_than_are_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar.gz", tar(*(member(name) for name in "abcd")))
    unpack(path, tmp_path / "four", most_bytes=MOST, most_members=4)
    with raises_user_error(f"{path} has more than 3 members"):
        unpack(path, tmp_path / "three", most_bytes=MOST, most_members=3)
    assert not (tmp_path / "three").exists()


def test_an_archive_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(tar_of(FILES), 1)
    path = tmp_path / "x.tar.gz"
    for end in [*range(0, 40), *range(40, len(whole), 997), *range(len(whole) - 12, len(whole))]:
        path.write_bytes(whole[:end])
        refused(path, tmp_path, "is damaged")


def test_a_tar_that_is_cut_anywhere_within_a_whole_gzip_is_refused(tmp_path: Path) -> None:
    """By itself tarfile takes an end between two members, or a damaged header, for the end."""
    whole = tar_of(FILES)
    end_mark = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for end in range(0, end_mark + 1, 256):
        refused(write(tmp_path / "x.tar.gz", whole[:end]), tmp_path, "is damaged")
    unpack(write(tmp_path / "x.tar.gz", whole[: end_mark + 512]), tmp_path / "out", most_bytes=MOST)


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    whole = bytearray(tar(member("a"), member("b"), member("c")))
    whole[1024] ^= 1  # of the name of b, which its header's checksum covers
    refused(write(tmp_path / "x.tar.gz", bytes(whole)), tmp_path, "breaks off after")


OTHER = {
    "nothing": b"",
    "text": b"<html>not here</html>",
    "a tar": tar_of(FILES),
    "another gzip": gzip.compress(b"something else" * 100),
    "an empty gzip": gzip.compress(b""),
    "garbage behind": gzip.compress(tar_of(FILES)) + b"garbage",
    "wrong checksum": gzip.compress(tar_of(FILES))[:-8] + bytes(8),
}


@pytest.mark.parametrize("name", OTHER)
def test_what_is_no_such_archive_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.tar.gz").write_bytes(OTHER[name])
    refused(tmp_path / "x.tar.gz", tmp_path, "is damaged")


@pytest.mark.parametrize("layer", ["tar", "gzip"])
def test_random_damage_is_one_line_and_touches_nothing_else(tmp_path: Path, layer: str) -> None:
    rng = np.random.default_rng(0)
    whole = tar_of({name: content[:300] for name, content in FILES.items()})
    other = tar(*(bad for bad, _ in UNSAFE.values()))
    pack: Callable[[bytes], bytes] = lambda data: gzip.compress(data, 1)  # noqa: E731
    (tmp_path / "x").write_bytes(b"not to be touched")
    path, out = tmp_path / "x.tar.gz", tmp_path / "out"
    for _ in range(200):
        damaged = mutate(whole, rng, other)
        path.write_bytes(pack(damaged) if layer == "tar" else mutate(pack(whole), rng, pack(other)))
        error = None
        try:
            unpack(path, out, most_bytes=MOST)
        except UserError as refusal:
            error = refusal
        if error is not None:
            assert "\n" not in str(error)
        else:
            for found in out.rglob("*"):
                assert found.is_dir() or (found.is_file() and not found.is_symlink())
            for found in sorted(out.rglob("*"), reverse=True):
                found.rmdir() if found.is_dir() else found.unlink()
            out.rmdir()
        assert sorted(p.name for p in tmp_path.iterdir()) == ["x", "x.tar.gz"]
    assert (tmp_path / "x").read_bytes() == b"not to be touched"


def test_a_folder_that_is_there_is_left(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tar.gz", tar_of(FILES))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_bytes(b"mine")
    with raises_user_error(f"cannot unpack {path} into {tmp_path}/out: File exists"):
        unpack(path, tmp_path / "out", most_bytes=MOST)
    assert contents(tmp_path / "out") == {"mine": b"mine"}
    with pytest.raises(UserError, match="No such file") as caught:
        unpack(tmp_path / "none.tar.gz", tmp_path / "new", most_bytes=MOST)
    assert not isinstance(caught.value, DamagedArchiveError)  # which is for archives to throw away
    assert not (tmp_path / "new").exists()
