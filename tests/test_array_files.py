"""HDF5 and .npz files of arrays: the same clips as records give, and what is said of unfit files."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mla_jax.config import DataConfig
from mla_jax.data import array_files, packed, packing, record_writer, records, sources
from mla_jax.data.clips import ClipSet
from mla_jax.data.labels import FILE_NAME, ClassList
from tests.helpers import assert_same_clips, raises_user_error, random_clips

ROOT = Path(__file__).parent.parent
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
    read = array_files.read_array_file(path)
    assert_same_clips(read, without_start_times(clips))
    read.check_values()
    assert array_files.read_shape(path) == (20, 5, 4, 7)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("chunk_size", [1, 7, 20, 4096])
def test_the_size_of_chunks_does_not_matter(
    tmp_path: Path, clips: ClipSet, suffix: str, chunk_size: int
) -> None:
    arrays = arrays_of(clips) | {"start_times": clips.start_times.astype(np.float64)}
    path = write(tmp_path / f"clips{suffix}", arrays)
    chunks = list(array_files.read_array_chunks(path, chunk_size=chunk_size))
    assert [len(c) for c in chunks[:-1]] == [min(chunk_size, 20)] * (len(chunks) - 1)
    assert_same_clips(array_files.concatenate(chunks), clips)


def test_clips_of_many_bytes_come_in_smaller_chunks(tmp_path: Path, clips: ClipSet) -> None:
    path = write(tmp_path / "clips.npz", arrays_of(clips))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_files, "_BLOCK_BYTES", 3 * (5 * 4 + 7))
        chunks = list(array_files.read_array_chunks(path))
    assert [len(chunk) for chunk in chunks] == [3] * 6 + [2]
    assert_same_clips(array_files.concatenate(chunks), without_start_times(clips))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_lengths_are_found_by_the_zero_vectors_at_the_end(tmp_path: Path, suffix: str) -> None:
    x = np.zeros((4, 3, 2), np.uint8)
    x[0] = 1  # full
    x[1, 0] = x[1, 2] = [0, 9]  # a zero vector between others is real
    x[2, 1, 1] = 1  # and so is one at the start
    path = write(tmp_path / f"clips{suffix}", {"x": x, "y": np.ones((4, 1), bool)})
    assert array_files.read_array_file(path).num_segments.tolist() == [3, 3, 2, 1]
    floats = np.where(x > 0, np.float32(-1e-30), np.float32(-0.0))
    path = write(tmp_path / f"floats{suffix}", {"x": floats, "y": np.ones((4, 1), bool)})
    assert array_files.read_array_file(path).num_segments.tolist() == [3, 3, 2, 1]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", ["int8", "int64", "uint64"])
def test_lengths_that_are_stated_hold(tmp_path: Path, suffix: str, dtype: str) -> None:
    clips = random_clips(dtype="float32")
    arrays = arrays_of(clips)
    arrays["x"][~clips.mask()] = np.nan  # what fills a clip up may be anything
    arrays["x"][3, : clips.num_segments[3]] = 0
    arrays["num_segments"] = clips.num_segments.astype(dtype)
    read = array_files.read_array_file(write(tmp_path / f"clips{suffix}", arrays))
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
        assert array_files.read_array_file(path).video_ids.tolist() == encoded
    arrays = arrays_of(clips)
    del arrays["video_id_list"]
    path = write(tmp_path / f"none{suffix}", arrays)
    chunks = list(array_files.read_array_chunks(path, chunk_size=15))
    numbered = [f"clip{i:07d}".encode() for i in range(20)]
    assert array_files.concatenate(chunks).video_ids.tolist() == numbered


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", ">i2"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_layouts_of_the_same_numbers(
    tmp_path: Path, clips: ClipSet, suffix: str, dtype: str
) -> None:
    arrays = arrays_of(clips)
    arrays["x"] = np.asfortranarray(arrays["x"].astype(">f4"))
    arrays["y"] = np.asfortranarray(arrays["y"].astype(dtype))
    (read,) = array_files.read_array_chunks(write(tmp_path / f"clips{suffix}", arrays))
    assert read.embeddings.dtype.isnative  # JAX knows no other byte order
    np.testing.assert_array_equal(read.embeddings, clips.embeddings)
    np.testing.assert_array_equal(read.multi_hot(), clips.multi_hot())


def test_compressed_hdf5_and_other_contents(tmp_path: Path, clips: ClipSet) -> None:
    path = tmp_path / "clips.h5"
    with h5py.File(path, "w") as file:
        for name, array in arrays_of(clips).items():
            file.create_dataset(name, data=array, compression="gzip", chunks=True)
        file.create_group("notes")
    assert_same_clips(array_files.read_array_file(path), without_start_times(clips))


def test_reads_no_object_arrays_but_lets_others_be(tmp_path: Path, clips: ClipSet) -> None:
    objects = np.array([["any"], {}], object)
    path = write(tmp_path / "a.npz", arrays_of(clips) | {"extra": objects})
    assert_same_clips(array_files.read_array_file(path), without_start_times(clips))
    ids = np.array([v.decode() for v in clips.video_ids], object)
    path = write(tmp_path / "b.npz", arrays_of(clips) | {"video_id_list": ids})
    with raises_user_error("b.npz, video_id_list", "Python objects", "array of"):
        array_files.read_array_file(path)


# What cannot be read.


def without(name: str) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.pop(name) is None


def change(name: str, to: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name: to(arrays[name])})


def add(name: str, array: np.ndarray) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name: array})


MISFITS = {
    "no x": (without("x"), ["has no array x", "[clips, segments, features]", "[clips, classes]"]),
    "no y": (without("y"), ["has no array y"]),
    "flat x": (change("x", lambda x: x[:, 0]), [", x: it is [20, 4]", "[clips, segments"]),
    "x of doubles": (change("x", lambda x: x.astype(float)), [", x: ", "float64", "float32"]),
    "x of bools": (change("x", lambda x: x > 3), [", x: ", "bool"]),
    "flat y": (change("y", lambda y: y[:, 0]), [", y: it is [20]", "[clips, classes]"]),
    "deep y": (change("y", lambda y: y[..., None]), [", y: it is [20, 7, 1]"]),
    "y of floats": (change("y", lambda y: y.astype("f4")), [", y: ", "float32", "bool"]),
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
            array_files.read_array_file(path, bad_records=bad_records)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_says_which_clips_cannot_be_used_or_leaves_them_out(tmp_path: Path, suffix: str) -> None:
    clips = random_clips(dtype="float32")
    arrays = arrays_of(clips) | {
        "num_segments": np.array(clips.num_segments),
        "start_times": np.array(clips.start_times),
    }
    arrays["x"][3, 0, 1] = np.inf
    arrays["y"][8] = False
    arrays["video_id_list"][9] = b""
    arrays["start_times"][11] = np.nan
    arrays["num_segments"][[14, 15]] = [0, 6]
    path = write(tmp_path / f"clips{suffix}", arrays)
    skipped: list[array_files.Skipped] = []
    read = array_files.read_array_file(path, bad_records="skip", skipped=skipped)
    good = np.setdiff1d(np.arange(20), [3, 8, 9, 11, 14, 15])
    assert_same_clips(read, clips[good])
    ids = [clips.video_ids[i].decode() for i in (3, 8)]
    assert skipped[:3] == [
        (path, 3, ids[0], "it has NaN or infinity in its embedding"),
        (path, 8, ids[1], "it has no label"),
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
        array_files.read_array_file(path)
    # Rows are counted through the file, not through a chunk.
    rest = write(tmp_path / f"rest{suffix}", {k: v[4:] for k, v in arrays.items()})
    with raises_user_error(f"{rest}, record 4", "no label"):
        list(array_files.read_array_chunks(rest, chunk_size=3))
    arrays["y"][:] = False
    none = write(tmp_path / f"none{suffix}", arrays)
    with raises_user_error(none, "no clip that can be used", "bad_records=error"):
        array_files.read_array_file(none, bad_records="skip")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_says_that_a_file_is_missing_or_damaged(
    tmp_path: Path, clips: ClipSet, suffix: str
) -> None:
    path = tmp_path / f"clips{suffix}"
    for missing in (str(path), str(tmp_path / f"*{suffix}")):
        with raises_user_error(missing, "does not exist"):
            array_files.read_array_file(missing)
    whole = Path(write(path, arrays_of(random_clips(num_clips=300)))).read_bytes()
    for content in (b"", b"text", whole[:100], whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(content)
        with raises_user_error(str(path), "cannot be read", "damaged"):
            array_files.read_array_file(path)


def test_notices_damage_inside_an_archive(tmp_path: Path, clips: ClipSet) -> None:
    path = tmp_path / "clips.npz"
    np.savez(path, **arrays_of(clips))
    content = bytearray(path.read_bytes())
    data = np.array(clips.embeddings).tobytes()
    content[content.index(data) + 9] ^= 1
    path.write_bytes(content)
    with raises_user_error(f"{path}, x cannot be read", "CRC"):
        array_files.read_array_file(path)
    member = tmp_path / "x.npy"
    for extra, part in ((0, "fewer"), (9, "more")):
        np.save(member, clips.embeddings)
        text = member.read_bytes()
        np.savez(path, y=clips.multi_hot())
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("x.npy", text + bytes(extra) if extra else text[:-1])
        with raises_user_error(f"{path}, x cannot be read", part):
            array_files.read_array_file(path)


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
        array_files.read_array_file(path)
    with h5py.File(path, "w") as file:
        file.create_group("x")
        file["y"] = arrays["y"]
    with raises_user_error(f"{path}, x", "not an array"):
        array_files.read_array_file(path)
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = h5py.Empty("u1"), arrays["y"]
    with raises_user_error(f"{path}, x", "not an array"):
        array_files.read_array_file(path)


def test_says_what_to_install(
    tmp_path: Path, clips: ClipSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "clips.h5", arrays_of(clips))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with raises_user_error(path, "pip install 'mla_jax[hdf5]'"):
        array_files.read_array_file(path)


# Wherever a data path is taken.


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_opens_the_same_clips_as_packed(tmp_path: Path, clips: ClipSet, suffix: str) -> None:
    clips = without_start_times(clips)
    path = write(tmp_path / f"clips{suffix}", arrays_of(clips))
    as_packed = packed.pack([clips], tmp_path / "packed")
    config = DataConfig(max_segments=3)  # of records only
    num_classes = sources.count_classes(config, None, path)
    assert num_classes == 7
    assert_same_clips(sources.open_clips(path, config, num_classes), as_packed)
    with raises_user_error(f"{path}, y: it has 7 columns, but 8 classes are in use"):
        sources.open_clips(path, config, 8)
    (tmp_path / FILE_NAME).write_text(ClassList.numbered(7).to_csv())
    assert sources.find_classes(config, path) == ClassList.numbered(7)
    missing = str(tmp_path / f"missing{suffix}")
    for opening in (sources.count_classes, lambda c, _, p: sources.open_clips(p, c, 7)):
        with raises_user_error(missing, "does not exist"):
            opening(config, None, missing)


def test_what_is_left_out_is_logged(
    tmp_path: Path, clips: ClipSet, caplog: pytest.LogCaptureFixture
) -> None:
    arrays = arrays_of(clips)
    path = write(tmp_path / "good.h5", arrays)
    sources.open_clips(path, DataConfig(), 7)
    assert not caplog.messages
    arrays["y"][[2, 6]] = False
    path = write(tmp_path / "bad.h5", arrays)
    read = sources.open_clips(path, DataConfig(bad_records="skip"), 7)
    assert len(read) == 18
    (message,) = caplog.messages
    assert message.startswith(f"{path}: 2 bad records left out")
    assert message.endswith("record 2: it has no label")


def test_a_folder_may_have_any_name(tmp_path: Path, clips: ClipSet) -> None:
    by_id = clips[np.argsort(clips.video_ids)]
    record_writer.write_records(by_id, tmp_path / "records.h5")
    packed.pack([clips], tmp_path / "packed.npz")
    for name in ("records.h5", "packed.npz"):
        opened = sources.open_clips(str(tmp_path / name), DataConfig(max_segments=5), 7)
        assert_same_clips(opened[np.argsort(opened.video_ids)], by_id)


def test_packs_and_gives_an_account(tmp_path: Path, clips: ClipSet) -> None:
    arrays = arrays_of(clips)
    arrays["y"][5] = False
    path = write(tmp_path / "clips.h5", arrays)
    lines = packing.pack_records(path, tmp_path / "out", DataConfig(bad_records="skip"))
    good = np.setdiff1d(np.arange(20), [5])
    assert_same_clips(packed.open_packed(tmp_path / "out"), without_start_times(clips)[good])
    assert lines[1:3] == [
        "files                1",
        "clips                19, of 5 segments x 4 features, uint8",
    ]
    video_id = clips.video_ids[5].decode()
    assert lines[-2:] == [
        "skipped records      1",
        f"  {path}, record 5 ({video_id}): it has no label",
    ]
    source = json.loads((tmp_path / "out" / packed.MANIFEST).read_text())["source"]
    assert source == {
        "input": path,
        "files": 1,
        "skipped": [[path, 5, video_id, "it has no label"]],
    }
    with raises_user_error(f"{path}, record 5", "no label"):
        packing.pack_records(path, tmp_path / "strict", DataConfig())
    assert not (tmp_path / "strict").exists()


def test_the_command_packs_without_tensorflow(tmp_path: Path, clips: ClipSet) -> None:
    path = write(tmp_path / "clips.h5", arrays_of(clips))
    classes = ClassList(tuple(f"/m/{k}" for k in range(7)), tuple("ABCDEFG"))
    (tmp_path / FILE_NAME).write_text(classes.to_csv())
    program = (
        "import sys\n"
        "from experiments import cli, prepare_data\n"
        "def main():\n"
        "    prepare_data.main()\n"
        "    assert 'tensorflow' not in sys.modules\n"
        "cli.run(main)\n"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, f"--input={path}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)

    done = run(f"--output={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert "files                1\nclips                20, of 5 segments" in done.stdout
    assert "of 7 classes\n" in done.stdout
    assert done.stdout.endswith("skipped records      0\n")
    assert_same_clips(packed.open_packed(tmp_path / "out"), without_start_times(clips))
    assert ClassList.read(tmp_path / "out" / FILE_NAME) == classes
    Path(path).write_bytes(b"")
    done = run(f"--output={tmp_path / 'again'}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"{path} cannot be read" in done.stderr.splitlines()[-1]


# The release.


@pytest.mark.audioset
@pytest.mark.parametrize(("split", "num_short"), [("bal_train", 378), ("eval", 395)])
def test_the_release_by_way_of_hdf5(
    audioset_dir: Path, tmp_path: Path, split: str, num_short: int
) -> None:
    """The originals' format loses the lengths and start times; the lengths come back exactly."""
    files = records.find_record_files(str(audioset_dir / split))
    clips = array_files.concatenate(list(records.read_records(files, num_classes=527)))
    path = write(tmp_path / "packed.h5", arrays_of(clips))
    read = sources.open_clips(path, DataConfig(), sources.count_classes(DataConfig(), None, path))
    assert (read.num_segments < 10).sum() == num_short
    assert clips.embeddings[clips.mask()].any(axis=1).all()
    assert read.start_times.tolist() == [0.0] * len(clips)
    for name in ("embeddings", "num_segments", "label_offsets", "label_ids", "video_ids"):
        np.testing.assert_array_equal(getattr(read, name), getattr(clips, name), strict=True)
    assert (read.num_classes, read.scaling) == (clips.num_classes, clips.scaling)


def test_clips_that_are_only_tagged_need_no_labels(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(1, 256, (5, 3, 4)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", x=x)
    with raises_user_error("has no array y"):
        array_files.read_array_file(tmp_path / "x.npz", num_classes=7)
    np.savez(tmp_path / "y.npz", x=x, y=np.zeros((5, 7), bool))
    with raises_user_error("it has no label"):
        array_files.read_array_file(tmp_path / "y.npz", num_classes=7)
    expected = ClipSet.from_arrays(x, [[]] * 5, num_classes=7)
    for name in ("x.npz", "y.npz"):
        clips = sources.open_clips(str(tmp_path / name), DataConfig(), 7, needs_labels=False)
        assert_same_clips(clips, expected)
    folder = tmp_path / "records"
    record_writer.write_records(expected, folder)
    with raises_user_error("it has no label"):
        sources.open_clips(str(folder), DataConfig(max_segments=3), 7)
    read = sources.open_clips(str(folder), DataConfig(max_segments=3), 7, needs_labels=False)
    assert sorted(read.video_ids.tolist()) == sorted(expected.video_ids.tolist())
    assert read.label_ids.size == 0
