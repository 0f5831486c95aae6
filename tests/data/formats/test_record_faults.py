"""Every fault of records that is known, by name: refused in one line, or left out and listed."""

import gzip
from pathlib import Path
from typing import NamedTuple

import pytest

from mla_jax.data.formats import tfrecords
from mla_jax.data.skipped import Skipped
from tests.support.helpers import raises_user_error, read_clips
from tests.support.mutations import frame
from tests.support.records import BYTES, FLOATS, message, payload, write_file


class Fault(NamedTuple):
    """A record file with one fault, and what is said of it.

    Attributes:
      content: of the file.
      record: the index named.
      video_id: the id named, or an empty string where it cannot be known.
      reason: part of what is said.
      kept: how many records of the file are left with bad_records=skip.
    """

    content: bytes
    record: int
    video_id: str
    reason: str
    kept: int


def good(i: int, segments: object = BYTES) -> bytes:
    return frame(payload(b"good_%d" % i, segments=segments))


def bad(reason: str, record: bytes, video_id: str = "the_video", floats: bool = False) -> Fault:
    """The bad record between two good ones."""
    first, last = (good(i, FLOATS if floats else BYTES) for i in range(2))
    return Fault(first + record + last, 1, video_id, reason, 2)


def of(reason: str, **fields: object) -> Fault:
    video_id = fields.get("video_id", b"the_video") or b""
    return bad(reason, frame(payload(**fields)), video_id.decode())


def floats(reason: str, *segments: object) -> Fault:
    return bad(reason, frame(payload(segments=segments)), floats=True)


def other_kind(name: str) -> bytes:
    example = message()
    example.context.feature[name].ClearField("bytes_list" if name == "video_id" else "int64_list")
    example.context.feature[name].float_list.value.append(1.0)
    return frame(example.SerializeToString())


def two_ids() -> bytes:
    example = message()
    example.context.feature["video_id"].bytes_list.value.append(b"other")
    return frame(example.SerializeToString())


def two_strings() -> bytes:
    example = message()
    segments = example.feature_lists.feature_list["audio_embedding"].feature
    segments[1].bytes_list.value[:] = [b"ab", b"cd"]
    return frame(example.SerializeToString())


def garbled(of: bytes, to: bytes) -> bytes:
    """A whole record whose payload has `to` where `of` was, of the same length."""
    assert payload().count(of) == 1
    assert len(of) == len(to)
    return frame(payload().replace(of, to))


def flipped(record: bytes, position: int) -> bytes:
    changed = bytearray(record)
    changed[position] ^= 4
    return bytes(changed)


