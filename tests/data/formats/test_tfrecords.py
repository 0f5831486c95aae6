"""Reading records: round trips, TensorFlow's own parser, order, memory, and the release."""

import csv
import dataclasses
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.data.formats import record_batches
from mla_jax.data.formats.format import ReadOptions
from mla_jax.data.formats.frames import read_frames
from mla_jax.data.formats.record_writer import write_records
from mla_jax.data.formats.tfrecords import RecordFiles
from mla_jax.data.sources import stream_clips
from mla_jax.data.tensorflow import tf
from tests.support.helpers import (
    assert_same_clips,
    in_order_of_files,
    raises_user_error,
    random_clips,
    read_clips,
)
from tests.support.records import message, payload, write_file


def parse_with_tensorflow(files: Sequence[Path], dtype: Any, features: int) -> Any:
    """Each record by `tf.io.parse_single_sequence_example`, as NumPy: the independent reference."""
    if dtype == np.uint8:
        embedding = tf.io.FixedLenSequenceFeature([], tf.string)
    else:
        embedding = tf.io.FixedLenSequenceFeature([features], tf.float32)

    def parse(record: Any) -> Any:
        context, lists = tf.io.parse_single_sequence_example(
            record,
            {
                "video_id": tf.io.FixedLenFeature([], tf.string),
                "start_time_seconds": tf.io.FixedLenFeature([], tf.float32),
                "labels": tf.io.VarLenFeature(tf.int64),
            },
            {"audio_embedding": embedding},
        )
        vectors = lists["audio_embedding"]
        if dtype == np.uint8:
            vectors = tf.io.decode_raw(vectors, tf.uint8)
        values = tf.sparse.to_dense(context["labels"])
        return context["video_id"], context["start_time_seconds"], values, vectors

    dataset = tf.data.TFRecordDataset([str(path) for path in files])
    return dataset.map(parse, num_parallel_calls=2).prefetch(64).as_numpy_iterator()


def assert_same_as_tensorflow(clips: ClipSet, files: Sequence[Path]) -> None:
    count = 0
    reference = parse_with_tensorflow(files, clips.embeddings.dtype, clips.num_features)
    for i, (video_id, start, label_ids, vectors) in enumerate(reference):
        assert clips.video_ids[i] == video_id
        assert clips.start_times[i] == start
        assert clips.labels_of(i) == sorted(label_ids.tolist())
        assert clips.num_segments[i] == len(vectors)
        padded = np.zeros_like(clips.embeddings[i])
        padded[: len(vectors)] = vectors
        assert clips.embeddings.dtype == vectors.dtype
        assert clips.embeddings[i].tobytes() == padded.tobytes()
        count += 1
    assert count == len(clips)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16"])
def test_round_trip(tmp_path: Path, dtype: str) -> None:
    clips = in_order_of_files(random_clips(num_clips=40, dtype=dtype))
    files = write_records(clips, tmp_path)
    if dtype == "float16":  # reads back as the same float32
        embedding = dataclasses.replace(clips.embedding, dtype="float32")
        floats = clips.embeddings.astype(np.float32)
        clips = dataclasses.replace(clips, embeddings=floats, embedding=embedding)
    read = read_clips(tmp_path)
    assert_same_clips(read, clips)
    assert_same_as_tensorflow(read, files)


