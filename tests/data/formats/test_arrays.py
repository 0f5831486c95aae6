"""HDF5 and .npz files of arrays: the same clips as records give, and what is said of unfit files."""

import fcntl
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.data.formats import arrays as array_files
from mla_jax.data.formats.arrays import ArrayFile
from mla_jax.data.formats.format import ReadOptions
from mla_jax.data.skipped import Skipped
from mla_jax.data.sources import stream_clips
from tests.support.helpers import assert_same_clips, raises_user_error, random_clips, read_clips

SUFFIXES = [".h5", ".npz"]
Arrays = dict[str, np.ndarray]


def arrays_of(clips: ClipSet) -> Arrays:
    """As the original programs pack clips: padded with zero bytes, lengths not kept."""
    return {
        "x": np.array(clips.embeddings),
        "y": clips.multi_hot(),
        "video_id_list": np.array(clips.video_ids),
    }


def write(path: Path, arrays: Arrays) -> str:
    """Writes by suffix: HDF5, or a compressed .npz."""
    if path.suffix.lower() == ".npz":
        np.savez_compressed(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array)
    return str(path)


def without_start_times(clips: ClipSet) -> ClipSet:
    return ClipSet.from_arrays(
        clips.embeddings,
        clips.multi_hot(),
        num_segments=clips.num_segments,
        video_ids=clips.video_ids,
    )


def chunks_of(path: str, **options: int) -> list[ClipSet]:
    return list(stream_clips(path, ReadOptions(7, **options)).chunks)


@pytest.fixture
def clips() -> ClipSet:
    """20 clips of 1 to 5 segments, none of which is all zero."""
    clips = random_clips()
    assert clips.embeddings[clips.mask()].any(axis=1).all()
    return clips


# What is read.


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".H5", ".npz"])
def test_reads_what_was_written(tmp_path: Path, suffix: str, dtype: str) -> None:
    clips = random_clips(dtype=dtype)
    path = write(tmp_path / f"clips{suffix}", arrays_of(clips))
    read = read_clips(path)
    assert_same_clips(read, without_start_times(clips))
    read.check_values()
    assert ArrayFile(path).shape == (20, 5, 4, 7)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("chunk_size", [1, 7, 20, 4096])
def test_the_size_of_chunks_does_not_matter(
    tmp_path: Path, clips: ClipSet, suffix: str, chunk_size: int
) -> None:
    arrays = arrays_of(clips) | {"start_times": clips.start_times.astype(np.float64)}
    path = write(tmp_path / f"clips{suffix}", arrays)
    chunks = chunks_of(path, chunk_size=chunk_size)
    assert [len(c) for c in chunks[:-1]] == [min(chunk_size, 20)] * (len(chunks) - 1)
    assert_same_clips(concatenate(chunks), clips)


def test_clips_of_many_bytes_come_in_smaller_chunks(
    tmp_path: Path, clips: ClipSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "clips.npz", arrays_of(clips))
    monkeypatch.setattr(array_files, "CHUNK_BYTES", 3 * (5 * 4 + 7))
    chunks = chunks_of(path)
    assert [len(chunk) for chunk in chunks] == [3] * 6 + [2]
    assert_same_clips(concatenate(chunks), without_start_times(clips))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_lengths_are_found_by_the_zero_vectors_at_the_end(tmp_path: Path, suffix: str) -> None:
    x = np.zeros((4, 3, 2), np.uint8)
    x[0] = 1  # full
    x[1, 0] = x[1, 2] = [0, 9]  # a zero vector between others is real
    x[2, 1, 1] = 1  # and so is one at the start
    x[3, 0, 0] = 1
    path = write(tmp_path / f"clips{suffix}", {"x": x, "y": np.ones((4, 7), bool)})
    assert read_clips(path).num_segments.tolist() == [3, 3, 2, 1]
    floats = np.where(x > 0, np.float32(-1e-30), np.float32(-0.0))
    path = write(tmp_path / f"floats{suffix}", {"x": floats, "y": np.ones((4, 7), bool)})
    assert read_clips(path).num_segments.tolist() == [3, 3, 2, 1]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["int8", "int64", "uint64"])
