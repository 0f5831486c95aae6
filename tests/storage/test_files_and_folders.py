"""Files and folders appear whole or not at all, on a disk and in a bucket."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mla_jax.errors import UserError
from mla_jax.storage import buckets, cache, files, paths
from mla_jax.storage.folders import new_folder
from tests.support.bucket_server import BucketServer, cached
from tests.support.helpers import raises_user_error


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where to write: a path or a URL."""
    bucket: str = request.getfixturevalue("bucket")
    return bucket if request.param == "bucket" else str(tmp_path / "disk")


def names_in(folder: str) -> list[str]:
    """All names in a folder, hidden ones too."""
    path = paths.as_path(folder)
    return sorted(p.name for p in path.iterdir()) if path.exists() else []


def test_a_file_appears_whole_or_not_at_all(place: str) -> None:
    path = f"{place}/folder/a.txt"
    files.write_text(path, "old é")
    with pytest.raises(RuntimeError, match="in the middle"), files.replacing(path) as file:
        raise RuntimeError("in the middle", file.write("half of the n"))
    assert paths.as_path(path).read_bytes() == "old é".encode()
    with files.replacing(path, binary=True) as file:
        file.write(b"new")
    assert paths.as_path(path).read_bytes() == b"new"
    assert names_in(f"{place}/folder") == ["a.txt"]


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with raises_user_error(f"cannot write {tmp_path}/file/a.txt"):
        files.write_text(tmp_path / "file" / "a.txt", "text")
    with raises_user_error(f"cannot write {tmp_path}/file/a"), new_folder(tmp_path / "file" / "a"):
        pass


def test_what_is_written_for_a_bucket_is_put_when_the_block_ends_well(bucket: str) -> None:
    with pytest.raises(RuntimeError), files.output_folder(f"{bucket}/one") as (folder, _):
        raise RuntimeError((folder / "a").write_text("half"))
    assert names_in(bucket) == []


def test_json_of_numbers_and_names_that_json_does_not_have(place: str) -> None:
    half = os.fsdecode(b"s\xff")
    value = {
        "a": np.float32(1.5),
        "b": [np.nan, -np.inf],
        "c": np.arange(2),
        3: (True, None),
        "d": half,
    }
    files.write_json(f"{place}/a.json", value | {'"NaN\\': "Infinity, NaN"})
    read = {"a": 1.5, "b": [None, -np.inf], "c": [0, 1], "3": [True, None], "d": half}
    assert files.read_json(f"{place}/a.json") == read | {'"NaN\\': "Infinity, NaN"}
    json.loads(paths.as_path(f"{place}/a.json").read_text(), parse_constant=pytest.fail)
    assert np.isnan(files.number(None))
    files.write_text(f"{place}/a.json", '{"a": ')
    with raises_user_error(f"{place}/a.json is damaged"):
        files.read_json(f"{place}/a.json")
    files.write_text(f"{place}/a.json", "[" * 100_000)
    with raises_user_error(f"{place}/a.json is damaged", "many thousands deep"):
        files.read_json(f"{place}/a.json")
    with raises_user_error(f"cannot read {place}/b.json"):
        files.read_json(f"{place}/b.json")


def test_a_folder_appears_whole_or_not_at_all(place: str) -> None:
    path = f"{place}/runs/one"
    with pytest.raises(RuntimeError, match="in the middle"), new_folder(path) as folder:
        raise RuntimeError("in the middle", (folder / "a").write_text("half"))
    assert names_in(f"{place}/runs") == cached() == []
    with new_folder(path) as folder:
        (folder / "below").mkdir()
        for name in ("a", "below/b"):
            (folder / name).write_text(name)
        assert names_in(path) == []
    assert names_in(f"{place}/runs") == ["one"]
    assert (paths.as_path(path) / "below" / "b").read_text() == "below/b"
    with raises_user_error(f"{path} already exists"), new_folder(path):
        pass
    assert (paths.as_path(path) / "a").read_text() == "a"


def test_on_a_disk_all_may_read_and_what_dead_processes_left_goes(tmp_path: Path) -> None:
    (tmp_path / ".one.1234").mkdir()
    for name, left in (("two", [".one.1234"]), ("one", [])):
        with new_folder(tmp_path / name, alone=True) as folder:
            files.write_text(folder / "a", "a")
        modes = [p.stat().st_mode & 0o777 for p in (tmp_path / name, tmp_path / name / "a")]
        assert modes == [0o755, 0o644]
        assert [p.name for p in tmp_path.glob(".*")] == left


def test_a_new_folder_in_a_bucket_is_put_with_its_last_file_last(
    bucket: str, bucket_server: BucketServer
) -> None:
    with new_folder(f"{bucket}/one", last="b") as folder:
        for name in "abcdefgh":
            (folder / name).write_text(name)
    assert bucket_server.first_put(bucket)[-1] == "one/b"
    before = bucket_server.downloads()
    copy = Path(cache.local_copy(f"{bucket}/one").path)
    assert {p.name: p.read_text() for p in copy.iterdir()} == {name: name for name in "abcdefgh"}
    assert bucket_server.downloads() == before, "what was put is the copy"


def test_a_new_folder_that_cannot_be_put_leaves_nothing(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = buckets.put_folder

    def fail(folder: Path, url: str, *, last: str) -> None:
        (folder / last).unlink()
        put(folder, url)
        raise UserError("the line is cut")

    monkeypatch.setattr(buckets, "put_folder", fail)
    with raises_user_error("the line is cut"), new_folder(f"{bucket}/one", last="b") as folder:
        for name in "ab":
            (folder / name).write_text(name)
    assert names_in(bucket) == cached() == []


def test_folders_move_and_go_with_what_is_in_them(place: str) -> None:
    for name in ("from/a", "from/b/c", "fromage"):
        files.write_text(f"{place}/{name}", name)
    paths.move(paths.as_path(f"{place}/from"), paths.as_path(f"{place}/to/there"))
    assert names_in(place) == ["fromage", "to"]
    assert (paths.as_path(place) / "to" / "there" / "b" / "c").read_text() == "from/b/c"
    paths.remove_folder(paths.as_path(f"{place}/to"))
    assert names_in(place) == ["fromage"]
