"""Local copies of what is in a bucket."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mla_jax.errors import UserError
from mla_jax.storage import cache, files, locks
from tests.support.bucket_server import BucketServer, cached
from tests.support.helpers import raises_user_error


@pytest.fixture
def folder(bucket: str) -> str:
    """The URL of a folder of three files, a folder within it, and one whose name begins as its own."""
    for name in ("folder/a.txt", "folder/b.txt", "folder/c.csv", "folder/d/e.txt", "folder2/f"):
        files.write_text(f"{bucket}/{name}", name)
    return f"{bucket}/folder"


def contents(place: str | Path) -> dict[str, str]:
    place = Path(place)
    return {str(p.relative_to(place)): p.read_text() for p in place.rglob("*") if p.is_file()}


def test_an_object_a_folder_and_a_glob(folder: str, bucket: str) -> None:
    copy = cache.local_copy(f"{folder}/a.txt")
    assert (copy.url, Path(copy.path).read_text()) == (f"{folder}/a.txt", "folder/a.txt")
    found = {name: f"folder/{name}" for name in ("a.txt", "b.txt", "c.csv")}
    assert contents(cache.local_copy(f"{folder}/").path) == found
    text = cache.local_copy(folder, choose=lambda names: [n for n in names if n[-1] == "t"])
    assert contents(text.path).keys() == {"a.txt", "b.txt"}
    copy = cache.local_copy(f"{bucket}/folder*/*.txt")
    assert copy.path == f"{copy.folder}/folder*/*.txt"
    assert contents(copy.folder).keys() == {"folder/a.txt", "folder/b.txt"}
    assert copy.named(f"{copy.folder}/folder/a.txt is bad") == f"{folder}/a.txt is bad"
    for url in (f"{bucket}/none", f"{folder}/*.bin"):
        with raises_user_error(f"{url} does not exist, or has nothing to read"):
            cache.local_copy(url)
    with raises_user_error(f"{folder} does not exist, or has nothing to read"):
        cache.local_copy(folder, choose=lambda _: [])


def test_local_paths_are_what_they_are(tmp_path: Path) -> None:
    copy = cache.local_copy(tmp_path / "*.txt", choose=lambda _: [], check=lambda _: 1 / 0)  # type: ignore[arg-type,return-value]
    assert copy.path == copy.url == copy.named(f"{tmp_path}/*.txt") == f"{tmp_path}/*.txt"


def test_a_second_copy_downloads_nothing_and_a_change_everything(
    folder: str, bucket_server: BucketServer
) -> None:
    first = cache.local_copy(folder)
    before = len(bucket_server.downloads())
    assert cache.local_copy(folder) == first
    assert len(bucket_server.downloads()) == before
    files.write_text(f"{folder}/a.txt", "FOLDER/A.TXT")  # of the same size
    assert contents(cache.local_copy(folder).path)["a.txt"] == "FOLDER/A.TXT"
    assert len(bucket_server.downloads()) == before + 3
    assert len(cached()) == 2


def test_two_that_ask_at_once_fetch_it_once(folder: str, bucket_server: BucketServer) -> None:
    before = len(bucket_server.downloads())
    with bucket_server.slow(0.2), ThreadPoolExecutor() as pool:  # that they meet
        first, second = pool.map(cache.local_copy, [folder] * 2)
    assert first == second
    assert len(bucket_server.downloads()) - before == 3
    assert len(cached()) == 1


def test_waiting_for_a_copy_ends_when_it_is_there(tmp_path: Path) -> None:
    """Who made it goes on using it, and holds a shared lock until the process ends."""
    lock, made = tmp_path / "lock", threading.Event()
    held: list[bool] = []

    def wait() -> None:
        with locks.waiting(lock, until=made.is_set) as is_held:
            held.append(is_held)

    user = locks.share(lock)
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    made.set()
    thread.join(10)
    assert held == [False]
    os.close(user)
    wait()
    assert held == [False, True]


def test_what_is_damaged_or_refused_leaves_nothing(
    folder: str, bucket_server: BucketServer
) -> None:
    def refuse(place: Path) -> None:
        raise UserError(f"{place / 'a.txt'} is bad: {(place / 'a.txt').read_text()}")

    with raises_user_error(f"{folder}/a.txt is bad: folder/a.txt"):
        cache.local_copy(folder, check=refuse)
    bucket_server.damage(f"{folder}/a.txt", b"folder/A.txt")
    with raises_user_error(f"{folder}/a.txt was damaged in transfer"):
        cache.local_copy(folder)
    assert cached() == []


def test_a_name_that_leads_out_of_the_copy_is_refused(
    folder: str, bucket_server: BucketServer
) -> None:
    bucket_server.rename(f"{folder}/a.txt", "folder/../../evil")
    with raises_user_error(f"{folder}/../../evil", "outside"):
        cache.local_copy(f"{folder}/**")
    assert cached() == []


def test_what_cannot_be_stored_is_one_line(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1}))
        with raises_user_error(f"12 bytes for {folder}/a.txt", "make room"):
            cache.local_copy(f"{folder}/a.txt")
    assert cached() == []
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLA_JAX_CACHE", str(tmp_path / "file"))
    with raises_user_error(f"cannot copy {folder}", "MLA_JAX_CACHE=FOLDER names another place"):
        cache.local_copy(folder)


def test_what_a_dead_process_left_is_removed(folder: str) -> None:
    entry = Path(cache.local_copy(f"{folder}/a.txt").folder)
    entry.rename(entry.parent / f".{entry.name}.4194305")
    cache.local_copy(f"{folder}/a.txt")
    assert cached() == [entry.name]
