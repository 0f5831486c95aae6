"""Packing what a path names: the account of it, the class list beside it, and a disk that is full."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mla_jax.config import Config, DataConfig
from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.embedding import AUDIOSET
from mla_jax.data.formats.manifest import MANIFEST
from mla_jax.data.formats.record_writer import write_records
from mla_jax.data.packing import pack, pack_data
from mla_jax.data.sources import open_packed
from mla_jax.runs.data import RunData
from tests.support.helpers import assert_same_clips, raises_user_error, random_clips

ZEROS = "its embedding is all zeros, as if it was never filled in"
ROOT = Path(__file__).parent.parent.parent
# One class more than the clips have.
CLASSES = ClassList(mids=tuple(f"/m/{k}" for k in range(8)), names=(*"ABCDEFG", "Rare, it is"))


@pytest.fixture
def clips() -> ClipSet:
    clips = random_clips()
    return clips[np.argsort(clips.video_ids)]


@pytest.fixture
def records(tmp_path: Path, clips: ClipSet) -> Path:
    """The clips as records, with a class list beside."""
    write_records(clips, tmp_path / "data" / "records")
    (tmp_path / "data" / FILE_NAME).write_text(CLASSES.to_csv())
    return tmp_path / "data" / "records"


def source_of(folder: Path) -> dict[str, object]:
    manifest = json.loads((folder / MANIFEST).read_text())
    return dict(manifest["source"])


def test_the_account(records: Path, tmp_path: Path, clips: ClipSet) -> None:
    output = tmp_path / "new" / "packed"
    lines = pack_data(str(records), output, DataConfig(max_segments=5))
    opened = open_packed(output, verify=True)
    assert opened.num_classes == 8
    assert opened.video_ids.tolist() == clips.video_ids.tolist()
    assert ClassList.read(output / FILE_NAME) == CLASSES
    assert not (output / "skipped_records.jsonl").exists()
    files = len(list(records.iterdir()))
    lengths = clips.num_segments.tolist()
    counts = sorted(clips.class_counts().tolist())
    assert lines == [
        f"packed {output}",
        f"files                {files}",
        "clips                20, of 5 segments x 4 features, uint8",
        "clips by segments    "
        + ", ".join(f"{n}: {lengths.count(n)}" for n in sorted(set(lengths))),
        f"embeddings           {clips.embedding}",
        f"labels               {sum(counts)} of 8 classes",
        f"positives per class  min {counts[0]}, median {counts[3]}, max {counts[-1]}",
        "without positives    1: Rare, it is",
        "skipped records      0",
    ]
    assert source_of(output) == {"input": str(records), "files": files, "skipped": []}


def test_what_was_cropped_and_skipped_is_listed(
    records: Path, tmp_path: Path, clips: ClipSet
) -> None:
    (records.parent / FILE_NAME).unlink()
    config = DataConfig(max_segments=2, long_clips="crop", bad_records="skip", num_classes=4)
    output = tmp_path / "packed"
    lines = pack_data(str(records), output, config)
    highest = np.array([max(clips.labels_of(i)) for i in range(len(clips))])
    good, bad = clips[highest < 4], clips[highest >= 4]
    assert open_packed(output).video_ids.tolist() == good.video_ids.tolist()
    assert f"cropped clips        {(good.num_segments > 2).sum()}" in lines
    place = lines.index(f"skipped records      {len(bad)}")
    listed = [json.loads(x) for x in (output / "skipped_records.jsonl").read_text().splitlines()]
    assert {entry["video_id"].encode() for entry in listed} == set(bad.video_ids.tolist())
    for line, entry in zip(lines[place + 1 :], listed, strict=True):
        assert entry["file"] == f"{records / entry['video_id'][:2]}.tfrecord"
        assert "outside 0 to 3" in entry["reason"]
        text = "  {file}, record {record} ({video_id}): {reason}"
        assert line == text.format(**entry)
    skipped = [list(entry.values()) for entry in listed]
    assert source_of(output)["skipped"] == skipped
    with raises_user_error("record 0", "bad_records=skip"):
        pack_data(str(records), tmp_path / "p", DataConfig(max_segments=5, num_classes=4))
    assert not (tmp_path / "p").exists()


def test_an_array_file_is_one_file(tmp_path: Path, clips: ClipSet) -> None:
    embeddings = np.array(clips.embeddings)
    embeddings[5] = 0
    path = str(tmp_path / "clips.npz")
    np.savez(path, x=embeddings, y=clips.multi_hot(), video_id_list=clips.video_ids)
    lines = pack_data(path, tmp_path / "p", DataConfig(bad_records="skip"))
    assert lines[1:3] == [
        "files                1",
        "clips                19, of 5 segments x 4 features, uint8",
    ]
    video_id = clips.video_ids[5].decode()
    assert lines[-2:] == [
        "skipped records      1",
        f"  {path}, record 5 ({video_id}): {ZEROS}",
    ]
    skipped = [[path, 5, video_id, ZEROS]]
    assert source_of(tmp_path / "p") == {"input": path, "files": 1, "skipped": skipped}


def test_a_setting_that_is_not_used_is_said(
    tmp_path: Path, clips: ClipSet, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "clips.npz")
    np.savez(path, x=clips.embeddings, y=clips.multi_hot())
    for time in (10, 5, 3):  # as it is by default, the file's own, and another
        pack_data(path, tmp_path / f"{time}", DataConfig(max_segments=time))
    said = f"{path}: max_segments=3 is not used, its clips have 5 segments of their own"
    assert caplog.messages == [said]


def test_packs_for_audioset_where_nothing_says_otherwise(records: Path, tmp_path: Path) -> None:
    (records.parent / FILE_NAME).unlink()
    lines = pack_data(str(records), tmp_path / "p", DataConfig(max_segments=5))
    assert open_packed(tmp_path / "p").num_classes == 527
    assert not (tmp_path / "p" / FILE_NAME).exists()
    (labels,) = (line for line in lines if line.startswith("labels"))
    assert "of 527 classes (no class list found: classes are shown by index; " in labels
    (absent,) = (line for line in lines if line.startswith("without positives"))
    assert absent.startswith("without positives    520: 7; 8; 9; ")
    assert absent.endswith("; 26; and 500 more")


def test_says_what_cannot_be_packed(records: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with raises_user_error(str(tmp_path / "taken"), "already exists"):
        pack_data(str(records), tmp_path / "taken", DataConfig(max_segments=5))
    with raises_user_error("num_classes=5", "8 classes"):
        pack_data(str(records), tmp_path / "p", DataConfig(num_classes=5))
    assert {path.name for path in tmp_path.iterdir()} == {"data", "taken"}


# A disk that is full.


PACKS = """
import os, resource, signal, sys
import numpy as np
from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.embedding import AUDIOSET
from mla_jax.data.packing import pack
from mla_jax.errors import UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for features, classes, limit in ((60, 4, 9000), (1, 4, 3000), (1, 900, 4500), (1, 4, 200), (1, 4, 0)):
    clips = ClipSet.from_arrays(np.ones((200, 1, features), np.uint8), np.ones((200, 4)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        pack([clips], "p", classes=ClassList.numbered(classes))
    except UserError as error:
        print(error)
    print(os.listdir())
"""


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    """Writing embeddings, labels, the class list, ... fails as on a full disk: one line, and nothing left."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PACKS]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60
    )
    assert not done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 10
    for error, left in zip(lines[::2], lines[1::2], strict=True):
        assert re.match("cannot write p: .*; nothing of it is kept, make room", error)
        assert left == "[]"


# The command.


def test_the_command_packs_without_tensorflow_and_verifies(tmp_path: Path) -> None:
    clips = ClipSet.from_arrays(np.full((20, 5, 4), 3, np.uint8), np.ones((20, 8)))
    path = tmp_path / "clips.npz"
    np.savez(path, x=clips.embeddings, y=clips.multi_hot())
    (tmp_path / FILE_NAME).write_text(CLASSES.to_csv())
    program = (
        "import sys\n"
        "from mla_jax.commands import cli, prepare_data\n"
        "def main():\n"
        "    prepare_data.main()\n"
        "    assert 'tensorflow' not in sys.modules\n"
        "cli.run(main)\n"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)

    folder = tmp_path / "out"
    done = run(f"--data={path}", f"--output={folder}")
    assert done.returncode == 0, done.stderr
    assert "files                1\nclips                20, of 5 segments" in done.stdout
    assert done.stdout.endswith("skipped records      0\n")
    assert_same_clips(open_packed(folder), clips)
    assert ClassList.read(folder / FILE_NAME) == CLASSES
    done = run(f"--verify={folder}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{folder} is as it was written: 20 clips\n"
    damaged = folder / "start_times.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\1")
    done = run(f"--verify={folder}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {damaged} is not what was written")
    assert done.stderr.count("\n") == 1


def test_a_list_of_another_order_beside_records_like_audiosets(
    audio_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    yamnet = ClassList.read(audio_dir / "yamnet" / "yamnet_class_map.csv")
    released = dataclasses.replace(random_clips(features=128), embedding=AUDIOSET)
    for name, clips in (("audioset", released), ("own", random_clips(features=64))):
        write_records(clips, tmp_path / name)
        (tmp_path / name / FILE_NAME).write_text(yamnet.to_csv())
    other = "YAMNet's classes in another order (521 of them)"
    with raises_user_error(str(tmp_path / "audioset"), other, "num_classes=521"):
        pack_data(str(tmp_path / "audioset"), tmp_path / "p", DataConfig())
    assert not (tmp_path / "p").exists()
    pack_data(str(tmp_path / "audioset"), tmp_path / "p", DataConfig(num_classes=521))
    pack_data(str(tmp_path / "own"), tmp_path / "q", DataConfig())
    assert not caplog.messages
    (tmp_path / "other.csv").write_text(ClassList.numbered(7).to_csv())
    config = DataConfig(class_list=str(tmp_path / "other.csv"))
    pack_data(str(tmp_path / "audioset"), tmp_path / "r", config)
    assert "other.csv is used: the class list beside" in caplog.messages[0]


def test_names_of_several_classes_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("A", "B", "A", "D", "E", "F", "G")
    pack([random_clips()], tmp_path / "p", classes=ClassList(("",) * 7, names))
    RunData.open(Config(data=DataConfig(train=str(tmp_path / "p"))))
    assert caplog.messages == ["the class list in use: classes 0, 2 have the same name 'A'"]


def test_clips_of_one_video_are_counted(tmp_path: Path, clips: ClipSet) -> None:
    ids = np.array([b"a", b"a", *clips.video_ids[2:]])
    pack([dataclasses.replace(clips, video_ids=ids)], tmp_path / "p")
    lines = pack_data(str(tmp_path / "p"), tmp_path / "q", DataConfig())
    assert "video ids            19, so that clips share them; 2 clips have the id 'a'" in lines
