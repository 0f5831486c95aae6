"""A file over HTTP from a server that breaks off, changes its mind, or sends something else."""

import hashlib
import json
import resource
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from mla_jax.audioset import http_file
from mla_jax.audioset.transfer import Fetched, fetch
from mla_jax.errors import UserError
from tests.support.file_server import File, Server
from tests.support.helpers import raises_user_error

SIZE = 300_000
ONE = np.random.default_rng(1).bytes(SIZE)
TWO = np.random.default_rng(2).bytes(SIZE)


def get(server: Server, folder: Path, **options: object) -> Fetched:
    said: list[str] = []
    options = {"first_wait": 0.0, "say": said.append, "retries": 3} | options
    return fetch(f"{server.url}/file", folder / "file", **options)  # type: ignore[arg-type]


def ranges(server: Server) -> list[str]:
    return [asked for _, asked, _ in server.log]


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_arrives_whole_and_checked(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = File(ONE)
    admitted: list[tuple[int, int]] = []
    fetched = get(server, tmp_path, admit=lambda *sizes: admitted.append(sizes))
    assert (tmp_path / "file").read_bytes() == ONE
    assert fetched == (SIZE, hashlib.sha256(ONE).hexdigest(), ("crc32c", "md5"))
    assert admitted == [(SIZE, SIZE)]
    assert server.log == [("/file", "", 200)]
    assert left(tmp_path) == ["file"]


@pytest.mark.parametrize("reset", [False, True], ids=["ended", "reset"])
@pytest.mark.parametrize(
    "breaks", [[0], [100_000], [SIZE - 1], [50_000] * 5, [0, 0, 0, 99_999, 0, 0]], ids=str
)
def test_a_broken_transfer_goes_on_where_it_was(
    server: Server, tmp_path: Path, breaks: list[int], reset: bool
) -> None:
    server.files["/file"] = File(ONE, breaks=list(breaks), reset=reset)
    get(server, tmp_path)
    assert (tmp_path / "file").read_bytes() == ONE
    assert len(server.log) == len(breaks) + 1
    starts = [int(asked[6:-1]) if asked else 0 for asked in ranges(server)]
    # A break costs less than a piece of 16 KiB, unless a reset throws away what was on its way.
    for start, following, sent in zip(starts[:-1], starts[1:], breaks, strict=True):
        assert start <= following <= start + sent
        assert reset or following > start + sent - 2**14
    assert left(tmp_path) == ["file"]


@pytest.mark.parametrize("if_range", [True, False], ids=["If-Range", "If-Range ignored"])
@pytest.mark.parametrize("content", [TWO, TWO[:200_000], TWO + ONE], ids=["same", "short", "long"])
def test_a_file_that_changes_on_the_server_gives_no_mixture(
    server: Server, tmp_path: Path, content: bytes, if_range: bool
) -> None:
    # Without the checksums that would find a mixture afterwards.
    server.files["/file"] = File(ONE, breaks=[150_000], hashes=())
    with raises_user_error("the connection"):
        get(server, tmp_path, retries=0)
    server.files["/file"] = File(content, etag='"two"', if_range=if_range, hashes=())
    get(server, tmp_path)
    assert (tmp_path / "file").read_bytes() == content
    assert server.log[1][1].startswith("bytes=1")
    assert left(tmp_path) == ["file"]


def test_an_etag_that_changes_with_every_answer(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = File(ONE, breaks=[100_000], next_etag='"two"')
    get(server, tmp_path)
    assert (tmp_path / "file").read_bytes() == ONE
    assert [status for _, _, status in server.log] == [200, 200]


def test_a_server_that_ignores_ranges_begins_again(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = File(ONE, ranges=False, breaks=[200_000, 100_000], hashes=())
    said: list[str] = []
    get(server, tmp_path, say=said.append)
    assert (tmp_path / "file").read_bytes() == ONE
    assert [status for _, _, status in server.log] == [200] * 3
    assert any("from the beginning again" in line for line in said)


@pytest.mark.parametrize("etag", ["", 'W/"one"'], ids=["none", "weak"])
def test_without_a_strong_etag_it_begins_again(server: Server, tmp_path: Path, etag: str) -> None:
    server.files["/file"] = File(ONE, etag=etag, breaks=[200_000])
    get(server, tmp_path)
    assert (tmp_path / "file").read_bytes() == ONE
    assert ranges(server) == ["", ""]


@pytest.mark.parametrize("shift", [(1, 0), (0, 1)], ids=["start", "total"])
def test_a_part_that_was_not_asked_for_is_not_taken(
    server: Server, tmp_path: Path, shift: tuple[int, int]
) -> None:
    server.files["/file"] = File(ONE, breaks=[200_000], shift=shift, hashes=())
    get(server, tmp_path)
    assert (tmp_path / "file").read_bytes() == ONE
    assert [status for _, _, status in server.log] == [200, 206, 200]


def test_less_than_was_asked_for_is_taken(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = File(ONE, breaks=[100_000], most=70_000)
    get(server, tmp_path, retries=1)
    assert (tmp_path / "file").read_bytes() == ONE
    assert [status for _, _, status in server.log] == [200, 206, 206, 206]


def test_trouble_that_passes_is_waited_for(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = File(ONE, statuses=[503, 429, 500])
    said: list[str] = []
    get(server, tmp_path, say=said.append)
    assert (tmp_path / "file").read_bytes() == ONE
    assert said[0] == "file: HTTP 503 Service Unavailable; retry 1 of 3 in 0 s"
    assert [line.split("; ")[1] for line in said] == [f"retry {n} of 3 in 0 s" for n in (1, 2, 3)]


def test_waits_double_and_are_no_shorter_than_asked_for(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = File(ONE, statuses=[503] * 4)
    began = time.monotonic()
    get(server, tmp_path, retries=4, first_wait=0.01)
    assert (1 + 2 + 4 + 8) * 0.01 <= time.monotonic() - began < 2
    server.files["/file"] = File(ONE, statuses=[503], headers={"Retry-After": "1"})
    said: list[str] = []
    get(server, tmp_path, say=said.append)
    assert said == ["file: HTTP 503 Service Unavailable; retry 1 of 3 in 1 s"]


def test_trouble_that_stays_ends_after_the_stated_tries(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = File(ONE, statuses=[503] * 99)
    with raises_user_error("HTTP 503", "gave up after 4 tries in a row, run it again later"):
        get(server, tmp_path, retries=3)
    assert len(server.log) == 4
    assert left(tmp_path) == []


def test_tries_count_in_a_row_and_only_what_is_new_is_progress(
    server: Server, tmp_path: Path
) -> None:
    server.files["/file"] = File(ONE, breaks=[50_000, 0, 50_000, 0, 50_000, 0, 50_000])
    get(server, tmp_path, retries=2)
    assert (tmp_path / "file").read_bytes() == ONE
    # Always from the beginning, and never further than the first time.
    (tmp_path / "file").unlink()
    server.log.clear()
    server.files["/file"] = File(ONE, ranges=False, breaks=[50_000] * 99)
    with raises_user_error("gave up after 3 tries in a row, what has arrived is kept"):
        get(server, tmp_path, retries=2)
    assert len(server.log) == 4 - 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_file_that_is_not_there_is_not_waited_for(
    server: Server, tmp_path: Path, status: int
) -> None:
    server.files["/file"] = File(ONE, statuses=[status])
    with raises_user_error(f"{server.url}/file cannot be had: HTTP {status}", "region or a mirror"):
        get(server, tmp_path)
    assert len(server.log) == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize("hashes", [("crc32c",), ("md5",), ("md5", "crc32c")], ids=str)
def test_wrong_bytes_are_thrown_away(
    server: Server, tmp_path: Path, hashes: tuple[str, ...]
) -> None:
    server.files["/file"] = File(ONE, hashes=hashes, hashed=TWO)
    with raises_user_error("did not arrive as it is on the server", f"{min(hashes)} is "):
        get(server, tmp_path)
    assert left(tmp_path) == []
    server.files["/file"] = File(ONE, hashes=hashes)
    assert set(get(server, tmp_path).checked) == set(hashes)


def test_a_mixture_that_no_etag_told_of_is_found_by_the_checksum(
    server: Server, tmp_path: Path
) -> None:
    server.files["/file"] = File(ONE, breaks=[150_000])
    with raises_user_error("kept"):
        get(server, tmp_path, retries=0)
    server.files["/file"] = File(TWO)
    with raises_user_error("did not arrive as it is"):
        get(server, tmp_path)
    assert left(tmp_path) == []


def test_checksums_of_something_else_are_not_compared(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = File(ONE, hashed=TWO, stored_encoding="gzip")
    assert get(server, tmp_path).checked == ()
    server.files["/file"] = File(ONE, hashes=())
    assert get(server, tmp_path).checked == ()


def test_a_length_that_is_too_great_is_never_reached(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = File(ONE, length=SIZE + 10)
    with raises_user_error("gave up after 4 tries"):
        get(server, tmp_path)
    assert not (tmp_path / "file").exists()


def test_a_length_that_is_too_small_gives_a_wrong_checksum(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = File(ONE, length=SIZE - 10)
    with raises_user_error("did not arrive as it is"):
        get(server, tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (File(ONE, length=-1, breaks=[SIZE]), "without its length"),
        (File(ONE, headers={"Content-Encoding": "gzip"}), "compressed on the way"),
        (File(ONE, chunked=True, headers={"Content-Encoding": "br"}), "compressed on the way"),
        (File(b""), "is empty"),
    ],
    ids=["no length", "compressed", "compressed and in chunks", "empty"],
)
def test_answers_that_nobody_could_check_are_refused(
    server: Server, tmp_path: Path, file: File, reason: str
) -> None:
    server.files["/file"] = file
    with raises_user_error(reason):
        get(server, tmp_path)
    assert left(tmp_path) == []


def test_an_answer_in_chunks_tells_its_end_itself(server: Server, tmp_path: Path) -> None:
    """As Google's servers send a file that lies compressed there; its checksums are of other bytes."""
    server.files["/file"] = File(
        ONE, chunked=True, breaks=[100_000], hashed=TWO, stored_encoding="gzip"
    )
    assert get(server, tmp_path) == (SIZE, hashlib.sha256(ONE).hexdigest(), ())
    assert (tmp_path / "file").read_bytes() == ONE
    assert ranges(server) == ["", ""]
    assert left(tmp_path) == ["file"]


def stopped(server: Server, folder: Path) -> None:
    """Leaves what a transfer leaves that is stopped half-way."""
    server.files["/file"] = File(ONE, breaks=[150_000])
    with raises_user_error("kept"):
        get(server, folder, retries=0)
    server.log.clear()


@pytest.mark.parametrize(
    "note",
    [None, b"", b"{", b"[]", b"{}", b'"x"', "other url", "size", "no size", "etag"],
    ids=str,
)
def test_a_part_of_something_unknown_begins_again(
    server: Server, tmp_path: Path, note: bytes | str | None
) -> None:
    stopped(server, tmp_path)
    path = tmp_path / "file.part.json"
    values = json.loads(path.read_text())
    changed: dict[str, dict[str, object]] = {
        "other url": {"url": "x"},
        "size": {"size": "x"},
        "no size": {"size": 0},
        "etag": {"etag": 1},
    }
    if isinstance(note, str):
        note = json.dumps(values | changed[note]).encode()
    path.unlink() if note is None else path.write_bytes(note)
    (tmp_path / "file.part").write_bytes(TWO[:1000])
    get(server, tmp_path)
    assert (tmp_path / "file").read_bytes() == ONE
    assert ranges(server) == [""]


def test_a_part_that_is_longer_than_the_file_begins_again(server: Server, tmp_path: Path) -> None:
    stopped(server, tmp_path)
    (tmp_path / "file.part").write_bytes(ONE + b"more")
    get(server, tmp_path)
    assert (tmp_path / "file").read_bytes() == ONE


def test_a_part_that_is_whole_needs_no_server(server: Server, tmp_path: Path) -> None:
    stopped(server, tmp_path)
    (tmp_path / "file.part").write_bytes(ONE)
    assert get(server, tmp_path).checked == ("crc32c", "md5")
    assert server.log == []
    assert left(tmp_path) == ["file"]
    # But it is checked like any other.
    stopped(server, tmp_path)
    (tmp_path / "file.part").write_bytes(TWO)
    with raises_user_error("did not arrive as it is"):
        get(server, tmp_path)
    assert left(tmp_path) == ["file"]


def test_what_is_not_admitted_or_not_liked_leaves_nothing(server: Server, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise UserError("not this one")

    server.files["/file"] = File(ONE)
    for option in ("admit", "check"):
        with raises_user_error("not this one"):
            get(server, tmp_path, **{option: refuse})
        assert left(tmp_path) == []


def test_admission_counts_what_is_there(server: Server, tmp_path: Path) -> None:
    stopped(server, tmp_path)
    have = (tmp_path / "file.part").stat().st_size
    admitted: list[tuple[int, int]] = []
    get(server, tmp_path, admit=lambda *sizes: admitted.append(sizes))
    assert admitted == [(SIZE, SIZE - have)]


def test_a_server_that_falls_silent_is_left(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_file, "TIMEOUT", (5.0, 0.2))
    server.files["/file"] = File(ONE, pause=100_000)
    said: list[str] = []
    get(server, tmp_path, say=said.append)
    assert (tmp_path / "file").read_bytes() == ONE
    assert said[0].startswith("file: Read timed out")
    assert ranges(server)[1].startswith("bytes=")


def test_no_server_at_all(server: Server, tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        began = time.monotonic()
        with raises_user_error(f"{url} cannot be reached", "Connection refused", "the network"):
            fetch(url, tmp_path / "file")  # with its eight retries, of a minute at most
        with raises_user_error("cannot be reached", "Failed to resolve 'nowhere.invalid'"):
            fetch("http://nowhere.invalid/file", tmp_path / "file")
        assert time.monotonic() - began < 5
    with raises_user_error("SSL"):  # it speaks http
        url = f"{server.url}/file".replace("http:", "https:")
        fetch(url, tmp_path / "file", retries=0, say=lambda _: None)
    for url in ("http://", "http://[/file", "http://\u0000/x", "ftp://127.0.0.1/file"):
        with raises_user_error("cannot be had"):
            fetch(url, tmp_path / "file", retries=0, say=lambda _: None)
    assert left(tmp_path) == []


def test_a_server_that_goes_away_in_the_middle_is_waited_for(
    server: Server, tmp_path: Path
) -> None:
    server.files["/file"] = File(ONE, breaks=[100_000])
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        server.shutdown()
        server.server_close()

    with raises_user_error("Connection refused; gave up after 3 tries in a row, what has arrived"):
        get(server, tmp_path, retries=2, say=say)
    assert [line.rpartition("retry")[2] for line in said] == [
        *(" 1 of 2 in 0 s", " 2 of 2 in 0 s"),
    ]


def test_a_disk_that_is_full_keeps_what_has_arrived(server: Server, tmp_path: Path) -> None:
    server.files["/file"] = File(ONE)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with raises_user_error(f"cannot write {tmp_path}/file: File too large; what has arrived"):
            get(server, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "file.part").stat().st_size == 100_000
    get(server, tmp_path)
    assert (tmp_path / "file").read_bytes() == ONE
    assert ranges(server) == ["", "bytes=100000-"]


def test_whatever_the_server_does_the_file_is_one_that_it_had(
    server: Server, tmp_path: Path
) -> None:
    """Random misbehaviour, with no checksum to find a mixture: what arrives is whole, or nothing does."""
    rng = np.random.default_rng(0)
    arrived = 0
    for case in range(60):
        contents = [rng.bytes(int(rng.integers(1, 100_000))) for _ in range(3)]
        for version, content in enumerate(contents):
            server.files["/file"] = File(
                content,
                etag=["", 'W/"x"', f'"{case} {version}"', f'"{case} {version}"'][rng.integers(4)],
                hashes=(),
                statuses=rng.choice([200, 200, 503, 500], 3).tolist(),
                breaks=rng.integers(0, 100_000, rng.integers(0, 5)).tolist(),
                reset=bool(rng.integers(2)),
                ranges=bool(rng.integers(4)),
                if_range=bool(rng.integers(2)),
            )
            (tmp_path / "file").unlink(missing_ok=True)
            try:
                get(server, tmp_path, retries=int(rng.integers(0, 3)))
            except UserError:
                assert not (tmp_path / "file").exists()
            else:
                # What was whole when the file changed may be given its name yet.
                assert (tmp_path / "file").read_bytes() in contents
                assert set(left(tmp_path)) == {"file"}
                arrived += 1
    assert 60 < arrived < 170
