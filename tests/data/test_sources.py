"""The door for data: whatever a path names is opened, streamed and packed alike; and its classes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mla_jax.config import DataConfig
from mla_jax.data import sources
from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.data.data_classes import count_classes, find_classes
from mla_jax.data.formats import table
from mla_jax.data.formats.format import Chunk, Format, ReadOptions, Shape
from mla_jax.data.formats.record_writer import write_records
from mla_jax.data.packing import pack, pack_data
from mla_jax.data.skipped import Skipped
from mla_jax.data.sources import open_packed, stream_clips
from tests.support.helpers import assert_same_clips, raises_user_error, random_clips, read_clips
from tests.support.records import payload, write_file

CLASSES = ClassList(mids=tuple(f"/m/{k}" for k in range(7)), names=tuple("ABCDEFG"))
KINDS = ("records", "glob", "packed", "h5", "npz")


@pytest.fixture(scope="module")
def clips() -> ClipSet:
    """20 clips of 1 to 5 segments, of 7 classes; sorted, as they are read from records."""
    clips = random_clips()
    return clips[np.argsort(clips.video_ids)]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, clips: ClipSet) -> dict[str, str]:
    """The same clips in every format, without a class list; not to be written to."""
    folder = tmp_path_factory.mktemp("sources")
    arrays = {
        "x": clips.embeddings,
        "y": clips.multi_hot(),
        "video_id_list": clips.video_ids,
        "start_times": clips.start_times,
    }
    write_records(clips, folder / "records")
    pack([clips], folder / "packed")
    np.savez(folder / "clips.npz", **arrays)
    with h5py.File(folder / "clips.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    places = ("records", "records/*.tfrecord", "packed", "clips.h5", "clips.npz")
    return {kind: str(folder / place) for kind, place in zip(KINDS, places, strict=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_all_formats_are_opened_streamed_and_packed_alike(
    paths: dict[str, str], clips: ClipSet, tmp_path: Path, kind: str
) -> None:
    assert_same_clips(read_clips(paths[kind]), clips)
    stream = stream_clips(paths[kind], ReadOptions(7, max_segments=5, chunk_size=6))
    is_known = kind not in ("records", "glob")
    assert (stream.total, stream.time) == ((20, 5) if is_known else (0, 0))
    assert (stream.clips, stream.done) == (0, 0)
    first = next(stream.chunks)
    assert len(first) == stream.clips == 6
    assert 0 < stream.done < (20 if is_known else stream.files)
    assert_same_clips(concatenate([first, *stream.chunks]), clips)
    assert (stream.clips, stream.done) == (20, 20 if is_known else stream.files)
    pack_data(paths[kind], tmp_path / "p", DataConfig(max_segments=5, num_classes=7))
    assert_same_clips(open_packed(tmp_path / "p", verify=True), clips)
    # The time axis is that of the options for records, their own for others.
    longer = read_clips(paths[kind], max_segments=8)
    assert longer.embeddings.shape == (20, 5 if is_known else 8, 4)


class Numbers(Format):
    """A text file with a number for each clip, of one segment and one feature."""

    def __init__(self, path: str) -> None:
        self.values = np.loadtxt(path, dtype=np.uint8, ndmin=1)
        self.shape = Shape(clips=len(self.values), classes=2)

    @staticmethod
    def recognizes(path: Path) -> bool:
        return path.suffix == ".txt"

    def chunks(self, options: ReadOptions) -> Iterator[Chunk]:
        for start in range(0, len(self.values), options.chunk_size):
            values = self.values[start : start + options.chunk_size]
            clips = ClipSet.from_arrays(
                values[:, None, None], [[v % 2] for v in values], num_classes=2
            )
            yield Chunk(clips, [], 0, start + len(values))


def test_a_new_format_is_a_class_and_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "FORMATS", (f"{__name__}.Numbers", *table.FORMATS))
    path = tmp_path / "a.txt"
    path.write_text("3 5 8 13")
    assert read_clips(path, num_classes=2).embeddings.ravel().tolist() == [3, 5, 8, 13]
    chunks = stream_clips(str(path), ReadOptions(2, chunk_size=3)).chunks
    assert [len(chunk) for chunk in chunks] == [3, 1]
    pack_data(str(path), tmp_path / "p", DataConfig())
    assert open_packed(tmp_path / "p").class_counts().tolist() == [1, 3]


def test_a_folder_may_have_any_name(tmp_path: Path, clips: ClipSet) -> None:
    write_records(clips, tmp_path / "records.h5")
    pack([clips], tmp_path / "packed.npz")
    for name in ("records.h5", "packed.npz"):
        assert_same_clips(read_clips(tmp_path / name), clips)


def test_records_follow_the_options(
    paths: dict[str, str], clips: ClipSet, caplog: pytest.LogCaptureFixture
) -> None:
    records = paths["records"]
    with raises_user_error(".tfrecord, record 0", "more than 2", "crop"):
        read_clips(records, max_segments=2)
    cropped = read_clips(records, max_segments=2, long_clips="crop")
    np.testing.assert_array_equal(cropped.embeddings, clips.embeddings[:, :2])
    count = (clips.num_segments > 2).sum()
    assert caplog.messages == [f"{records}: {count} clips cut to 2 segments"]
    # With fewer classes than there are, records of the others are bad.
    with raises_user_error(".tfrecord, record 0", "label", "0 to 3"):
        read_clips(records, num_classes=4)
    good = np.array([max(clips.labels_of(i)) < 4 for i in range(len(clips))])
    assert 0 < good.sum() < len(good)
    skipped: list[Skipped] = []
    some = read_clips(records, skipped, num_classes=4, bad_records="skip")
    assert some.video_ids.tolist() == clips[good].video_ids.tolist()
    assert {entry[2].encode() for entry in skipped} == set(clips[~good].video_ids.tolist())
    file, number, _, reason = skipped[0]
    assert caplog.messages[1:] == [
        f"{records}: {len(skipped)} bad records left out, the first of them {file}, record {number}: "
        f"{reason}"
    ]


def test_records_that_are_only_tagged_need_no_labels(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a", [payload(label_ids=())])
    with raises_user_error("it has no label"):
        read_clips(path)
    assert read_clips(path, needs_labels=False).label_ids.size == 0


@pytest.mark.parametrize("kind", ["packed", "h5", "npz"])
def test_data_of_another_number_of_classes(paths: dict[str, str], kind: str) -> None:
    options = ReadOptions(8)
    for opened in (sources.open_clips, stream_clips):
        with raises_user_error(f"{paths[kind]} has 7 classes, but 8 are in use"):
            opened(paths[kind], options)


@pytest.mark.parametrize("name", ["none", "none.npz", "none.h5"])
def test_nothing_is_there(tmp_path: Path, name: str) -> None:
    def count(path: str) -> Any:
        return count_classes(DataConfig(), None, path)

    def packed(path: str) -> Any:
        return pack_data(path, tmp_path / "p", DataConfig())

    for opened in (read_clips, count, packed):
        with raises_user_error(f"{tmp_path / name} does not exist"):
            opened(str(tmp_path / name))
    (tmp_path / "empty").mkdir()
    for nothing in (f"{tmp_path}/*.tfrecord", f"{tmp_path}/empty"):
        for opened in (read_clips, packed):
            with raises_user_error(nothing, "no record files"):
                opened(nothing)
    with raises_user_error(str(tmp_path), "is not a packed data set: it has no manifest.json"):
        open_packed(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


# Classes.


def write_classes(folder: Path, classes: ClassList = CLASSES) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE_NAME).write_text(classes.to_csv())
    return str(folder / FILE_NAME)


@pytest.mark.parametrize("kind", ["records", "records/a.tfrecord", "records/*.tfrecord", "a.npz"])
def test_finds_the_class_list_beside_the_data(tmp_path: Path, kind: str) -> None:
    (tmp_path / "records").mkdir()
    write_file(tmp_path / "records" / "a.tfrecord", [payload()])
    assert find_classes(DataConfig(), str(tmp_path / kind)) is None
    write_classes(tmp_path)
    assert find_classes(DataConfig(), str(tmp_path / kind)) == CLASSES
    assert find_classes(DataConfig(), "", str(tmp_path / kind)) == CLASSES


def test_the_config_names_the_class_list(tmp_path: Path) -> None:
    write_classes(tmp_path)
    config = DataConfig(class_list=write_classes(tmp_path / "named", ClassList.numbered(9)))
    assert find_classes(config, str(tmp_path)) == ClassList.numbered(9)
    with raises_user_error("missing.csv"):
        find_classes(DataConfig(class_list=str(tmp_path / "missing.csv")), str(tmp_path))


def test_names_that_may_be_mistaken_are_warned_of_wherever_they_come_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = np.array(["Dog", "dog", "Cat"])
    np.savez(tmp_path / "a.npz", x=np.ones((3, 2, 5), np.float32), y=labels)
    config = DataConfig(class_list=write_classes(tmp_path / "b", ClassList(("", ""), ("A", "a"))))
    find_classes(DataConfig(), str(tmp_path / "a.npz"))
    find_classes(config)
    assert [m.split(": ")[1] for m in caplog.messages] == [
        "'Dog' and 'dog' are two classes; if they are one, write both alike",
        "'A' and 'a' are two classes; if they are one, write both alike",
    ]


def test_counts_classes_by_the_first_that_knows(paths: dict[str, str]) -> None:
    nine = ClassList.numbered(9)
    assert count_classes(DataConfig(), nine, paths["packed"]) == 9
    assert count_classes(DataConfig(num_classes=9), nine, paths["packed"]) == 9
    assert count_classes(DataConfig(num_classes=5), None, paths["packed"]) == 5
    for kind in ("packed", "h5", "npz"):
        assert count_classes(DataConfig(), None, "", paths["records"], paths[kind]) == 7
    assert count_classes(DataConfig(), None, "", paths["records"]) == 527
    assert count_classes(DataConfig(), None) == 527
    with raises_user_error("num_classes=5", "9 classes", "class_list"):
        count_classes(DataConfig(num_classes=5), nine)


def test_what_lies_beside_records_and_is_not_read_is_said(
    tmp_path: Path, clips: ClipSet, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "records"
    write_records(clips, folder)
    for beside in (FILE_NAME, ".hidden", "skipped_records.jsonl"):
        (folder / beside).write_text("")
    (folder / "csv").mkdir()
    for path in (str(folder), f"{folder}/*.tfrecord", f"{tmp_path}/**/*.tfrecord"):
        assert_same_clips(read_clips(path), clips)
    assert not caplog.messages
    (folder / "more.tfrecord").mkdir()
    for name in ("a.tfrecord.gz", "notes.txt"):
        (folder / name).write_text("")
    said = []
    for path in (str(folder), f"{folder}/*.tfrecord"):
        assert_same_clips(read_clips(path), clips)
        said.append(caplog.messages[-1])
    assert said == [
        f"{folder}: 3 files or folders there are not read: a.tfrecord.gz, more.tfrecord/, notes.txt",
        f"{folder}/*.tfrecord: 1 files or folders there are not read: more.tfrecord/",
    ]


@pytest.mark.parametrize("glob", [False, True])
def test_a_link_that_leads_nowhere_is_a_bad_file(
    glob: bool, tmp_path: Path, clips: ClipSet
) -> None:
    write_records(clips, tmp_path)
    (tmp_path / "zz.tfrecord").symlink_to("gone")
    path = f"{tmp_path}/*.tfrecord" if glob else str(tmp_path)
    why = "the file cannot be read (it is a link that leads nowhere)"
    with raises_user_error(f"{tmp_path}/zz.tfrecord, record 0: {why}", "bad_records=skip"):
        read_clips(path)
    skipped: list[Skipped] = []
    assert_same_clips(read_clips(path, skipped, bad_records="skip"), clips)
    assert skipped == [(f"{tmp_path}/zz.tfrecord", 0, "", why)]
    with raises_user_error(f"{tmp_path}/zz.tfrecord is a link that leads nowhere"):
        read_clips(tmp_path / "zz.tfrecord")
    (tmp_path / FILE_NAME).symlink_to("gone")
    with raises_user_error(f"cannot read the class list {tmp_path / FILE_NAME}"):
        pack_data(path, tmp_path / "p", DataConfig())