NO_MESSAGE = "it is not a tf.train.SequenceExample"
WHOLE = good(0) + good(1)
FAULTS = {
    "truncated": Fault(WHOLE[:-30], 1, "", "the file ends inside it: the last", 1),
    "truncated in a length": Fault(WHOLE + b"\1\0\0", 2, "", "the file ends inside its length", 2),
    "bit flipped in the data": bad(
        "it is damaged (checksum of the data)", flipped(frame(payload()), -1)
    ),
    "bit flipped in a length": Fault(
        good(0) + flipped(good(1), 3) + good(2), 1, "", "checksum of the length", 1
    ),
    "empty file": Fault(b"", 0, "", "the file is empty", 0),
    "text": Fault(b"YTID, start_seconds\n" * 9, 0, "", "not a TFRecord file but a text file", 0),
    "gzip": Fault(gzip.compress(WHOLE), 0, "", "but a gzip file: unpack it with gunzip", 0),
    "no message": bad(NO_MESSAGE, frame(b"\xff\xfegarbage"), ""),
    # Two that TensorFlow's batched parsing takes, or crashes of.
    "labels that end early": bad(NO_MESSAGE, garbled(b"\n\x02\x04\x01", b"\n\x01\x04\x01"), ""),
    "length beyond the record": bad(
        NO_MESSAGE, garbled(b"\n\x09the_video", b"\n\xf8\xb9\xdd\xc4\x9b\x30ideo"), ""
    ),
    "empty record": bad("0 values of video_id", frame(b""), ""),
    "no id": of("0 values of video_id", video_id=None),
    "empty id": of("video_id is empty", video_id=b""),
    "id with zero": of("ends in a zero byte", video_id=b"a\0"),
    "two ids": bad("2 values of video_id", two_ids()),
    "id of another kind": bad("video_id is a float_list", other_kind("video_id"), ""),
    "no start": of("0 values of start_time_seconds", start=None),
    "start NaN": of("start time is nan", start=float("nan")),
    "wrong feature name": of("no segments (audio_embedding)", name="embedding"),
    "no segments": of("it has no segments", segments=[]),
    "more segments than T": of("6 segments, more than 5; long_clips", segments=[b"abcd"] * 6),
    "short vector": of("a segment of 3 bytes; the first record has 4", segments=[b"abcd", b"abc"]),
    "long vector": of("a segment of 5 bytes", segments=[b"abcde", b"abcd"]),
    "empty vector": of("a segment of 0 bytes", segments=[b""]),
    "empty segment": of("a segment of 0 bytes", segments=[b"abcd", []]),
    "two strings": bad("a segment of 0 bytes", two_strings()),
    "floats among bytes": of(
        "a float_list; that of the first record is a bytes_list", segments=FLOATS
    ),
    "no label": of("it has no label", label_ids=()),
    "label at K": of("label 7 is outside 0 to 6 (7 classes)", label_ids=(1, 7)),
    "label above 32 bits": of(f"label {2**32 + 1} is outside", label_ids=(2**32 + 1,)),
    "negative label": of("label -1 is outside", label_ids=(-1, 3)),
    "repeated label": of("label 3 is repeated", label_ids=(3, 1, 3)),
    "labels of another kind": bad("labels is a float_list", other_kind("labels")),
    "NaN": floats("NaN or infinity", *FLOATS, [0.0, float("nan"), 0.0, 0.0]),
    "infinity": floats("NaN or infinity", [0.0, 1.0, 0.0, float("-inf")]),
    "short floats": floats("a segment of 3 floats; the first record has 4", *FLOATS, [0.5] * 3),
    "bytes among floats": floats("a bytes_list; that of the first record is a float_list", *BYTES),
}
OF_FLOATS = ("NaN", "infinity", "short floats", "bytes among floats")


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_record_is_one_line(tmp_path: Path, name: str) -> None:
    fault = FAULTS[name]
    file = tmp_path / "b.tfrecord"
    file.write_bytes(fault.content)
    (tmp_path / "z.tfrecord").write_bytes(good(9, FLOATS if name in OF_FLOATS else BYTES))
    named = f", video id {fault.video_id!r}" if fault.video_id else ""
    with raises_user_error(f"{file}, record {fault.record}{named}: ", fault.reason, "=skip"):
        read_clips(tmp_path)


