"""AudioSet's release into a folder, from a server on this machine."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mla_jax.audioset import release
from mla_jax.audioset.release import LISTS, download_release
from mla_jax.audioset.release_counts import read_segment_ids
from mla_jax.config import DataConfig
from mla_jax.data import data_classes, sources
from mla_jax.data.formats.format import ReadOptions
from mla_jax.storage.locks import one_writer
from tests.support.file_server import File, Server
from tests.support.helpers import assert_same_clips, raises_user_error
from tests.support.mutations import frame
from tests.support.programs import ok, python
from tests.support.releases import (
    ARCHIVE,
    NUM_CLASSES,
    PATH,
    Release,
    archive_of,
    assert_brought,
)

pytestmark = pytest.mark.usefixtures("served")

CONFIG = DataConfig(max_segments=5)


class Said(list[str]):
    """What was told, and a way to ask about it."""

    def has(self, *parts: str) -> bool:
        return any(all(part in line for part in parts) for line in self)


def bring(server: Server, folder: Path, **options: object) -> tuple[list[str], Said]:
    said = Said()
    options = {
        "base_url": server.url,
        "retries": 2,
        "first_wait": 0.0,
        "say": said.append,
    } | options
    return download_release(folder, **options), said  # type: ignore[arg-type]


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time and contents."""
    return {
        p.relative_to(folder).as_posix(): (p.stat().st_mtime_ns, p.read_bytes())
        for p in folder.rglob("*")
        if p.is_file() and p.name != ".lock"
    }


def test_everything_is_brought_and_read(server: Server, made: Release, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "audioset"
    account, said = bring(server, folder)
    assert_brought(folder, made)
    for line, (split, clips) in zip(account, made.clips.items(), strict=True):
        files = len(list((made.folder / split).iterdir()))
        assert line.startswith(f"{split:<12} {len(clips)} clips in {files} files, ")
        assert line.endswith(f"{LISTS[split]} lists {len(clips)}: the same video ids")
        # Read by the library, which finds the class list too.
        classes = data_classes.find_classes(CONFIG, str(folder / split))
        assert classes is not None
        assert classes.to_csv() == made.classes
        read = sources.open_clips(str(folder / split), ReadOptions.of(CONFIG, NUM_CLASSES))
        by_id = np.argsort(read.video_ids)
        assert_same_clips(read[by_id], clips[np.argsort(clips.video_ids)])
    found = hashlib.sha256(server.files[ARCHIVE].content).hexdigest()
    assert said.has("warning:", found, release.REPORTED_SHA256)
    assert said.has("to fetch features/features.tar.gz, ", "or so to unpack it; ", "are free in")
    assert said.has("features.tar.gz", "agrees with the server's crc32c and md5")


def test_what_is_done_is_not_done_again(server: Server, made: Release, tmp_path: Path) -> None:
    first, _ = bring(server, tmp_path)
    before = tree(tmp_path)
    server.log.clear()
    again, said = bring(server, tmp_path)
    assert again == first
    assert server.log == []
    assert tree(tmp_path) == before
    assert said == [
        f"{tmp_path}/csv/class_labels_indices.csv is here already",
        *(f"{tmp_path}/csv/{name} is here already" for name in LISTS.values()),
        "bal_train, eval, unbal_train are here already",
    ]


def test_only_what_is_asked_for(server: Server, made: Release, tmp_path: Path) -> None:
    account, _ = bring(server, tmp_path, only="csv")
    assert account == []
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "csv"]
    account, _ = bring(server, tmp_path, only="features")
    assert all(line.endswith("the same video ids") for line in account)
    assert_brought(tmp_path, made)
    shutil.rmtree(tmp_path / "csv")
    account, _ = bring(server, tmp_path, only="features")
    assert all(line.endswith("is not here to compare with") for line in account)


def test_the_regions_are_google_s_buckets(server: Server, tmp_path: Path) -> None:
    server.files.clear()
    for region in release.REGIONS:
        with raises_user_error("HTTP 404"):
            bring(server, tmp_path, region=region, only="features")
        path = f"/{region}_audioset/youtube_corpus/v1/features/features.tar.gz"
        assert server.log.pop() == (path, "", 404)


