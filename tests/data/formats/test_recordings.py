"""Folders and globs of .npy and .npz files, one recording each: the same clips as arrays in Python."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mla_jax.config import DataConfig
from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.formats.format import ReadOptions
from mla_jax.data.packing import pack_data
from mla_jax.data.skipped import Skipped
from mla_jax.data.sources import open_clips, stream_clips
from tests.support.helpers import assert_same_clips, raises_user_error

PARTS = [np.full((n, 4), n, np.float32) for n in (3, 1, 5, 2)]
NAMES = ["a_0.000", "b", "c", "d"]
LABELS = "filename,labels\na_0.000.wav,Dog;Bell\nb.wav,\nsub/c.wav,Dog\nd,Cat\n"
MATRIX = np.array([[1, 0, 1], [0, 0, 0], [0, 0, 1], [0, 1, 0]], bool)  # Bell, Cat, Dog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of .npy files, with labels beside them."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name, part in zip(NAMES, PARTS, strict=True):
        np.save(folder / f"{name}.npy", part)
    (folder / "labels.csv").write_text(LABELS)
    (folder / "notes.txt").write_text("no recording")
    return folder


def read(path: Path | str, skipped: list[Skipped] | None = None, **options: Any) -> ClipSet:
    return open_clips(
        str(path), ReadOptions(**{"num_classes": 3, "max_segments": 5} | options), skipped
    )


def expected(**changes: Any) -> ClipSet:
    return ClipSet.from_arrays(PARTS, MATRIX, video_ids=NAMES, **changes)


@pytest.mark.parametrize("pattern", ["", "*.npy"])
@pytest.mark.parametrize("chunk_size", [1, 3, 9])
def test_a_folder_or_a_glob(folder: Path, pattern: str, chunk_size: int) -> None:
    assert_same_clips(read(folder / pattern, chunk_size=chunk_size), expected())


def test_classes_follow_from_the_labels_and_are_packed(folder: Path, tmp_path: Path) -> None:
    lines = pack_data(str(folder), tmp_path / "p", DataConfig(max_segments=5))
    assert_same_clips(read(tmp_path / "p"), expected())
    assert ClassList.read(tmp_path / "p" / FILE_NAME).names == ("Bell", "Cat", "Dog")
    assert any(line.split() == ["clips", "of", "no", "class", "1"] for line in lines)


def test_as_openl3_writes_them(tmp_path: Path) -> None:
    for name, part in zip(NAMES, PARTS, strict=True):
        times = 2.5 + 0.1 * np.arange(len(part))
        np.savez(tmp_path / f"{name}.npz", embedding=part.astype(np.float64), timestamps=times)
    stream = stream_clips(str(tmp_path), ReadOptions(3, max_segments=None, needs_labels=False))
    clips = next(iter(stream.chunks))
    np.testing.assert_array_equal(clips.embeddings, expected().embeddings)
    assert clips.start_times.tolist() == [2.5] * 4
    assert any("a segment begins every 0.1 s" in note for note in stream.notes)
    assert any("float64: kept as float32" in note for note in stream.notes)
    one = read(tmp_path / "c.npz", needs_labels=False)
    np.testing.assert_array_equal(one.embeddings, clips.embeddings[2:3])


@pytest.mark.parametrize("place", ["", "labels"], ids=["beside", "elsewhere"])
def test_labels_of_another_folder_are_not_taken(tmp_path: Path, place: str) -> None:
    """As where train/ and test/ have files of the same names, wherever the CSV lies."""
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        np.save(tmp_path / split / "1.npy", PARTS[0])
    csv = tmp_path / place / "l.csv"
    csv.parent.mkdir(exist_ok=True)
    csv.write_text("filename,labels\ntrain/1.wav,Dog\n")
    with raises_user_error("no line of", "l.csv", "'train/1.wav'"):
        read(tmp_path / "test", labels=str(csv), num_classes=1)
    csv.write_text("filename,labels\ntrain/1.wav,Dog\ntest/1.wav,Cat\n")
    for split, label in (("train", 1), ("test", 0)):
        assert read(tmp_path / split, labels=str(csv), num_classes=2).labels_of(0) == [label]


def test_labels_elsewhere_by_index_and_with_what_is_absent(folder: Path, tmp_path: Path) -> None:
    (folder / "labels.csv").unlink()
    with raises_user_error("has no labels.csv", "filename and labels"):
        read(folder)
    table = tmp_path / "mine.csv"
    table.write_text(
        'fname,labels,absent,split\na_0.000,"0,2",1,x\nb,,"0,1,2",x\nc,2,,x\nd,1,"0, 2",x\ne,1,,y\n'
    )
    clips = read(folder, labels=str(table))
    assert_same_clips(
        clips, expected(label_mask=np.array([[1, 1, 1], [1, 1, 1], [0, 0, 1], [1, 1, 1]]))
    )
    stream = stream_clips(str(folder), ReadOptions(3, labels=str(table)))
    assert len(list(stream.chunks)) == 1
    assert any(
        "1 of 5 lines are of no file, the first of them 'e'" in note for note in stream.notes
    )
    with raises_user_error("mine.csv is not used"):
        np.savez(tmp_path / "x.npz", x=np.ones((2, 3)), y=np.ones((2, 3)))
        pack_data(str(tmp_path / "x.npz"), tmp_path / "p", DataConfig(labels=str(table)))


def test_what_is_present_and_absent_is_refused(folder: Path) -> None:
    for lines in ("a_0.000,Dog;Bell,Cat|Dog", "a_0.000,Bell,Dog\na_0.000,Dog,"):
        text = f"filename,labels,absent\nb,,\nc,,\nd,Cat,\n{lines}\n"
        (folder / "labels.csv").write_text(text)
        with raises_user_error("labels.csv, line 5", "'Dog' is both in the labels", "absent"):
            read(folder)
    (folder / "labels.csv").write_text("filename,labels,absent\na_0.000,2,2\nb,,\nc,,\nd,,\n")
    with raises_user_error("line 2", "'2' is both"):
        read(folder)


def test_names_with_commas_in_them_stay_whole(folder: Path) -> None:
    classes = ClassList(("/m/b", "/m/d", "/m/r"), ("Burping, eructation", "Dog", "Rain, on a roof"))
    cells = [
        '"Burping, eructation"',
        '"Dog, Burping, eructation"',
        '"/m/r,Dog"',
        '"Rain, on a roof;Dog"',
    ]
    lines = [f"{name},{cell}" for name, cell in zip(NAMES, cells, strict=True)]
    (folder / "labels.csv").write_text("\n".join(["filename,labels", *lines, "", ""]))
    clips = read(folder, classes=classes)
    assert [clips.labels_of(i) for i in range(4)] == [[0], [0, 1], [1, 2], [1, 2]]


def test_commas_belong_to_names_where_other_separators_are_used(folder: Path) -> None:
    text = 'filename,labels\na_0.000,Dog|Cat\nb,"Rain, on a roof"\nc,\nd,Dog\n'
    (folder / "labels.csv").write_text(text)
    clips = read(folder)
    assert clips.classes is not None
    assert clips.classes.names == ("Cat", "Dog", "Rain, on a roof")


def test_several_lines_of_one_file_add_up(folder: Path) -> None:
    (folder / "labels.csv").write_text(
        "filename,labels\nb,\na_0.000,Dog\nc,Dog\nd,Cat\na_0.000,Bell\na_0.000,Dog\n"
    )
    assert_same_clips(read(folder), expected())


def test_recordings_in_folders_are_matched_by_folder(tmp_path: Path) -> None:
    for k, name in enumerate(("x/one.npy", "y/one.npy")):
        (tmp_path / name).parent.mkdir()
        np.save(tmp_path / name, PARTS[k])
    (tmp_path / "labels.csv").write_text("filename,label\nx/one.wav,Cat\ny/one.wav,Dog\n")
    clips = read(tmp_path / "*/*.npy", num_classes=2)
    assert clips.video_ids.tolist() == [b"x/one", b"y/one"]
    assert [clips.labels_of(i) for i in range(2)] == [[0], [1]]
    (tmp_path / "labels.csv").write_text("filename,label\nu/one.wav,Cat\nv/one.wav,Dog\n")
    with raises_user_error("no line of", "labels.csv", "is of a file"):
        read(tmp_path / "*/*.npy")
    (tmp_path / "labels.csv").write_text("filename,label\nu/x/one.wav,Cat\nv/x/one.wav,Dog\n")
    with raises_user_error("u/x/one.wav and v/x/one.wav may both be the file x/one.npy"):
        read(tmp_path / "*/*.npy")


def test_a_line_of_another_folder_or_of_a_longer_name_is_of_no_file(tmp_path: Path) -> None:
    for k, name in enumerate(("train/1.npy", "test/1.npy")):
        (tmp_path / name).parent.mkdir()
        np.save(tmp_path / name, PARTS[k])
    labels = tmp_path / "labels.csv"
    for line in ("train/1.wav,Dog", "1.1,Dog\ntrain/1.wav,Dog"):
        labels.write_text(f"filename,labels\n{line}\n")
        with raises_user_error("test/1.npy", "it has no line in"):
            read(tmp_path / "*/*.npy", num_classes=1)
        with raises_user_error("no line of", "is of a file"):  # the labels lie above
            read(tmp_path / "test", num_classes=1)
        assert len(read(tmp_path / "train", num_classes=1)) == 1
    labels.write_text("filename,labels\ntrain/1.wav,Dog\ntest/2.wav,Dog\n")
    with raises_user_error("no line of", "is of a file"):
        read(tmp_path / "test", num_classes=1)
    labels.write_text("filename,labels\n1.wav,Dog\n")
    stream = stream_clips(str(tmp_path / "*/*.npy"), ReadOptions(1))
    assert sum(map(len, stream.chunks)) == 2
    assert any("'1.wav' for test/1.npy and train/1.npy" in note for note in stream.notes)
    labels.write_text("filename,labels\naudio/1.wav,Dog\n")  # beside the folder of recordings
    stream = stream_clips(str(tmp_path / "train"), ReadOptions(1))
    assert sum(map(len, stream.chunks)) == 1
    assert any("another folder" in note and "train/1.npy" in note for note in stream.notes)


BAD = {
    "deep": (np.ones((2, 3, 4)), "it is an array of [2, 3, 4]; a file is one recording"),
    "empty": (np.ones((0, 4), np.float32), "it is an array of [0, 4]"),
    "zeros": (np.zeros((2, 4), np.float32), "all zeros"),
    "nan": (np.full((2, 4), np.nan, np.float32), "NaN or infinity"),
    "narrow": (np.ones((2, 3), np.float32), "a segment of 3 floats; the first record has 4"),
    "half": (
        np.ones((2, 4), np.float16),
        "it is of float16; the first recording is kept as float32",
    ),
    "long": (np.ones((6, 4), np.float32), "it has 6 segments, more than 5"),
    "objects": (np.array([{}], object), "it cannot be read as a .npy file"),
}


def test_an_archive_of_many_clips_is_no_recording(tmp_path: Path) -> None:
    x = np.ones((3, 4), np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=np.eye(3), video_id_list=np.array(["a", "b", "c"]))
    with raises_user_error(
        "a.npz", "x has y and video_id_list beside it", "give that file by itself"
    ):
        list(stream_clips(str(tmp_path), ReadOptions(3, needs_labels=False)).chunks)
    assert len(read(tmp_path / "a.npz")) == 3


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_used_is_a_bad_record(folder: Path, kind: str) -> None:
    array, reason = BAD[kind]
    np.save(folder / "b.npy", array)
    with raises_user_error(str(folder / "b.npy"), "video id 'b'", reason, "bad_records=skip"):
        read(folder)
    skipped: list[Skipped] = []
    assert_same_clips(read(folder, skipped, bad_records="skip"), expected()[np.array([0, 2, 3])])
    assert [(s[0], s[2]) for s in skipped] == [(str(folder / "b.npy"), "b")]


def test_labels_and_time_stamps_that_do_not_fit(folder: Path) -> None:
    np.savez(folder / "b.npz", x=PARTS[0], timestamps=[0.0, 1.0, 3.0])
    (folder / "b.npy").unlink()
    with raises_user_error("b.npz", "not evenly spaced"):
        read(folder)
    np.savez(folder / "b.npz", left=PARTS[0], right=PARTS[0])
    with raises_user_error("b.npz", "it has the arrays left, right"):
        read(folder)
    np.savez(folder / "b.npz", PARTS[1])
    assert len(read(folder)) == 4
    (folder / "labels.csv").write_text(LABELS.replace("b.wav,\n", ""))
    with raises_user_error("b.npz", "it has no line in", "labels.csv"):
        read(folder)
    for text, parts in {
        "": ["has the columns of no kind"],
        "name,labels\na,b\n": ["has the columns name, labels; its first line must name filename"],
        "filename,labels\na,b,c\n": ["line 2", "3 cells", "2 columns"],
        "filename,labels\n,b\n": ["line 2", "no file name"],
        "filename,labels\nother.wav,Dog\n": ["no line of", "'other.wav'", "'a_0.000.npy'"],
        "filename,labels\nb,7\n": ["line 2", "'7' is no index of 3 classes"],
    }.items():
        (folder / "labels.csv").write_text(text)
        with raises_user_error(*parts):
            read(folder)


def test_all_time_stamps_must_agree(tmp_path: Path) -> None:
    def save(name: str, hop: float | None, segments: int = 3) -> None:
        times = {} if hop is None else {"timestamps": hop * np.arange(segments)}
        np.savez(tmp_path / name, embedding=np.ones((segments, 4), np.float32), **times)

    np.save(tmp_path / "a.npy", PARTS[0])
    save("b.npz", 7.0, segments=1)  # says no hop
    save("c.npz", None)
    save("d.npz", 0.5)
    save("e.npz", 0.5)
    options = ReadOptions(3, max_segments=None, needs_labels=False)
    stream = stream_clips(str(tmp_path), options)
    hops = {chunk.embedding.hop_seconds for chunk in stream.chunks}
    assert hops == {0.5}
    assert any("2 of 5 files lack time stamps" in n and "a.npy" in n for n in stream.notes)
    save("e.npz", 1.0)
    with raises_user_error("e.npz", "every 1 s; in d.npz every 0.5 s"):
        list(stream_clips(str(tmp_path), options).chunks)
    for name in ("d.npz", "e.npz"):
        save(name, None)
    stream = stream_clips(str(tmp_path), options)
    assert {chunk.embedding.hop_seconds for chunk in stream.chunks} == {None}
    assert not any("time stamps" in note for note in stream.notes)


def test_a_packed_folder_without_its_manifest_is_refused(folder: Path, tmp_path: Path) -> None:
    pack_data(str(folder), tmp_path / "p", DataConfig(max_segments=5))
    (tmp_path / "p" / "manifest.json").unlink()
    with raises_user_error(str(tmp_path / "p"), "no record files"):
        read(tmp_path / "p")
