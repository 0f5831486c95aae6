"""Records: round trips, TensorFlow's own parser, the release, and every kind of bad record."""

import csv
import dataclasses
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from mla_jax.data import clips as clips_lib
from mla_jax.data import frames, labels, record_writer, records
from mla_jax.data.clips import ClipSet
from mla_jax.errors import UserError

tf = records.tf  # hidden from accelerators by then

NUM_CLASSES = 9
FEATURES = 6
REAL_CLASSES = 527


def random_clips(num_clips: int = 40, dtype: str = "uint8", seed: int = 0) -> ClipSet:
    """Clips of 1 to 10 segments whose ids share few prefixes, some of them beginning with '-'."""
    rng = np.random.default_rng(seed)
    shape = (num_clips, 10, FEATURES)
    if dtype == "uint8":
        embeddings = rng.integers(0, 256, shape).astype(np.uint8)
    else:
        embeddings = rng.normal(size=shape).astype(dtype)
    segments = rng.integers(1, 11, num_clips)
    segments[0] = 10
    embeddings[np.arange(10) >= segments[:, None]] = 0
    prefixes = ["--", "-0", "_a", "Ab", "ab", "zz", "0-"]
    return ClipSet.from_arrays(
        embeddings,
        [
            rng.choice(NUM_CLASSES, rng.integers(1, 5), replace=False).tolist()
            for _ in range(num_clips)
        ],
        num_classes=NUM_CLASSES,
        num_segments=segments,
        video_ids=[f"{prefixes[i % 7]}{i:05d}-_" for i in range(num_clips)],
        start_times=rng.integers(0, 600, num_clips).astype(np.float32),
    )


def by_file(clips: ClipSet) -> ClipSet:
    """In the order in which written files are read."""
    return clips[np.argsort([bytes(v[:2]) for v in clips.video_ids], kind="stable")]


def read(files: Iterable[str | pathlib.Path], **options: Any) -> ClipSet:
    return clips_lib.concatenate(
        list(records.read_records(files, **{"num_classes": NUM_CLASSES, **options}))
    )