@pytest.mark.parametrize("chunk_size", [1, 7, 4096])
@pytest.mark.parametrize("floats", [False, True])
def test_bad_records_are_left_out_counted_and_listed(
    tmp_path: Path, chunk_size: int, floats: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Files of all faults, read together, with a good one first."""
    (tmp_path / "0").write_bytes(good(9, FLOATS if floats else BYTES))
    faults = [f for name, f in FAULTS.items() if (name in OF_FLOATS) == floats]
    for k, fault in enumerate(faults):
        (tmp_path / f"1{k:02d}").write_bytes(fault.content)
    skipped: list[Skipped] = []
    pattern = f"{tmp_path}/*"
    clips = read_clips(pattern, skipped, bad_records="skip", chunk_size=chunk_size)
    kept = [9] + [i for fault in faults for i in range(fault.kept)]
    assert clips.video_ids.tolist() == [b"good_%d" % i for i in kept]
    assert len(skipped) == len(faults)
    for k, (fault, (file, record, video_id, reason)) in enumerate(
        zip(faults, skipped, strict=True)
    ):
        assert (file, record) == (f"{tmp_path}/1{k:02d}", fault.record)
        assert video_id == fault.video_id
        assert fault.reason in reason
    file, record, _, reason = skipped[0]
    assert caplog.messages == [
        f"{pattern}: {len(faults)} bad records left out, the first of them {file}, record {record}: "
        f"{reason}"
    ]


def test_the_first_record_may_be_bad(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a", [b"", payload(segments=[]), payload(b"good")])
    skipped: list[Skipped] = []
    clips = read_clips(path, skipped, bad_records="skip")
    assert clips.video_ids.tolist() == [b"good"]
    assert [entry[1] for entry in skipped] == [0, 1]
    with raises_user_error("record 0: it has 0 values of video_id"):
        read_clips(path)
    all_bad = write_file(tmp_path / "b", [b"", payload(segments=[])])
    with raises_user_error(f"{all_bad} has no record that can be used; bad_records=error says why"):
        read_clips(all_bad, bad_records="skip")


# Damaged anywhere.


RECORDS = [frame(payload(b"clip%d" % i, segments=[b"abcd"] * (i + 1))) for i in range(3)]
CONTENT = b"".join(RECORDS)
STARTS = [0, len(RECORDS[0]), len(RECORDS[0] + RECORDS[1])]


def test_any_flipped_bit_is_found(tmp_path: Path) -> None:
    positions = range(0, len(CONTENT), 3)
    for position in positions:
        changed = bytearray(CONTENT)
        changed[position] ^= 1 << position % 8
        (tmp_path / f"{position:05d}.tfrecord").write_bytes(changed)
    skipped: list[Skipped] = []
    clips = read_clips(tmp_path, skipped, bad_records="skip")
    expected: list[bytes] = []
    for position, (file, number, video_id, reason) in zip(positions, skipped, strict=True):
        k = sum(start <= position for start in STARTS) - 1
        assert (file, number) == (f"{tmp_path}/{position:05d}.tfrecord", k)
        in_length = position - STARTS[k] < 12
        expected += [b"clip%d" % i for i in range(3) if i < k or (i > k and not in_length)]
        if in_length:
            lost = f"the last {len(CONTENT) - STARTS[k]} bytes of the file are lost"
            assert reason.endswith(f"(checksum of the length): {lost}")
        else:
            assert reason == "it is damaged (checksum of the data)"
            if position >= STARTS[k] + len(RECORDS[k]) - 4:  # the checksum: the data can be read
                assert video_id == f"clip{k}"
    assert clips.video_ids.tolist() == expected


def test_any_truncation_is_found(tmp_path: Path) -> None:
    expected: list[bytes] = []
    listed: list[tuple[str, int, str]] = []
    for size in range(0, len(CONTENT), 3):
        path = tmp_path / f"{size:05d}.tfrecord"
        path.write_bytes(CONTENT[:size])
        k = sum(start <= size for start in STARTS) - 1  # the record that is cut
        expected += [b"clip%d" % i for i in range(k)]
        if size == 0:
            listed.append((str(path), 0, "is empty"))
        elif size != STARTS[k]:
            listed.append((str(path), k, f"the last {size - STARTS[k]} bytes of the file are lost"))
    skipped: list[Skipped] = []
    clips = read_clips(tmp_path, skipped, bad_records="skip")
    assert clips.video_ids.tolist() == expected
    for (file, number, _, reason), (cut, k, lost) in zip(skipped, listed, strict=True):
        assert (file, number) == (cut, k)
        assert reason.startswith("the file ")
        assert reason.endswith(lost)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that goes away, and one that turns into a folder, after they were found."""
    for name in "abcd":
        write_file(tmp_path / name, [payload(name.encode())])
    found = tfrecords.find_record_files(f"{tmp_path}/*")
    (tmp_path / "a").unlink()
    (tmp_path / "c").unlink()
    (tmp_path / "c").mkdir()
    monkeypatch.setattr(tfrecords, "find_record_files", lambda _: found)
    with raises_user_error(f"{tmp_path}/a, record 0: the file cannot be read (No such file"):
        read_clips(tmp_path)
    skipped: list[Skipped] = []
    clips = read_clips(tmp_path, skipped, bad_records="skip")
    assert clips.video_ids.tolist() == [b"b", b"d"]
    assert [entry[0] for entry in skipped] == [f"{tmp_path}/a", f"{tmp_path}/c"]


def test_a_record_without_a_label_may_be_background(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.tfrecord", [payload(b"a"), payload(b"b", label_ids=())])
    with raises_user_error("record 1", "it has no label"):
        read_clips(path)
    clips = read_clips(path, no_label="background")
    assert [clips.labels_of(i) for i in range(2)] == [[1, 4], []]


def test_a_clip_of_zeros_is_a_bad_record(tmp_path: Path) -> None:
    segments = ([bytes(4)] * 3, [bytes(4), b"abcd"], [b"abcd"])
    path = write_file(
        tmp_path / "a.tfrecord", [payload(b"%d" % len(s), segments=s) for s in segments]
    )
    with raises_user_error("record 0", "video id '3'", "all zeros"):
        read_clips(path)
    assert read_clips(path, bad_records="skip").video_ids.tolist() == [b"2", b"1"]


def test_a_large_file_with_damage(tmp_path: Path) -> None:
    """Larger than what is read ahead of any file."""
    path = write_file(
        tmp_path / "large", [payload(b"%d" % i, segments=[b"x" * 2000] * 5) for i in range(80)]
    )
    content = bytearray(path.read_bytes())
    assert len(content) > 512 * 1024
    content[len(content) // 2 + 100] ^= 4
    path.write_bytes(content[:-3])
    skipped: list[Skipped] = []
    clips = read_clips(path, skipped, bad_records="skip")
    assert [entry[1] for entry in skipped] == [40, 79]
    assert clips.video_ids.tolist() == [b"%d" % i for i in range(79) if i != 40]