def test_another_time_axis(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for k in range(3):
        write_file(
            tmp_path / f"{k}.tfrecord",
            [
                payload(
                    b"id%d" % i,
                    start=float(i),
                    label_ids=rng.permutation(7)[: rng.integers(1, 8)].tolist(),
                    segments=rng.normal(size=(rng.integers(1, 26), 5)).tolist(),
                )
                for i in range(20)
            ],
        )
    clips = read_clips(tmp_path, max_segments=25, chunk_size=13)
    assert clips.embeddings.shape == (60, 25, 5)
    assert_same_as_tensorflow(clips, sorted(tmp_path.iterdir()))


def test_labels_in_any_order_and_features_of_no_use(tmp_path: Path) -> None:
    example = message(label_ids=(6, 0, 3))
    example.context.feature["end_time_seconds"].float_list.value.append(40.0)
    example.context.feature["comment"].bytes_list.value.append(b"mine")
    example.feature_lists.feature_list["rgb"].feature.add().bytes_list.value.append(b"x")
    clips = read_clips(write_file(tmp_path / "a", [example.SerializeToString()]))
    assert clips.labels_of(0) == [0, 3, 6]
    assert clips.video_ids.tolist() == [b"the_video"]
    assert clips.start_times.tolist() == [30.0]
    assert clips.embeddings[0, :2].tobytes() == b"abcdefgh"
    assert not clips.embeddings[0, 2:].any()


def test_finds_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = ["--.tfrecord", "-0.tfrecord", "AB.tfrecord", "_a.tfrecord", "ab.tfrecord"]
    for name in [*reversed(names), "notes.txt"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.tfrecord").mkdir()
    paths = [tmp_path / name for name in names]
    assert RecordFiles(str(tmp_path)).paths == paths
    assert RecordFiles(str(tmp_path / "-*.tfrecord")).paths == paths[:2]
    assert RecordFiles(str(paths[0])).paths == paths[:1]
    for nothing in (str(tmp_path / "folder.tfrecord"), str(tmp_path / "none*")):
        with raises_user_error(f"no record files at {nothing}; give a folder"):
            RecordFiles(nothing)


@pytest.fixture(scope="module")
def many_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ClipSet]:
    """More files than are read at once, of a clip or two each."""
    clips = random_clips(num_clips=400)
    ids = np.array([f"{i * 7 % 300:03d}"[::-1] for i in range(400)], "S3")
    clips = dataclasses.replace(clips, video_ids=np.char.add(ids, b"-"))
    clips = clips[np.argsort(clips.video_ids, kind="stable")]
    folder = tmp_path_factory.mktemp("many")
    for name in np.unique(clips.video_ids):
        (file,) = write_records(clips[clips.video_ids == name], folder / "one")
        file.rename(folder / f"{name.decode()}.tfrecord")
    (folder / "one").rmdir()
    return folder, clips


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
def test_order_does_not_depend_on_chunks(many_files: tuple[Path, ClipSet], chunk_size: int) -> None:
    folder, clips = many_files
    stream = stream_clips(str(folder), ReadOptions(7, max_segments=5, chunk_size=chunk_size))
    chunks = list(stream.chunks)
    assert_same_clips(concatenate(chunks), clips)
    sizes = [len(chunk) for chunk in chunks]
    assert max(sizes) == min(chunk_size, 400)
    assert min(sizes[:-1], default=chunk_size) == chunk_size
    assert (stream.clips, stream.files, stream.place) == (400, 300, "file 300 of 300")
    assert not stream.skipped


def test_clips_of_any_length_come_in_chunks_of_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a time axis of their own, chunks are padded to their longest clip."""
    monkeypatch.setattr(record_batches, "CHUNK_BYTES", 40_000)
    rng = np.random.default_rng(0)
    lengths = [3, 1, 2, 2000, 5, 4, 9000, 1, 3]
    vectors = [rng.integers(1, 256, (n, 4), np.uint8) for n in lengths]
    path = write_file(
        tmp_path / "a",
        [payload(b"%d" % i, segments=[v.tobytes() for v in x]) for i, x in enumerate(vectors)],
    )
    assert max(len(frame.payload) for frame in read_frames([path])) > 40_000
    stream = stream_clips(str(path), ReadOptions(7, max_segments=None))
    assert (stream.total, stream.time) == (0, 0)
    chunks = list(stream.chunks)
    assert [len(chunk) for chunk in chunks] == [3, 1, 2, 1, 2]
    assert [chunk.max_segments for chunk in chunks] == [3, 2000, 5, 9000, 3]
    found = [c.embeddings[i, : c.num_segments[i]] for c in chunks for i in range(len(c))]
    for got, wanted in zip(found, vectors, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_long_clips(tmp_path: Path) -> None:
    long = payload(b"long", segments=[bytes([i] * 4) for i in range(7)])
    path = write_file(tmp_path / "a", [payload(), long, payload()])
    with raises_user_error(f"{path}, record 1, video id 'long': it has 7 segments, more than 5"):
        read_clips(path)
    stream = stream_clips(str(path), ReadOptions(7, max_segments=5, long_clips="crop"))
    (clips,) = stream.chunks
    assert (stream.clips, stream.cropped, stream.skipped) == (3, 1, [])
    assert clips.num_segments.tolist() == [2, 5, 2]
    assert clips.embeddings[1, :, 0].tolist() == list(range(5))
    assert read_clips(path, max_segments=7).num_segments.tolist() == [2, 7, 2]


def test_a_large_file_is_read_in_pieces(tmp_path: Path) -> None:
    segments = [bytes([k]) * 5000 for k in range(5)]
    path = write_file(tmp_path / "a", [payload(b"%d" % i, segments=segments) for i in range(40)])
    assert path.stat().st_size > 900_000  # of which the first quarter is read ahead
    clips = read_clips(path, chunk_size=16)
    assert clips.video_ids.tolist() == [b"%d" % i for i in range(40)]
    assert (clips.embeddings == np.arange(5, dtype=np.uint8)[:, None]).all()


class SlowPath(type(Path())):  # type: ignore[misc]
    """A file that takes as long to open as one in a mounted bucket."""

    opening: ClassVar[set[int]] = set()
    most: ClassVar[int] = 0

    def open(self, *args: Any, **options: Any) -> Any:
        """Counts how many threads open files at the same time."""
        self.opening.add(threading.get_ident())
        type(self).most = max(self.most, len(self.opening))
        time.sleep(0.01)
        self.opening.discard(threading.get_ident())
        return super().open(*args, **options)


def test_files_that_open_slowly_are_opened_together(tmp_path: Path) -> None:
    paths = [write_file(tmp_path / f"{i:03d}", [payload(b"%d" % i)] * 2) for i in range(300)]
    frames = list(read_frames([SlowPath(path) for path in paths]))
    assert [(frame.path, frame.number) for frame in frames] == [
        (p, k) for p in paths for k in (0, 1)
    ]
    assert not any(frame.fault for frame in frames)
    assert SlowPath.most > 8


@pytest.mark.parametrize(
    "options",
    [{"num_classes": 0}, {"max_segments": 0}, {"chunk_size": 0}, {"long_clips": "cut"},
     {"bad_records": "ignore"}],
)  # fmt: skip
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with raises_user_error(f"{next(iter(options))} is ", "it must be"):
        ReadOptions(**{"num_classes": 3, **options})


# The process.


def run(program: str, *arguments: Any) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)


@pytest.mark.slow
def test_a_process_ends_that_has_not_read_to_the_end(
    many_files: tuple[Path, ClipSet], tmp_path: Path
) -> None:
    """While TensorFlow reads ahead, in a thread that runs Python; what it imports says nothing.

    Importing takes longest, so the process that is interrupted is a fork, made before TensorFlow runs.
    """
    program = """
import os, signal, sys, threading, time, warnings
from mla_jax.data.formats.format import ReadOptions
from mla_jax.data.sources import stream_clips
from mla_jax.data.tensorflow import tf
def read(chunk_size):
    return stream_clips(sys.argv[1], ReadOptions(7, max_segments=5, chunk_size=chunk_size)).chunks
def interrupt():
    time.sleep(0.1)
    while True:  # Python drops interruptions of destructors
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(3)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer Pythons warn of forks
    child = os.fork()
if child == 0:
    signal.alarm(80)
    os.dup2(os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT), 2)
    assert len(next(read(20))) == 20
    threading.Thread(target=interrupt, daemon=True).start()
    while True:
        list(read(1))
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == -signal.SIGINT, status
assert not tf.config.get_visible_devices("GPU")
chunks = read(20)
assert len(next(chunks)) == 20
"""
    done = run(program, many_files[0], tmp_path / "interrupted")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "interrupted").read_text().endswith("KeyboardInterrupt\n")


# The release.


@pytest.fixture(scope="module")
def release(audioset_dir: Path) -> dict[str, ClipSet]:
    return {
        split: read_clips(audioset_dir / split, num_classes=527, max_segments=10)
        for split in ("bal_train", "eval")
    }


@pytest.mark.audioset
@pytest.mark.parametrize(
    ("split", "list_name", "num_files", "num_clips", "num_short", "num_labels"),
    [
        ("bal_train", "balanced_train_segments", 4070, 22160, 378, 52882),
        ("eval", "eval_segments", 4062, 20371, 395, 51804),
    ],
)
def test_release_against_its_lists(
    audioset_dir: Path,
    release: dict[str, ClipSet],
    split: str,
    list_name: str,
    num_files: int,
    num_clips: int,
    num_short: int,
    num_labels: int,
) -> None:
    clips = release[split]
    assert RecordFiles(str(audioset_dir / split)).files == num_files
    assert len(clips) == num_clips
    assert (clips.num_segments < 10).sum() == num_short
    assert len(clips.label_ids) == num_labels
    clips.check_values()
    classes = ClassList.read(audioset_dir / "csv" / FILE_NAME)
    index = {mid: k for k, mid in enumerate(classes.mids)}
    with open(audioset_dir / "csv" / f"{list_name}.csv", encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.reader(lines, skipinitialspace=True) if row[0][0] != "#"]
    listed = {
        row[0]: (np.float32(row[1]), sorted(index[mid] for mid in row[3].split(",")))
        for row in rows
    }
    found = {
        clips.video_ids[i].decode(): (clips.start_times[i], clips.labels_of(i))
        for i in range(len(clips))
    }
    assert len(rows) == len(listed) == len(found) == num_clips
    assert found == listed


@pytest.mark.audioset
@pytest.mark.parametrize(
    ("split", "num_files"),
    [
        ("eval", 800),
        *(pytest.param(s, None, marks=pytest.mark.slow) for s in ("eval", "bal_train")),
    ],
)
def test_release_is_what_tensorflow_parses(
    audioset_dir: Path, release: dict[str, ClipSet], split: str, num_files: int | None
) -> None:
    paths = RecordFiles(str(audioset_dir / split)).paths[:num_files]
    num_clips = sum(1 for _ in read_frames(paths))
    assert_same_as_tensorflow(release[split][:num_clips], paths)


@pytest.mark.audioset
def test_release_round_trip(
    audioset_dir: Path, release: dict[str, ClipSet], tmp_path: Path
) -> None:
    first = release["bal_train"][:3000]
    written = write_records(first, tmp_path)
    names = sorted(path.name for path in (audioset_dir / "bal_train").glob("*.tfrecord"))
    assert [path.name for path in written] == names[: len(written)]
    assert_same_clips(read_clips(tmp_path, num_classes=527, max_segments=10), first)


# Records of other programs.


def written_by_vggish(path: Path, num_records: int = 3) -> Path:
    """As VGGish's demonstration writes records: a feature list, and nothing else."""
    examples = [message(video_id=None, start=None, label_ids=()) for _ in range(num_records)]
    for k, example in enumerate(examples):
        example.context.Clear()
        example.feature_lists.feature_list["audio_embedding"].feature[0].bytes_list.value[0] = (
            b"abc%d" % k
        )
    return write_file(path, [example.SerializeToString() for example in examples])