def assert_same_clips(actual: ClipSet, expected: ClipSet) -> None:
    for field in dataclasses.fields(ClipSet):
        got, wanted = getattr(actual, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(got, wanted, err_msg=field.name, strict=True)


def message(
    video_id: bytes | None = b"video",
    start: float | None = 30.0,
    label_ids: Sequence[int] = (4, 1),
    segments: Sequence[bytes | Sequence[float]] = (b"abcdef", b"ghijkl"),
) -> Any:
    """A SequenceExample as a user's own program may write it."""
    example = tf.train.SequenceExample()
    context = example.context.feature
    if video_id is not None:
        context["video_id"].bytes_list.value.append(video_id)
    if start is not None:
        context["start_time_seconds"].float_list.value.append(start)
    context["labels"].int64_list.value.extend(label_ids)
    for segment in segments:
        feature = example.feature_lists.feature_list["audio_embedding"].feature.add()
        if isinstance(segment, bytes):
            feature.bytes_list.value.append(segment)
        elif segment:
            feature.float_list.value.extend(segment)
    return example


def payload(**fields: Any) -> bytes:
    return message(**fields).SerializeToString()


def write_file(path: pathlib.Path, payloads: Iterable[bytes]) -> pathlib.Path:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in payloads:
            writer.write(one)
    return path


def parse_with_tensorflow(files: Sequence[pathlib.Path], dtype: Any, features: int) -> Any:
    """Each record by `tf.io.parse_single_sequence_example`, as NumPy: the independent reference."""
    if dtype == tf.uint8:
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
        if dtype == tf.uint8:
            vectors = tf.io.decode_raw(vectors, tf.uint8)
        values = tf.sparse.to_dense(context["labels"])
        return context["video_id"], context["start_time_seconds"], values, vectors

    dataset = tf.data.TFRecordDataset([str(path) for path in files])
    return dataset.map(parse, num_parallel_calls=2).prefetch(64).as_numpy_iterator()


def assert_same_as_tensorflow(
    clips: ClipSet, files: Sequence[pathlib.Path], dtype: Any = None
) -> None:
    count = 0
    reference = parse_with_tensorflow(files, dtype or tf.uint8, clips.num_features)
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


# Round trips.


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_round_trip(tmp_path: pathlib.Path, dtype: str) -> None:
    clips = random_clips(dtype=dtype)
    files = record_writer.write_records(clips, tmp_path / "new" / "folder")
    report = records.ReadReport()
    assert_same_clips(read(files, report=report), by_file(clips))
    assert report == records.ReadReport(files=7, clips=40, cropped=0, skipped=[])
    assert files == records.find_record_files(str(tmp_path / "new" / "folder"))
    names = ["--", "-0", "0-", "Ab", "_a", "ab", "zz"]
    assert [path.name for path in files] == [f"{name}.tfrecord" for name in names]
    assert_same_as_tensorflow(by_file(clips), files, tf.uint8 if dtype == "uint8" else tf.float32)


def test_float16_reads_back_as_the_same_float32(tmp_path: pathlib.Path) -> None:
    clips = random_clips(5, dtype="float16")
    back = read(record_writer.write_records(clips, tmp_path))
    expected = by_file(clips).embeddings.astype(np.float32)
    np.testing.assert_array_equal(back.embeddings, expected, strict=True)


def test_writes_end_times_and_reports_progress(tmp_path: pathlib.Path) -> None:
    clips = random_clips(9)
    steps: list[tuple[int, int]] = []
    files = record_writer.write_records(clips, tmp_path, progress=lambda *done: steps.append(done))
    assert steps == [(2, 9), (4, 9), *((n, 9) for n in range(5, 10))]
    ordered = by_file(clips)
    dataset = tf.data.TFRecordDataset([str(path) for path in files])
    for i, record in enumerate(dataset.as_numpy_iterator()):
        context = tf.train.SequenceExample.FromString(record).context.feature
        start = ordered.start_times[i]
        assert context["start_time_seconds"].float_list.value == [start]
        assert context["end_time_seconds"].float_list.value == [start + ordered.num_segments[i]]


@pytest.mark.parametrize("video_id", [b"a/b", b"/", b"", b".", b"..", b"..x", b"a\0b"])
def test_ids_that_cannot_begin_a_file_name(tmp_path: pathlib.Path, video_id: bytes) -> None:
    clips = dataclasses.replace(random_clips(1), video_ids=np.array([video_id]))
    with pytest.raises(UserError, match=r"clip 0 \(video id .*choose another video id"):
        record_writer.write_records(clips, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = random_clips(1)
    (path,) = record_writer.write_records(clips, tmp_path)
    before = path.read_bytes()

    def fail(*_: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record_writer, "_to_record", fail)
    with pytest.raises(UserError, match=r"cannot write records to .*: No space left on device"):
        record_writer.write_records(clips, tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def test_a_file_is_replaced_in_one_step(tmp_path: pathlib.Path) -> None:
    (path,) = record_writer.write_records(random_clips(1), tmp_path)
    before = path.read_bytes()
    with path.open("rb") as opened_before:
        record_writer.write_records(random_clips(1, seed=1), tmp_path)
        assert opened_before.read() == before
    assert path.read_bytes() != before


def test_a_folder_that_takes_two_names_for_one(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "listdir", lambda _: ["Ab.tfrecord", "--.tfrecord", "zz.tfrecord"])
    clips = random_clips()
    clips = clips[[i for i in range(40) if clips.video_ids[i][:2] in (b"Ab", b"ab", b"--")]]
    with pytest.raises(UserError, match=r"in case only, and lost ab\.tfrecord; write to"):
        record_writer.write_records(clips, tmp_path)


# Finding and order.


def test_find_record_files(tmp_path: pathlib.Path) -> None:
    names = ["--.tfrecord", "-0.tfrecord", "AB.tfrecord", "_a.tfrecord", "ab.tfrecord"]
    for name in [*reversed(names), "notes.txt"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.tfrecord").mkdir()
    paths = [tmp_path / name for name in names]
    assert records.find_record_files(str(tmp_path)) == paths
    assert records.find_record_files(str(tmp_path / "-*.tfrecord")) == paths[:2]
    assert records.find_record_files(str(paths[0])) == paths[:1]
    for nothing in (str(tmp_path / "folder.tfrecord"), str(tmp_path / "none*")):
        with pytest.raises(UserError, match=r"^no record files at [^\n]*; give a folder"):
            records.find_record_files(nothing)
    with pytest.raises(UserError, match=r"^/nowhere does not exist"):
        records.find_record_files("/nowhere")


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 1000])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_order_does_not_depend_on_chunks(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, chunk_size: int, in_pieces: bool
) -> None:
    clips = random_clips(300)
    files = record_writer.write_records(clips, tmp_path)
    if in_pieces:  # every file counts as large, and batches end at some size as well
        monkeypatch.setattr(frames, "_HEAD_BYTES", 64)
        monkeypatch.setattr(records, "_BATCH_BYTES", 1000)
    monkeypatch.setattr(frames, "_FILES_PER_TASK", 2)
    monkeypatch.setattr(frames, "_THREADS", 2)
    chunks = list(records.read_records(files, num_classes=NUM_CLASSES, chunk_size=chunk_size))
    assert_same_clips(clips_lib.concatenate(chunks), by_file(clips))
    sizes = [len(chunk) for chunk in chunks]
    assert max(sizes) <= chunk_size
    if in_pieces:
        assert max(sizes) < 20
    else:
        assert min(sizes[:-1], default=chunk_size) == chunk_size
    backwards = read(files[::-1], chunk_size=chunk_size)
    prefixes = np.array([bytes(v[:2]) for v in clips.video_ids])
    order = [np.flatnonzero(prefixes == prefix) for prefix in np.unique(prefixes)[::-1]]
    assert_same_clips(backwards, clips[np.concatenate(order)])


def test_a_reader_may_be_left_early(tmp_path: pathlib.Path) -> None:
    files = record_writer.write_records(random_clips(50), tmp_path)
    report = records.ReadReport()
    chunks = records.read_records(files, num_classes=NUM_CLASSES, chunk_size=5, report=report)
    assert len(next(chunks)) == 5
    assert report.clips == 5
    chunks.close()  # type: ignore[attr-defined]


def test_labels_in_any_order_and_features_of_no_use(tmp_path: pathlib.Path) -> None:
    example = message(label_ids=(8, 0, 3))
    example.context.feature["end_time_seconds"].float_list.value.append(40.0)
    example.context.feature["comment"].bytes_list.value.append(b"mine")
    example.feature_lists.feature_list["rgb"].feature.add().bytes_list.value.append(b"x")
    clips = read([write_file(tmp_path / "a.tfrecord", [example.SerializeToString()])])
    assert clips.labels_of(0) == [0, 3, 8]
    assert clips.video_ids.tolist() == [b"video"]
    assert clips.start_times.tolist() == [30.0]
    assert clips.embeddings[0, :2].tobytes() == b"abcdefghijkl"
    assert not clips.embeddings[0, 2:].any()


def test_same_as_tensorflow_with_another_time_axis(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(3)
    payloads = [
        payload(
            video_id=b"id%d" % i,
            start=float(i),
            label_ids=rng.permutation(NUM_CLASSES)[: rng.integers(1, NUM_CLASSES)].tolist(),
            segments=rng.normal(size=(rng.integers(1, 26), 5)).tolist(),
        )
        for i in range(60)
    ]
    files = [
        write_file(tmp_path / f"{k}.tfrecord", payloads[k * 20 : k * 20 + 20]) for k in (0, 1, 2)
    ]
    clips = read(files, max_segments=25, chunk_size=13)
    assert clips.embeddings.shape == (60, 25, 5)
    assert_same_as_tensorflow(clips, files, tf.float32)


def test_long_clips(tmp_path: pathlib.Path) -> None:
    long = payload(video_id=b"long", segments=[bytes([i] * FEATURES) for i in range(12)])
    path = write_file(tmp_path / "a.tfrecord", [payload(), long, payload()])
    with pytest.raises(
        UserError, match="record 1, video id 'long': it has 12 segments, more than 10"
    ):
        read([path])
    report = records.ReadReport()
    clips = read([path], long_clips="crop", report=report)
    assert report == records.ReadReport(files=1, clips=3, cropped=1, skipped=[])
    assert clips.num_segments.tolist() == [2, 10, 2]
    assert clips.embeddings[1, :, 0].tolist() == list(range(10))
    assert read([path], max_segments=12).num_segments.tolist() == [2, 12, 2]


@pytest.mark.parametrize(
    "options",
    [{"num_classes": 0}, {"max_segments": 0}, {"chunk_size": 0}, {"long_clips": "cut"},
     {"bad_records": "ignore"}],
)  # fmt: skip
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"^{next(iter(options))} is .*it must be"):
        records.read_records([], **{"num_classes": 3, **options})


# Bad records: each an error that says where and what, or skipped alone.


def other_kind(name: str) -> bytes:
    example = message()
    example.context.feature[name].ClearField("bytes_list" if name == "video_id" else "int64_list")
    example.context.feature[name].float_list.value.append(1.0)
    return example.SerializeToString()


def two_values(name: str) -> bytes:
    example = message()
    if name == "video_id":
        example.context.feature[name].bytes_list.value.append(b"other")
    else:
        embedding = example.feature_lists.feature_list[name].feature
        embedding[1].bytes_list.value[:] = [b"abc", b"def"]
    return example.SerializeToString()


FLOATS = [[0.5] * FEATURES]
BAD_BYTES = {
    "no id": (payload(video_id=None), "", "0 values of video_id"),
    "empty id": (payload(video_id=b""), "", "video_id is empty"),
    "id with zero": (payload(video_id=b"a\0"), "a\0", "ends in a zero byte"),
    "two ids": (two_values("video_id"), "video", "2 values of video_id"),
    "id of another kind": (other_kind("video_id"), "", "video_id is a float_list"),
    "no start": (payload(start=None), "video", "0 values of start_time_seconds"),
    "start NaN": (payload(start=float("nan")), "video", "start time is nan"),
    "no segments": (payload(segments=[]), "video", "no segments"),
    "too many segments": (payload(segments=[b"abcdef"] * 11), "video", "11 segments, more than 10"),
    "short vector": (payload(segments=[b"abcdef", b"abcde"]), "video", "5 bytes.*has 6"),
    "long vector": (payload(segments=[b"abcdefg", b"abcdef"]), "video", "7 bytes.*has 6"),
    "empty vector": (payload(segments=[b""]), "video", "0 bytes.*has 6"),
    "empty segment": (payload(segments=[b"abcdef", []]), "video", "0 bytes.*has 6"),
    "two strings": (two_values("audio_embedding"), "video", "0 bytes.*has 6"),
    "floats": (payload(segments=FLOATS), "video", "a float_list; .* first record is a bytes_list"),
    "no label": (payload(label_ids=[]), "video", "no label"),
    "label too large": (
        payload(label_ids=[2, 9]),
        "video",
        r"label 9 is outside 0 to 8 \(9 c",
    ),
    "label enormous": (payload(label_ids=[2**32 + 1]), "video", "label 4294967297 is outside"),
    "label negative": (payload(label_ids=[-1]), "video", "label -1 is outside"),
    "label repeated": (payload(label_ids=[3, 1, 3]), "video", "label 3 is repeated"),
    "labels of another kind": (other_kind("labels"), "video", "labels is a float_list"),
    "no message": (b"\xff\xfegarbage", "", "not a tf.train.SequenceExample"),
    "empty": (b"", "", "0 values of video_id"),
}
BAD_FLOATS = {
    "NaN": (payload(segments=[*FLOATS, [float("nan")] * FEATURES]), "video", "NaN or infinity"),
    "infinity": (payload(segments=[[0.0] * 5 + [float("inf")]]), "video", "NaN or infinity"),
    "short vector": (payload(segments=[*FLOATS, [0.5] * 5]), "video", "5 floats.*has 6"),
    "bytes": (payload(), "video", "a bytes_list; .* first record is a float_list"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*BAD_BYTES, *(f"float: {name}" for name in BAD_FLOATS)])
def test_bad_record(tmp_path: pathlib.Path, name: str) -> None:
    is_float = name.startswith("float: ")
    bad, video_id, reason = BAD_FLOATS[name[7:]] if is_float else BAD_BYTES[name]
    good = [
        payload(video_id=b"good%d" % i, **({"segments": FLOATS} if is_float else {}))
        for i in range(3)
    ]
    write_file(tmp_path / "--.tfrecord", good[:1])
    write_file(tmp_path / "-0.tfrecord", [good[1], bad, good[2]])
    files = records.find_record_files(str(tmp_path))
    where = f"^{files[1]}, record 1" + (f", video id {video_id!r}" if video_id else "").replace(
        "\\", "\\\\"
    )
    with pytest.raises(UserError, match=f"{where}: [^\n]*{reason}[^\n]*; mend or[^\n]*$"):
        read(files)
    for chunk_size in (1, 2, 100):
        report = records.ReadReport()
        clips = read(files, bad_records="skip", chunk_size=chunk_size, report=report)
        assert_same_clips(clips, read([write_file(tmp_path / "good", good)]))
        ((path, number, shown_id, shown_reason),) = report.skipped
        assert (path, number, shown_id) == (str(files[1]), 1, video_id)
        assert re.search(reason, shown_reason)
        assert (report.files, report.clips, report.cropped) == (2, 3, 0)


def test_first_record_bad(tmp_path: pathlib.Path) -> None:
    path = write_file(tmp_path / "a", [b"", payload(segments=[]), payload(video_id=b"good")])
    report = records.ReadReport()
    assert read([path], bad_records="skip", report=report).video_ids.tolist() == [b"good"]
    assert [entry[1] for entry in report.skipped] == [0, 1]
    with pytest.raises(UserError, match="record 0: it has 0 values of video_id"):
        read([path])
    all_bad = write_file(tmp_path / "b", [b"", payload(segments=[])])
    assert not list(records.read_records([all_bad], num_classes=3, bad_records="skip"))


def test_many_bad_records_of_all_kinds(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    bad = [entry[0] for entry in BAD_BYTES.values()]
    is_bad = rng.random(500) < 0.2
    is_bad[0] = False
    path = write_file(
        tmp_path / "a",
        [
            bad[rng.integers(len(bad))] if is_bad[i] else payload(video_id=b"good%d" % i)
            for i in range(500)
        ],
    )
    reports = []
    for chunk_size in (11, 128, 4096):
        reports.append(records.ReadReport())
        clips = read([path], bad_records="skip", chunk_size=chunk_size, report=reports[-1])
        assert clips.video_ids.tolist() == [b"good%d" % i for i in np.flatnonzero(~is_bad)]
        assert [entry[1] for entry in reports[-1].skipped] == np.flatnonzero(is_bad).tolist()
    assert reports[0] == reports[1] == reports[2]


# Damaged files.


@pytest.fixture
def three_records(tmp_path: pathlib.Path) -> tuple[bytes, list[tuple[int, int]]]:
    """The bytes of a file of three records, and where each begins and ends."""
    payloads = [payload(video_id=b"clip%d" % i, segments=[b"abcdef"] * (i + 1)) for i in range(3)]
    content = write_file(tmp_path / "whole", payloads).read_bytes()
    ends = np.cumsum([len(one) + 16 for one in payloads]).tolist()
    assert ends[-1] == len(content)
    return content, list(zip([0, *ends[:-1]], ends, strict=True))


def read_damaged(path: pathlib.Path) -> tuple[list[bytes], list[tuple[str, int, str, str]]]:
    """The ids that come back and what was skipped; an error names the first thing skipped."""
    report = records.ReadReport()
    found: list[bytes] = []
    for chunk in records.read_records([path], num_classes=9, bad_records="skip", report=report):
        found += chunk.video_ids.tolist()
    if report.skipped:
        _, number, video_id, reason = report.skipped[0]
        with pytest.raises(UserError) as error:
            read([path])
        named = f", video id {video_id!r}" if video_id else ""
        assert str(error.value).startswith(f"{path}, record {number}{named}: {reason}; mend")
        assert "\n" not in str(error.value)
    return found, report.skipped


def test_any_flipped_bit_is_found(
    tmp_path: pathlib.Path, three_records: tuple[bytes, list[tuple[int, int]]]
) -> None:
    content, places = three_records
    path = tmp_path / "flipped"
    for position in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        k = next(i for i, (_, end) in enumerate(places) if position < end)
        found, skipped = read_damaged(path)
        in_length = position - places[k][0] < 12
        rest = [] if in_length else [2, 1, 0][: 2 - k][::-1]
        assert found == [b"clip%d" % i for i in [*range(k), *rest]], position
        ((_, number, video_id, reason),) = skipped
        assert number == k
        if in_length:
            lost = f"the last {len(content) - places[k][0]} bytes of the file are lost"
            assert reason.endswith(f"(checksum of the length): {lost}")
        else:
            assert reason == "it is damaged (checksum of the data)"
            if position >= places[k][1] - 4:  # the checksum itself: the data can be read
                assert video_id == f"clip{k}"


def test_any_truncation_is_found(
    tmp_path: pathlib.Path, three_records: tuple[bytes, list[tuple[int, int]]]
) -> None:
    content, places = three_records
    path = tmp_path / "truncated"
    for size in range(0, len(content), 3):
        path.write_bytes(content[:size])
        whole = sum(end <= size for _, end in places)
        found, skipped = read_damaged(path)
        assert found == [b"clip%d" % i for i in range(whole)]
        if size == 0:
            assert skipped == [(str(path), 0, "", "the file is empty")]
        elif size == places[whole][0]:
            assert not skipped
        else:
            ((_, number, _, reason),) = skipped
            assert number == whole
            lost = f"the last {size - places[whole][0]} bytes of the file are lost"
            assert reason.startswith("the file ends inside")
            assert reason.endswith(lost)


def test_files_that_are_no_records(tmp_path: pathlib.Path) -> None:
    text = tmp_path / "--.tfrecord"
    text.write_text("# YTID, start_seconds, end_seconds, positive_labels\n" * 3)
    with pytest.raises(UserError, match=f"^{text}, record 0: not a TFRecord file"):
        read([text])
    missing = tmp_path / "missing"
    with pytest.raises(UserError, match=r"missing, record 0: the file cannot be read \(No such"):
        read([missing])
    folder = tmp_path / "folder"
    folder.mkdir()
    good = write_file(tmp_path / "good", [payload()])
    empty = write_file(tmp_path / "empty", [])
    report = records.ReadReport()
    clips = read([text, missing, good, folder, empty, good], bad_records="skip", report=report)
    assert len(clips) == 2
    left_out = [str(file) for file in (text, missing, folder, empty)]
    assert [entry[0] for entry in report.skipped] == left_out
    assert (report.files, report.clips) == (6, 2)


def test_a_large_file_with_damage(tmp_path: pathlib.Path) -> None:
    """Larger than what is read ahead of any file."""
    segments = [bytes(1000)] * 10
    path = write_file(
        tmp_path / "large", [payload(video_id=b"%d" % i, segments=segments) for i in range(80)]
    )
    content = bytearray(path.read_bytes())
    assert len(content) > 2 * frames._HEAD_BYTES
    content[len(content) // 2 + 100] ^= 4
    path.write_bytes(content[:-3])
    found, skipped = read_damaged(path)
    assert [entry[1] for entry in skipped] == [40, 79]
    assert found == [b"%d" % i for i in range(79) if i != 40]


# The module itself.


def test_import_is_quiet_and_hides_accelerators() -> None:
    code = (
        "from mla_jax.data import records; records.tf.constant(1); "
        "assert not records.tf.config.get_visible_devices('GPU')"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# The release.


@pytest.fixture(scope="module")
def release(audioset_dir: pathlib.Path) -> dict[str, tuple[list[pathlib.Path], ClipSet]]:
    result = {}
    for split in ("bal_train", "eval"):
        files = records.find_record_files(str(audioset_dir / split))
        result[split] = (files, read(files, num_classes=REAL_CLASSES))
    return result


@pytest.mark.audioset
@pytest.mark.parametrize(
    ("split", "list_name", "num_files", "num_clips", "num_short", "num_labels"),
    [
        ("bal_train", "balanced_train_segments", 4070, 22160, 378, 52882),
        ("eval", "eval_segments", 4062, 20371, 395, 51804),
    ],
)
def test_release_against_its_lists(
    audioset_dir: pathlib.Path,
    release: dict[str, tuple[list[pathlib.Path], ClipSet]],
    split: str,
    list_name: str,
    num_files: int,
    num_clips: int,
    num_short: int,
    num_labels: int,
) -> None:
    files, clips = release[split]
    assert (len(files), len(clips)) == (num_files, num_clips)
    assert (clips.num_segments < 10).sum() == num_short
    assert len(clips.label_ids) == num_labels
    clips.check_values()
    classes = labels.ClassList.read(audioset_dir / "csv" / labels.FILE_NAME)
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
@pytest.mark.parametrize("split", ["eval", pytest.param("bal_train", marks=pytest.mark.slow)])
def test_release_is_what_tensorflow_parses(
    release: dict[str, tuple[list[pathlib.Path], ClipSet]], split: str
) -> None:
    files, clips = release[split]
    assert_same_as_tensorflow(clips, files)


@pytest.mark.audioset
def test_release_round_trip(
    release: dict[str, tuple[list[pathlib.Path], ClipSet]], tmp_path: pathlib.Path
) -> None:
    files, clips = release["bal_train"]
    first = clips[:3000]
    written = record_writer.write_records(first, tmp_path)
    assert [path.name for path in written] == [path.name for path in files[: len(written)]]
    assert_same_clips(read(written, num_classes=REAL_CLASSES), first)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_tf_dataset_has_the_same_clips_and_composes(tmp_path: pathlib.Path, dtype: str) -> None:
    clips = random_clips(23, dtype=dtype)
    files = record_writer.write_records(clips, tmp_path)
    expected = read(files)
    options = {"num_classes": NUM_CLASSES, "chunk_size": 5}
    batches = list(records.dataset(files, **options).batch(10).as_numpy_iterator())
    assert [len(b["labels"]) for b in batches] == [10, 10, 3]
    joined = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
    np.testing.assert_array_equal(joined["embeddings"], expected.embeddings)
    np.testing.assert_array_equal(joined["labels"], expected.multi_hot())
    np.testing.assert_array_equal(joined["num_segments"], expected.num_segments)
    np.testing.assert_array_equal(joined["start_time"], expected.start_times)
    assert joined["video_id"].tolist() == expected.video_ids.tolist()