def test_lengths_that_are_stated_hold(tmp_path: Path, suffix: str, dtype: str) -> None:
    clips = random_clips(dtype="float32")
    arrays = arrays_of(clips)
    arrays["x"][~clips.mask()] = np.nan  # what fills a clip up may be anything
    arrays["x"][3, 1 : clips.num_segments[3]] = 0
    arrays["num_segments"] = clips.num_segments.astype(dtype)
    read = read_clips(write(tmp_path / f"clips{suffix}", arrays))
    np.testing.assert_array_equal(read.num_segments, clips.num_segments)
    assert not read.embeddings[~clips.mask()].any()
    np.testing.assert_array_equal(read.embeddings[4:], clips.embeddings[4:])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_ids_may_be_strings_of_any_kind_or_missing(
    tmp_path: Path, clips: ClipSet, suffix: str
) -> None:
    text = [v.decode() + "é" for v in clips.video_ids]
    encoded = [v.encode() for v in text]
    kinds = {"bytes": np.array(encoded)}
    if suffix == ".npz":
        kinds["str"] = np.array(text)
    else:
        kinds["str"] = np.array(text, h5py.string_dtype())
        kinds["any"] = np.array(encoded, h5py.string_dtype("ascii"))
        kinds["fixed"] = np.array(encoded, h5py.string_dtype("utf-8", 20))
    for name, ids in kinds.items():
        path = write(tmp_path / f"{name}{suffix}", arrays_of(clips) | {"video_id_list": ids})
        assert read_clips(path).video_ids.tolist() == encoded
    arrays = arrays_of(clips)
    del arrays["video_id_list"]
    path = write(tmp_path / f"none{suffix}", arrays)
    numbered = [f"clip{i:07d}".encode() for i in range(20)]
    assert concatenate(chunks_of(path, chunk_size=15)).video_ids.tolist() == numbered


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", ">i2"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_layouts_of_the_same_numbers(
    tmp_path: Path, clips: ClipSet, suffix: str, dtype: str
) -> None:
    arrays = arrays_of(clips)
    arrays["x"] = np.asfortranarray(arrays["x"].astype(">f4"))
    arrays["y"] = np.asfortranarray(arrays["y"].astype(dtype))
    read = read_clips(write(tmp_path / f"clips{suffix}", arrays))
    assert read.embeddings.dtype.isnative  # JAX knows no other byte order
    np.testing.assert_array_equal(read.embeddings, clips.embeddings)
    np.testing.assert_array_equal(read.multi_hot(), clips.multi_hot())


def test_compressed_hdf5_and_other_contents(tmp_path: Path, clips: ClipSet) -> None:
    path = tmp_path / "clips.h5"
    with h5py.File(path, "w") as file:
        for name, array in arrays_of(clips).items():
            file.create_dataset(name, data=array, compression="gzip", chunks=True)
        file.create_group("notes")
    assert_same_clips(read_clips(path), without_start_times(clips))