def test_the_archive_is_kept_if_asked_for_or_not_ours(
    server: Server, made: Release, tmp_path: Path
) -> None:
    _, said = bring(server, tmp_path / "kept", keep_archive=True)
    kept = tmp_path / "kept/features.tar.gz"
    assert kept.read_bytes() == server.files[ARCHIVE].content
    # One that somebody put there is used, without a server, and left.
    (tmp_path / "given").mkdir()
    shutil.copy(kept, tmp_path / "given")
    server.log.clear()
    _, said = bring(server, tmp_path / "given", only="features")
    assert server.log == []
    assert said.has("given/features.tar.gz is here already")
    assert (tmp_path / "given/features.tar.gz").exists()
    bring(server, tmp_path / "given")
    (tmp_path / "given/features.tar.gz").unlink()
    assert_brought(tmp_path / "given", made)


def test_the_reported_checksum_is_told_of(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = hashlib.sha256(server.files[ARCHIVE].content).hexdigest()
    monkeypatch.setattr(release, "REPORTED_SHA256", found)
    _, said = bring(server, tmp_path)
    assert said.has(f"sha256 {found}, as reported for the release")
    assert not said.has("warning")


def test_without_room_nothing_is_fetched(server: Server, tmp_path: Path) -> None:
    server.files[ARCHIVE].length = 10**17
    with raises_user_error(
        "100,000.0 TB to fetch features/features.tar.gz, 150,000.0 TB or so to unpack it; ",
        "make room",
    ):
        bring(server, tmp_path / "new", only="features")
    assert not (tmp_path / "new").exists()
    # Room for the archive is not enough: what comes out of it must fit as well.
    server.files[ARCHIVE].length = int(shutil.disk_usage(tmp_path).free / 2)
    with raises_user_error("features.tar.gz, ", "or so to unpack it; ", "make room"):
        bring(server, tmp_path / "new", only="features")
    assert not (tmp_path / "new").exists()


UNFIT = {
    "another protocol": ("new", {"base_url": "ftp://x"}, "is no address"),
    "no region": ("new", {"region": "mars"}, "choose the region from us, eu, asia"),
    "no part": ("new", {"only": "audio"}, "for only csv or features"),
    "no server": ("new", {"base_url": "http://127.0.0.1:9"}, "cannot be reached"),
    "no host": ("new", {"base_url": "http://no.such.host.invalid"}, "cannot be reached"),
    "a file": ("file", {}, "File exists"),
    "below a file": ("file/a", {}, "Not a directory"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_used_is_one_line_and_leaves_nothing(
    server: Server, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").touch()
    folder, options, message = UNFIT[name]
    with raises_user_error(message):
        bring(server, tmp_path / folder, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_differences_from_the_lists_are_counted_and_warned_of(
    server: Server, made: Release, tmp_path: Path
) -> None:
    rows = made.lists["eval"].splitlines(keepends=True)
    listed = [*rows[:-4], 'more_0, 1.0, 2.0, "/m/1"\n', 'more_1, 1.0, 2.0, "/m/1"\n']
    server.files[f"{PATH}/csv/{LISTS['eval']}"] = File("".join(listed).encode())
    account, said = bring(server, tmp_path)
    assert account[1].endswith(
        "eval_segments.csv lists 18: 4 video ids are in the records alone, 2 in the list alone"
    )
    warnings = [line for line in said if line.startswith("warning: ") and "sha256" not in line]
    assert warnings == [
        "warning: eval does not have exactly the clips that eval_segments.csv lists"
    ]
    assert not said.has("warning", "bal_train")
    # Said again by a command that finds everything there.
    assert bring(server, tmp_path)[1].has(warnings[0])


def test_damaged_records_are_counted_and_warned_of(server: Server, tmp_path: Path) -> None:
    bring(server, tmp_path)
    path = sorted((tmp_path / "eval").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-1])
    account, said = bring(server, tmp_path)
    assert account[1].startswith(f"{'eval':<12} 19 clips in ")
    assert said.has("eval has 1 records that cannot be read, the first of them", str(path), "ends")
    (tmp_path / "eval/zz.tfrecord").write_bytes(frame(b"") + frame(b"\x0a\x00"))
    account, said = bring(server, tmp_path)
    assert account[1].startswith(f"{'eval':<12} 19 clips in ")
    assert account[1].endswith("0 video ids are in the records alone, 1 in the list alone")
    assert said.has("eval has 3 records that cannot be read, the first of them", str(path), "ends")


def test_counts_that_cannot_be_used_are_made_again(server: Server, tmp_path: Path) -> None:
    first, _ = bring(server, tmp_path)
    path = tmp_path / "counts.json"
    whole = path.read_text()
    text_for_a_number = whole.replace('"clips": 20', '"clips": "x"')
    assert text_for_a_number != whole
    for content in ("", "[]", '{"eval": 1}', '{"eval": {"files": 1}}', text_for_a_number):
        path.write_text(content)
        assert bring(server, tmp_path)[0] == first, content
        assert json.loads(path.read_text())["eval"]["clips"] == 20, content


def test_an_archive_of_no_use_is_thrown_away(server: Server, made: Release, tmp_path: Path) -> None:
    whole = server.files[ARCHIVE].content
    for content, reason in (
        (b"<html>not here</html>", "is damaged: Not a gzipped file"),
        (whole[:-100], "is damaged: "),
        (archive_of(made.folder, ["eval"]), "no records in audioset_v1_embeddings/bal_train"),
    ):
        server.files[ARCHIVE] = File(content)
        with raises_user_error(reason, "it was thrown away, run the command again"):
            bring(server, tmp_path, only="features")
        assert [p.name for p in tmp_path.iterdir()] == [".lock"]
        # But not one that was put there, or is to be kept.
        (tmp_path / "features.tar.gz").write_bytes(content)
        with raises_user_error(reason, "remove it, and run the command again"):
            bring(server, tmp_path, only="features")
        (tmp_path / "features.tar.gz").unlink()
    server.files[ARCHIVE] = File(whole)
    bring(server, tmp_path)
    assert_brought(tmp_path, made)


def test_lists_of_no_use_are_thrown_away(server: Server, tmp_path: Path) -> None:
    for name, content, reason in (
        ("class_labels_indices.csv", b"<html>", "its first line must be index,mid,display_name"),
        (LISTS["eval"], b"<html>", "line 1, is not of the form"),
        (LISTS["eval"], b'# x\nabc, 1.0, 2.0, "/m/1"\nabc, 1.0\n', "line 3, is not of the form"),
        (LISTS["eval"], b"# only a comment\n", "lists no segment"),
    ):
        path = f"{PATH}/csv/{name}"
        good = server.files[path]
        server.files[path] = File(content)
        with raises_user_error(name, reason):
            bring(server, tmp_path, only="csv")
        assert not list((tmp_path / "csv").glob(f"{name}*"))
        server.files[path] = good


def test_a_folder_in_use_is_left_alone(server: Server, tmp_path: Path) -> None:
    with one_writer(tmp_path), raises_user_error(f"{tmp_path} is in use by process {os.getpid()}"):
        bring(server, tmp_path)
    assert server.log == []


def test_splits_that_are_there_are_left_and_others_added(
    server: Server, made: Release, tmp_path: Path
) -> None:
    shutil.copytree(made.folder / "eval", tmp_path / "eval")
    (tmp_path / "eval/mine.tfrecord").write_bytes(b"")
    (tmp_path / "bal_train").mkdir()
    (tmp_path / "bal_train/notes.txt").write_text("mine")
    with raises_user_error(f"cannot write {tmp_path}/bal_train: Directory not empty", "remove it"):
        bring(server, tmp_path)
    (tmp_path / "bal_train/notes.txt").unlink()
    server.log.clear()
    _, said = bring(server, tmp_path)
    assert server.log == []
    assert not said.has("features.tar.gz")  # it was unpacked before
    (tmp_path / "eval/mine.tfrecord").unlink()
    assert_brought(tmp_path, made)


CRASH = """
import itertools, os, shutil, sys
from mla_jax.audioset import release
from mla_jax.data.formats import tfrecords  # once, not in every process
def dying(function):
    def call(*arguments, **options):
        if next(calls) == last:
            os._exit(9)
        return function(*arguments, **options)
    return call
os.replace, os.unlink, shutil.rmtree = dying(os.replace), dying(os.unlink), dying(shutil.rmtree)
for last in itertools.count():
    calls = itertools.count()
    process = os.fork()
    if process == 0:
        folder = sys.argv[2] + "/" + str(last)
        release.download_release(folder, base_url=sys.argv[1], only="features", say=lambda _: None)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0:
        break
"""


@pytest.mark.slow
def test_a_process_that_dies_at_any_step_is_gone_on_from(
    server: Server, made: Release, tmp_path: Path
) -> None:
    """Before every single move or removal, the hard way; the next command ends in the same state."""
    done = python("-c", CRASH, server.url, tmp_path)
    assert done.returncode == 0, done.stderr
    folders = sorted(tmp_path.iterdir(), key=lambda folder: int(folder.name))
    assert len(folders) > 15
    *stopped, whole = folders
    for folder in stopped:
        shutil.copy(whole / "counts.json", folder)  # counting again takes long
        for split in LISTS:  # a split that is there is whole
            if (folder / split).exists():
                assert set(os.listdir(folder / split)) == set(os.listdir(made.folder / split))
        bring(server, folder)
        assert_brought(folder, made)


@pytest.mark.slow
@pytest.mark.audioset
def test_the_real_features_come_back_as_they_are(
    server: Server, audioset_dir: Path, tmp_path: Path
) -> None:
    """Real balanced train, packed as the release is; parts of eval stand for the other splits."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "bal_train").symlink_to(audioset_dir / "bal_train")
    for name in ("eval", "unbal_train"):
        (theirs / name).mkdir()
        for path in sorted((audioset_dir / "eval").iterdir())[:50]:
            shutil.copy(path, theirs / name)
    server.files[ARCHIVE] = File(archive_of(theirs))
    for path in (audioset_dir / "csv").glob("*.csv"):
        server.files[f"{PATH}/csv/{path.name}"] = File(path.read_bytes())
    eval_list = server.files[f"{PATH}/csv/{LISTS['eval']}"]
    server.files[f"{PATH}/csv/{LISTS['unbal_train']}"] = eval_list
    account, _ = bring(server, tmp_path / "ours")
    assert account[0] == (
        "bal_train    22,160 clips in 4,070 files, 33.6 MB; balanced_train_segments.csv lists 22,160: "
        "the same video ids"
    )
    assert "eval_segments.csv lists 20,371: 0 video ids are in the records alone, " in account[1]
    for split in LISTS:
        ours = tmp_path / "ours" / split
        assert sorted(os.listdir(ours)) == sorted(os.listdir(theirs / split))
        for path in ours.iterdir():
            assert path.read_bytes() == (theirs / split / path.name).read_bytes()
    original = sources.open_clips(str(audioset_dir / "bal_train"), ReadOptions(527))
    flags = [f"--data={tmp_path}/ours/bal_train", f"--output={tmp_path}/packed"]
    done = ok("prepare_data", *flags)
    assert "no class list found" not in done.stdout
    assert_same_clips(sources.open_packed(tmp_path / "packed"), original)


def test_segment_ids(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(
        b'# Segments\n# YTID, start\n--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"\n'
        b'-0_aB, 0.000, 10.000, "/m/1"\r\nlast, 0.000, 10.000, "/m/1"'
    )
    assert read_segment_ids(path).tolist() == [b"--PJHxphWEs", b"-0_aB", b"last"]
