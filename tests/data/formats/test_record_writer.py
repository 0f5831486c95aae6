"""Records that are written: names of files, what a record holds, and files that are replaced."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.formats import record_writer
from mla_jax.data.formats.record_writer import write_records
from mla_jax.data.packing import pack
from mla_jax.data.tensorflow import tf
from tests.support.helpers import in_order_of_files, raises_user_error, random_clips


def test_one_file_for_each_two_first_characters(tmp_path: Path) -> None:
    ids = [b"--1", b"-0x", b"_a", b"Ab1", b"ab1", b"zz", b"0-", b"Ab0"]
    clips = dataclasses.replace(random_clips(num_clips=8), video_ids=np.array(ids))
    files = write_records(clips, tmp_path / "new" / "folder")
    names = ["--", "-0", "0-", "Ab", "_a", "ab", "zz"]
    assert [path.name for path in files] == [f"{name}.tfrecord" for name in names]
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(files)


def test_writes_end_times_and_reports_progress(tmp_path: Path) -> None:
    clips = random_clips(num_clips=9)
    clips = dataclasses.replace(
        clips, embedding=dataclasses.replace(clips.embedding, hop_seconds=0.5)
    )
    steps: list[tuple[int, int]] = []
    files = write_records(clips, tmp_path, progress=lambda *done: steps.append(done))
    assert steps == [(n, 9) for n in range(1, 10)]
    ordered = in_order_of_files(clips)
    dataset = tf.data.TFRecordDataset([str(path) for path in files])
    for i, record in enumerate(dataset.as_numpy_iterator()):
        context = tf.train.SequenceExample.FromString(record).context.feature
        start = ordered.start_times[i]
        assert context["start_time_seconds"].float_list.value == [start]
        assert context["end_time_seconds"].float_list.value == [
            start + 0.5 * ordered.num_segments[i]
        ]


@pytest.mark.parametrize("video_id", [b"a/b", b"/", b"", b".", b"..", b"..x", b".hidden", b"a\0b"])
def test_ids_that_cannot_begin_a_file_name(tmp_path: Path, video_id: bytes) -> None:
    clips = dataclasses.replace(random_clips(num_clips=1), video_ids=np.array([video_id]))
    with raises_user_error("clip 0 (video id ", "choose another video id"):
        write_records(clips, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_in_one_step_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write_records(random_clips(num_clips=1), tmp_path)
    before = path.read_bytes()
    with path.open("rb") as opened_before:
        write_records(random_clips(num_clips=1, seed=1), tmp_path)
        assert opened_before.read() == before
    after = path.read_bytes()
    assert after != before

    def fail(*_: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record_writer, "to_record", fail)
    with raises_user_error(f"cannot write records to {tmp_path}: No space left on device"):
        write_records(random_clips(num_clips=1), tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == after


def test_a_folder_that_takes_two_names_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "listdir", lambda _: ["Ab.tfrecord", "--.tfrecord"])
    ids = np.array([b"Ab", b"--", b"ab"])
    clips = dataclasses.replace(random_clips(num_clips=3), video_ids=ids)
    with raises_user_error("in case only, and lost ab.tfrecord; write to"):
        write_records(clips, tmp_path)


def test_a_class_list_of_the_clips_is_written_beside(tmp_path: Path) -> None:
    clips = ClipSet.from_arrays(np.ones((4, 3, 8), np.float32), ["Dog", "Cat", "Dog", "Bell"])
    write_records(clips, tmp_path)
    assert ClassList.read(tmp_path / FILE_NAME) == clips.classes
    write_records(clips, tmp_path)
    other = dataclasses.replace(clips, classes=ClassList(("",) * 3, ("Dog", "Cat", "Bell")))
    with raises_user_error("class 0 is 'Bell' there, but 'Dog' in use"):
        write_records(other, tmp_path)


def test_clips_are_not_packed_under_other_names(tmp_path: Path) -> None:
    clips = ClipSet.from_arrays(np.ones((3, 3, 8), np.float32), ["a", "b", "c"])
    with raises_user_error("the class list of the clips themselves is another", "class 0 is 'a'"):
        pack([clips], tmp_path / "out", classes=ClassList(("",) * 3, ("c", "b", "a")))
    assert not (tmp_path / "out").exists()