def test_reads_no_objects_but_strings_and_lets_other_arrays_be(
    tmp_path: Path, clips: ClipSet
) -> None:
    objects = np.array([["any"], {}], object)
    path = write(tmp_path / "a.npz", arrays_of(clips) | {"extra": objects})
    assert_same_clips(read_clips(path), without_start_times(clips))
    ids = np.array([v.decode() for v in clips.video_ids], object)
    path = write(tmp_path / "b.npz", arrays_of(clips) | {"video_id_list": ids})
    assert_same_clips(read_clips(path), without_start_times(clips))
    ids[3] = {}
    path = write(tmp_path / "b.npz", arrays_of(clips) | {"video_id_list": ids})
    with raises_user_error("b.npz, video_id_list", "Python objects", "array of"):
        read_clips(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_arrays_that_are_not_read_are_said_or_refused(
    tmp_path: Path, clips: ClipSet, suffix: str
) -> None:
    def path_of(**more: np.ndarray) -> str:
        return write(tmp_path / f"clips{suffix}", arrays_of(clips) | more)

    extra = {"video_ids": np.arange(20), "Y": np.ones((20, 7)), "hop_length": np.ones(1)}
    assert any("arrays not read: " in note for note in ArrayFile(path_of(**extra)).notes)
    for name in extra:
        assert any(name in note for note in ArrayFile(path_of(**extra)).notes)
    assert not any("not read" in note for note in ArrayFile(path_of()).notes)
    for name in ("mask", "y_mask", "Y_mask", "label_masks", "labels_mask", "Label-Mask", "known"):
        with raises_user_error(f"an array {name}, which is not read", "call it label_mask"):
            read_clips(path_of(**{name: np.ones((20, 7))}))
    for name in ("lengths", "num_segment", "num_frames", "seq_len", "nframes", "frame_mask"):
        with raises_user_error(f"an array {name}, which is not read", "call it num_segments"):
            read_clips(path_of(**{name: np.ones(20)}))
    both = path_of(label_mask=np.ones((20, 7)), mask=np.ones(3))
    assert any("not read: mask" in note for note in ArrayFile(both).notes)


def test_start_times_that_cannot_be_kept_are_refused(tmp_path: Path, clips: ClipSet) -> None:
    for kept in (2**53, -(2**60), 7):
        times = np.full(20, kept)
        arrays = {"x": clips.embeddings, "y": clips.multi_hot(), "start_times": times}
        assert read_clips(write(tmp_path / "a.npz", arrays)).start_times.tolist() == [kept] * 20
        made = ClipSet.from_arrays(clips.embeddings, clips.multi_hot(), start_times=times)
        assert made.start_times.tolist() == [kept] * 20
    arrays["start_times"] = np.full(20, 2**53 + 1)
    with raises_user_error("start_times has 9007199254740993", "float64"):
        read_clips(write(tmp_path / "a.npz", arrays))
    mixed = [0.5] * 19 + [2**53 + 1]
    for wrong in (np.full(20, 2**64 - 1, np.uint64), mixed, np.ones(20) * 1j, ["1"] * 20, 3):
        with raises_user_error("start_times"):
            ClipSet.from_arrays(clips.embeddings, clips.multi_hot(), start_times=wrong)


# What cannot be read.


def without(name: str) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.pop(name) is None


def change(name: str, to: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name: to(arrays[name])})


def add(name: str, array: np.ndarray) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name: array})