def test_records_of_nothing_but_embeddings_can_be_tagged(tmp_path: Path) -> None:
    for name in ("x/one.tfrecord", "y/one.tfrecord"):
        (tmp_path / name).parent.mkdir()
        written_by_vggish(tmp_path / name)
    pattern = str(tmp_path / "*" / "*.tfrecord")
    stream = stream_clips(pattern, ReadOptions(7, needs_labels=False, chunk_size=2))
    chunks = list(stream.chunks)
    ids = np.concatenate([chunk.video_ids for chunk in chunks])
    assert ids.tolist() == [b"%s/one-%d" % (f, k) for f in (b"x", b"y") for k in range(3)]
    assert [bytes(chunk.embeddings[0, 0]) for chunk in chunks] == [b"abc0", b"abc2", b"abc1"]
    assert not any(chunk.start_times.any() for chunk in chunks)
    assert [note.partition(": ")[2] for note in stream.notes] == [
        "6 records have no id, and are called by file and number",
        "6 records have no start time, and begin at 0",
    ]
    with raises_user_error("record 0", "0 values of video_id"):
        read_clips(pattern)


def test_records_without_ids_are_told_apart_over_shards(tmp_path: Path) -> None:
    for shard in range(2):
        written_by_vggish(tmp_path / f"one.tfrecord-0000{shard}-of-00002")
    stream = stream_clips(str(tmp_path), ReadOptions(7, needs_labels=False))
    ids = np.concatenate([chunk.video_ids for chunk in stream.chunks])
    assert len(set(ids.tolist())) == len(ids) == 6


def written_by_youtube8m(path: Path) -> Path:
    examples = []
    for k in range(3):
        example = message(video_id=None, start=None, segments=(), label_ids=(k, k + 1))
        example.context.feature["id"].bytes_list.value.append(b"yt%d" % k)
        for name, size in (("rgb", 8), ("audio", 4)):
            for t in range(k + 1):
                value = bytes([10 * k + t + 1] * size)
                example.feature_lists.feature_list[name].feature.add().bytes_list.value.append(
                    value
                )
        examples.append(example.SerializeToString())
    return write_file(path, examples)


@pytest.mark.parametrize(("feature", "size"), [("audio", 4), ("rgb", 8)])
def test_records_of_youtube8m(tmp_path: Path, feature: str, size: int) -> None:
    """They have an `id`, no start time, and feature lists of other names."""
    written_by_youtube8m(tmp_path / "train-00000-of-00001")
    clips = read_clips(tmp_path, feature=feature)
    assert clips.video_ids.tolist() == [b"yt0", b"yt1", b"yt2"]
    assert clips.num_segments.tolist() == [1, 2, 3]
    assert clips.embeddings.shape == (3, 5, size)
    assert clips.embeddings[2, :3, 0].tolist() == [21, 22, 23]
    assert [clips.labels_of(i) for i in range(3)] == [[0, 1], [1, 2], [2, 3]]


def test_a_feature_that_no_record_has_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    written_by_youtube8m(tmp_path / "a.tfrecord")
    with raises_user_error(
        "no record has the feature list audio_embedding",
        "record 0, has the feature lists audio, rgb",
    ):
        read_clips(tmp_path)
    clip = tf.train.Example()
    clip.features.feature["mean_rgb"].float_list.value.append(1)
    write_file(tmp_path / "a.tfrecord", [clip.SerializeToString()])
    with raises_user_error("no feature list, only features of the whole clip: mean_rgb"):
        read_clips(tmp_path)


def test_files_of_a_folder_are_known_by_their_names(tmp_path: Path) -> None:
    names = ["a.tfrecord", "b.tfrecords", "c-00000-of-00010", "d.tfrecord-00003-of-00100"]
    for name in [*names, "e.txt", "f.tfrecord.gz", "g-of-h"]:
        write_file(tmp_path / name, [payload(name.encode())])
    assert read_clips(tmp_path).video_ids.tolist() == [name.encode() for name in names]