MISFITS = {
    "no x": (
        without("x"),
        ["has no array x, only ", "y", "[clips, segments, features]", "[clips, classes]"],
    ),
    "no y": (without("y"), ["has no array y"]),
    "flat x": (change("x", lambda x: x[:, 0, 0]), [", x: it is [20]", "[clips, segments"]),
    "x of large doubles": (
        change("x", lambda x: x + 1e40),
        [", x is of float64", "float32 cannot"],
    ),
    "x of large numbers": (
        change("x", lambda x: x + np.int16(99)),
        [", x is of int16", "uint8 cannot"],
    ),
    "x of bools": (change("x", lambda x: x > 3), [", x: ", "bool"]),
    "one bool": (change("y", lambda y: y[:, 0]), [", y is one column of bool"]),
    "halves": (
        change("y", lambda y: y[:, 0] / 2),
        [", y is one column of float64", "whole numbers"],
    ),
    "names": (
        change("y", lambda y: np.array([b"Dog"] * 20)),
        [", y has the names of 1 classes", "7 are in use"],
    ),
    "deep y": (change("y", lambda y: y[..., None]), [", y: it is [20, 7, 1]"]),
    "y of halves": (change("y", lambda y: y / 2), [", y: row 0, column ", "is 0.5"]),
    "mask of names": (add("label_mask", np.array([b"1"] * 20)), [", label_mask: ", "0 and 1"]),
    "narrow mask": (
        add("label_mask", np.ones((20, 3))),
        ["[20, 3]", "of the label matrix, [20, 7]"],
    ),
    "mask of 2": (add("label_mask", np.full((20, 7), 2)), ["the mask of ", "column 0 is 2"]),
    "y of 2": (change("y", lambda y: 2 * y.astype("i4")), [", y: row 0, column ", "is 2"]),
    "y of -1": (change("y", lambda y: -y.astype("i1")), [", y: row 0, column ", "is -1"]),
    "fewer y": (change("y", lambda y: y[:19]), [", y: it has 19 rows, but x has 20"]),
    "fewer ids": (change("video_id_list", lambda v: v[:3]), [", video_id_list: it has 3 rows"]),
    "ids of numbers": (add("video_id_list", np.arange(20)), [", video_id_list: ", "strings"]),
    "ids in columns": (
        change("video_id_list", lambda v: v[:, None]),
        ["video_id_list: it is [20, 1]"],
    ),
    "lengths of floats": (add("num_segments", np.ones(20)), [", num_segments: ", "integers"]),
    "times of strings": (add("start_times", np.full(20, b"0")), [", start_times: ", "seconds"]),
    "no clips": (lambda a: a.update({k: v[:0] for k, v in a.items()}), [", x: it is empty"]),
    "no classes": (change("y", lambda y: y[:, :0]), [", y: it is empty, [20, 0]"]),
    "no features": (change("x", lambda x: x[..., :0]), [", x: it is empty, [20, 5, 0]"]),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("misfit", MISFITS)
def test_says_what_does_not_fit(tmp_path: Path, clips: ClipSet, misfit: str, suffix: str) -> None:
    spoil, parts = MISFITS[misfit]
    arrays = arrays_of(clips)
    spoil(arrays)
    path = write(tmp_path / f"clips{suffix}", arrays)
    # It is no matter of single clips, so leaving out bad ones is no help.
    for bad_records in ("error", "skip"):
        with raises_user_error(path, *parts):
            read_clips(path, bad_records=bad_records)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_says_which_clips_cannot_be_used_or_leaves_them_out(tmp_path: Path, suffix: str) -> None:
    clips = random_clips(dtype="float32")
    arrays = arrays_of(clips) | {
        "num_segments": np.array(clips.num_segments),
        "start_times": np.array(clips.start_times),
    }
    arrays["x"][3, 0, 1] = np.inf
    arrays["x"][8] = 0
    arrays["video_id_list"][9] = b""
    arrays["start_times"][11] = np.nan
    arrays["num_segments"][[14, 15]] = [0, 6]
    path = write(tmp_path / f"clips{suffix}", arrays)
    skipped: list[Skipped] = []
    read = read_clips(path, skipped, bad_records="skip")
    good = np.setdiff1d(np.arange(20), [3, 8, 9, 11, 14, 15])
    assert_same_clips(read, clips[good])
    ids = [clips.video_ids[i].decode() for i in (3, 8)]
    assert skipped[:3] == [
        (path, 3, ids[0], "it has NaN or infinity in its embedding"),
        (path, 8, ids[1], "its embedding is all zeros, as if it was never filled in"),
        (path, 9, "", "its video_id is empty or ends in a zero byte"),
    ]
    assert [(row, reason) for _, row, _, reason in skipped[3:]] == [
        (11, "its start time is nan"),
        (14, "its num_segments is 0; it must be 1 to 5"),
        (15, "its num_segments is 6; it must be 1 to 5"),
    ]
    with raises_user_error(
        f"{path}, record 3, video id '{ids[0]}': it has NaN", "bad_records=skip"
    ):
        read_clips(path)
    # Rows are counted through the file, not through a chunk.
    rest = write(tmp_path / f"rest{suffix}", {k: v[4:] for k, v in arrays.items()})
    with raises_user_error(f"{rest}, record 4", "all zeros"):
        chunks_of(rest, chunk_size=3)
    arrays["x"][:] = 0
    none = write(tmp_path / f"none{suffix}", arrays)
    with raises_user_error(none, "no record that can be used", "bad_records=error"):
        read_clips(none, bad_records="skip")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_says_that_a_file_is_missing_or_damaged(
    tmp_path: Path, clips: ClipSet, suffix: str
) -> None:
    path = tmp_path / f"clips{suffix}"
    for missing in (str(path), str(tmp_path / f"*{suffix}")):
        with raises_user_error(missing, "does not exist"):
            read_clips(missing)
    whole = Path(write(path, arrays_of(random_clips(num_clips=300)))).read_bytes()
    for content in (b"", b"text", whole[:100], whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        with raises_user_error(str(path), "cannot be read", "damaged"):
            read_clips(path)


def test_hdf5_that_is_being_written_is_not_damaged(tmp_path: Path, clips: ClipSet) -> None:
    path = write(tmp_path / "clips.h5", arrays_of(clips))
    with open(path, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as HDF5 does in the process that writes
        with raises_user_error(f"{path} cannot be read: another process has it open for writing"):
            read_clips(path)
    assert len(read_clips(path)) == len(clips)


def test_notices_damage_inside_an_archive(tmp_path: Path, clips: ClipSet) -> None:
    path = tmp_path / "clips.npz"
    np.savez(path, **arrays_of(clips))
    content = bytearray(path.read_bytes())
    data = np.array(clips.embeddings).tobytes()
    content[content.index(data) + 9] ^= 1
    path.write_bytes(content)
    with raises_user_error(f"{path}, x cannot be read", "CRC"):
        read_clips(path)
    member = tmp_path / "x.npy"
    for extra, part in ((0, "fewer"), (9, "more")):
        np.save(member, clips.embeddings)
        text = member.read_bytes()
        np.savez(path, y=clips.multi_hot())
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("x.npy", text + bytes(extra) if extra else text[:-1])
        with raises_user_error(f"{path}, x cannot be read", part):
            read_clips(path)


def test_notices_damage_inside_hdf5(tmp_path: Path, clips: ClipSet) -> None:
    path = tmp_path / "clips.h5"
    arrays = arrays_of(clips)
    with h5py.File(path, "w") as file:
        file["y"], file["video_id_list"] = arrays["y"], arrays["video_id_list"]
        stored = file.create_dataset("x", data=arrays["x"], chunks=(7, 5, 4), fletcher32=True)
        place = stored.id.get_chunk_info(1).byte_offset
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with raises_user_error(f"{path}, x cannot be read", "damaged"):
        read_clips(path)
    with h5py.File(path, "w") as file:
        file.create_group("x")
        file["y"] = arrays["y"]
    with raises_user_error(f"{path}, x", "not an array"):
        read_clips(path)
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = h5py.Empty("u1"), arrays["y"]
    with raises_user_error(f"{path}, x", "not an array"):
        read_clips(path)


def test_says_what_to_install(
    tmp_path: Path, clips: ClipSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "clips.h5", arrays_of(clips))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with raises_user_error(path, "pip install 'mla_jax[hdf5]'"):
        read_clips(path)


def links(kind: str, file: h5py.File, other: Path) -> None:
    """`x` of `file` as HDF5 lets it lie in `other`, which holds the same array."""
    with h5py.File(other, "r") as source:
        x = source["x"][:]
    if kind == "link":
        file["x"] = h5py.ExternalLink(str(other), "/x")
    elif kind == "link on the way":
        file["g"] = h5py.ExternalLink(str(other), "/")
        file["x"] = h5py.SoftLink("/g/x")
    elif kind == "storage":
        raw = other.with_suffix(".raw")
        raw.write_bytes(x.tobytes())
        size = h5py.h5f.UNLIMITED
        file.create_dataset("x", x.shape, x.dtype, external=[(str(raw), 0, size)])
    else:
        layout = h5py.VirtualLayout(x.shape, x.dtype)
        layout[:] = h5py.VirtualSource(str(other), "x", shape=x.shape)
        file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize("kind", ["link", "link on the way", "storage", "virtual"])
def test_hdf5_that_leads_to_another_file(tmp_path: Path, clips: ClipSet, kind: str) -> None:
    (tmp_path / "private").mkdir()
    other = tmp_path / "private" / "other.h5"
    path = tmp_path / "clips.h5"
    with h5py.File(other, "w") as file:
        file["x"] = clips.embeddings
    with h5py.File(path, "w") as file:
        file["y"] = clips.multi_hot()
        links(kind, file, other)
    with h5py.File(path) as file:  # h5py itself would follow it
        np.testing.assert_array_equal(file["x"][:], clips.embeddings)
    with raises_user_error(f"{path}, x: ", "lie in another file"):
        read_clips(path)
    if kind == "link":  # it is not even looked for
        other.unlink()
        with raises_user_error(f"{path}, x: ", "lie in another file"):
            read_clips(path)


def test_an_archive_with_a_damaged_list(tmp_path: Path, clips: ClipSet) -> None:
    """Its arrays' names stand twice in it; a flipped length makes one entry of the list swallow the next."""
    path = tmp_path / "clips.npz"
    np.savez(path, **arrays_of(clips))
    whole = path.read_bytes()
    name = b"video_id_list.npy"
    assert whole.count(name) == 2
    for place in (whole.index(name), whole.rindex(name)):
        path.write_bytes(whole[:place] + b"V" + whole[place + 1 :])
        with raises_user_error(f"{path} cannot be read", "damaged"):
            read_clips(path)
    content = bytearray(whole)
    last, before = (content.rfind(b"PK\1\2", 0, end) for end in (None, content.rfind(b"PK\1\2")))
    content[before + 32] = len(content) - 22 - last  # of the comment of y.npy
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["x.npy", "y.npy"]
    with raises_user_error(f"{path} cannot be read", "it lists 2 arrays where 3 were written"):
        read_clips(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_clips_that_are_only_tagged_need_no_labels(tmp_path: Path, suffix: str) -> None:
    x = np.random.default_rng(0).integers(1, 256, (5, 3, 4)).astype(np.uint8)
    without_y = write(tmp_path / f"x{suffix}", {"x": x})
    without_labels = write(tmp_path / f"y{suffix}", {"x": x, "y": np.zeros((5, 7), bool)})
    with raises_user_error("has no array y"):
        read_clips(without_y)
    for path in (without_y, without_labels):
        clips = read_clips(path, needs_labels=False)
        assert_same_clips(clips, ClipSet.from_arrays(x, [[]] * 5, num_classes=7))


# The release.


@pytest.mark.audioset
@pytest.mark.parametrize(("split", "num_short"), [("bal_train", 378), ("eval", 395)])
def test_the_release_by_way_of_hdf5(
    audioset_dir: Path, tmp_path: Path, split: str, num_short: int
) -> None:
    """The originals' format loses the lengths and start times; the lengths come back exactly."""
    clips = read_clips(audioset_dir / split, num_classes=527, max_segments=10)
    path = write(tmp_path / "packed.h5", arrays_of(clips))
    read = read_clips(path, num_classes=ArrayFile(path).shape.classes)
    assert (read.num_segments < 10).sum() == num_short
    assert clips.embeddings[clips.mask()].any(axis=1).all()
    assert read.start_times.tolist() == [0.0] * len(clips)
    for name in ("embeddings", "num_segments", "label_offsets", "label_ids", "video_ids"):
        np.testing.assert_array_equal(getattr(read, name), getattr(clips, name), strict=True)
    assert read.num_classes == clips.num_classes
    assert not read.embedding.difference(clips.embedding)
