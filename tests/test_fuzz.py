"""Damaged files at random: what is read is what TensorFlow reads or what was written, or it is refused.

`make test` tries a few hundred mutations, `make test-slow` a few thousand. A failure names its seed.
"""

import contextlib
import io
import json
import math
import signal
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from mla_jax.data import array_files, packed, record_writer, records
from mla_jax.data.clips import ClipSet
from mla_jax.data.labels import FILE_NAME, ClassList
from mla_jax.errors import UserError
from tests import mutations
from tests.helpers import assert_same_clips, random_clips
from tests.mutations import mutate, mutate_records

tf = records.tf  # hidden from accelerators by then

NUM_CLASSES, TIME, FEATURES = 7, 3, 4
SECONDS_PER_CASE = 20


@contextlib.contextmanager
def no_hang(case: object) -> Iterator[None]:
    """A case that takes too long, or ends in any way but a `UserError`, is named."""

    def stop(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS_PER_CASE)
    try:
        yield
    except BaseException as error:
        raise AssertionError(f"case {case}: {type(error).__name__}: {error}") from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refusal(error: UserError, *parts: str) -> str:
    """The message, which must be one line that contains `parts`."""
    message = str(error)
    assert "\n" not in message, message
    for part in parts:
        assert part in message, (part, message)
    return message


# Records, against TensorFlow's own parse.


class Clip(NamedTuple):
    """A clip as both sides give it."""

    video_id: bytes
    start: bytes
    labels: list[int]
    vectors: bytes


def clips_of(chunks: list[ClipSet]) -> list[Clip]:
    return [
        Clip(
            bytes(clips.video_ids[i]),
            struct.pack("<f", clips.start_times[i]),
            clips.labels_of(i),
            clips.embeddings[i, : clips.num_segments[i]].tobytes(),
        )
        for clips in chunks
        for i in range(len(clips))
    ]


def payloads_by_tensorflow(content: bytes, path: Path) -> list[bytes | None]:
    """What TensorFlow's reader gives; None for a damaged record, after which it starts again.

    Behind a damaged length nothing can be found, so that one None stands for the rest.
    """
    found: list[bytes | None] = []
    position = 0
    while True:
        path.write_bytes(content[position:])
        try:
            for payload in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                found.append(payload)
                position += len(payload) + 16
            # Of a file that ends within 12 bytes of a record TensorFlow says nothing; we do.
            return found + [None] * (position < len(content))
        except tf.errors.OpError:  # DataLoss; of an absurd length others
            found.append(None)
        header = content[position : position + 12]
        if len(header) < 12 or struct.pack("<I", mutations.masked(header[:8])) != header[8:]:
            return found
        position += struct.unpack("<Q", header[:8])[0] + 16
        if position > len(content):
            return found


@cache
def parser(kind: str) -> Any:
    """`tf.io.parse_single_sequence_example`, one record at a time; fields may have any number of values."""
    segment = tf.string if kind == "bytes_list" else tf.float32

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def parse(payload: Any) -> Any:
        return tf.io.parse_single_sequence_example(
            payload,
            {
                "video_id": tf.io.VarLenFeature(tf.string),
                "start_time_seconds": tf.io.VarLenFeature(tf.float32),
                "labels": tf.io.VarLenFeature(tf.int64),
            },
            {"audio_embedding": tf.io.VarLenFeature(segment)},
        )

    return parse


def clip_by_tensorflow(payload: bytes, kind: str, features: int) -> Clip | None:
    """The clip, or None where TensorFlow cannot parse the record or it breaks a rule."""
    # Of some payloads that are no protocol message at all TensorFlow's parsing of single records crashes.
    try:
        tf.train.SequenceExample.FromString(payload)
    except DecodeError:
        return None
    try:
        context, lists = parser(kind)(tf.constant(payload))
    except tf.errors.OpError:
        return None
    ids, starts, labels = (
        context[name].values.numpy().tolist()
        for name in ("video_id", "start_time_seconds", "labels")
    )
    embedding = lists["audio_embedding"]
    segments: list[list[Any]] = [[] for _ in range(embedding.dense_shape.numpy()[0])]
    for (row, _), value in zip(embedding.indices.numpy(), embedding.values.numpy(), strict=True):
        segments[row].append(value)
    if kind == "bytes_list":
        whole = all(len(s) == 1 and len(s[0]) == features for s in segments)
        vectors = b"".join(value for segment in segments for value in segment)
    else:
        whole = all(len(s) == features and np.isfinite(s).all() for s in segments)
        vectors = np.array(segments, "<f4").tobytes() if whole else b""
    good = (
        len(ids) == len(starts) == 1
        and ids[0]
        and not ids[0].endswith(b"\0")
        and math.isfinite(starts[0])
        and 0 < len(segments) <= TIME
        and whole
        and 0 < len(set(labels)) == len(labels)
        and all(0 <= label < NUM_CLASSES for label in labels)
    )
    return Clip(ids[0], struct.pack("<f", starts[0]), sorted(labels), vectors) if good else None


def layout_by_tensorflow(payloads: list[bytes | None]) -> tuple[str, int]:
    """Kind and size of the segments: those of the first record that has one."""
    for payload in payloads:
        with contextlib.suppress(Exception):
            example = tf.train.SequenceExample.FromString(payload)
            (first,) = example.feature_lists.feature_list["audio_embedding"].feature[:1]
            if first.float_list.value:
                return "float_list", len(first.float_list.value)
            if first.bytes_list.value[0]:
                return "bytes_list", len(first.bytes_list.value[0])
    return "bytes_list", FEATURES


def read(path: Path, **options: Any) -> list[Clip]:
    options = {"num_classes": NUM_CLASSES, "max_segments": TIME, **options}
    return clips_of(list(records.read_records([path], **options)))


def check_records(content: bytes, folder: Path, chunk_size: int) -> bool:
    """Whether something is left out of the file; both policies must say the same as TensorFlow."""
    payloads = payloads_by_tensorflow(content, folder / "reference")
    layout = layout_by_tensorflow(payloads)
    clips = [None if p is None else clip_by_tensorflow(p, *layout) for p in payloads]
    if not content:
        clips = [None]
    bad = [i for i, clip in enumerate(clips) if clip is None]
    path = folder / "mutated.tfrecord"
    path.write_bytes(content)
    report = records.ReadReport()
    found = read(path, bad_records="skip", chunk_size=chunk_size, report=report)
    assert found == [clip for clip in clips if clip is not None]
    assert [(file, number) for file, number, _, _ in report.skipped] == [
        (str(path), i) for i in bad
    ]
    assert all(reason and "\n" not in reason for *_, reason in report.skipped)
    try:
        assert read(path, chunk_size=chunk_size) == found
        assert not bad
    except UserError as error:
        refusal(error, f"{path}, record {bad[0]}", report.skipped[0][3])
    return bool(bad)


@pytest.fixture(scope="module")
def record_files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Two files of bytes and two of floats."""
    files = []
    for seed, dtype in enumerate(["uint8", "uint8", "float32", "float32"]):
        clips = random_clips(num_clips=5, time=TIME, features=FEATURES, dtype=dtype, seed=seed)
        clips = ClipSet.from_arrays(
            clips.embeddings,
            clips.multi_hot(),
            num_segments=clips.num_segments,
            video_ids=[f"--{i}_{seed}" for i in range(5)],
            start_times=clips.start_times,
        )
        (path,) = record_writer.write_records(clips, tmp_path_factory.mktemp("records"))
        files.append(path.read_bytes())
    return files


@pytest.mark.parametrize(
    "seeds", [range(200), pytest.param(range(200, 2000), marks=pytest.mark.slow)], ids=str
)
def test_records(record_files: list[bytes], tmp_path: Path, seeds: range) -> None:
    for content in record_files:
        assert not check_records(content, tmp_path, 100)
    refused = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        content, other = (record_files[i] for i in rng.integers(0, 4, 2))
        with no_hang(seed):
            content = mutate_records(content, rng, other)
            refused += check_records(content, tmp_path, int(rng.choice([1, 2, 100])))
    assert 0.5 * len(seeds) < refused < len(seeds)


# Packed folders and archives, against what was written.


@pytest.fixture(scope="module")
def packed_folders(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    folders = []
    for seed, dtype in enumerate(["uint8", "float16"]):
        folder = tmp_path_factory.mktemp("packed") / "p"
        skipped = [("a.tfrecord", seed, "", "it has no label")]
        clips = random_clips(num_clips=5, time=TIME, dtype=dtype, seed=seed)
        classes = ClassList.numbered(NUM_CLASSES)
        packed.pack([clips], folder, classes=classes, source={"seed": seed}, skipped=skipped)
        folders.append({path.name: path.read_bytes() for path in folder.iterdir()})
    return folders


def edit_json(data: bytes, rng: mutations.Rng) -> bytes:
    """Another value for one key, somewhere in the manifest."""
    manifest = json.loads(data)
    part: Any = manifest
    while True:
        key = str(rng.choice(list(part)))
        if not isinstance(part[key], dict) or not part[key] or rng.random() < 0.3:
            break
        part = part[key]
    values = [None, 0, -1, 1, 6, 10**30, 1e300, "", "../x", [], {}, [[]], True, "float32"]
    part[key] = values[rng.integers(len(values))]
    return json.dumps(manifest).encode()


def check_folder(folder: Path, original: ClipSet, *, same_size: bool) -> bool:
    """Whether the folder is refused; if it is not, it must be what was packed."""
    try:
        opened = packed.open_packed(folder)
        assert same_size
    except UserError as error:
        refusal(error, str(folder))
        opened = None
    try:
        clips = packed.verify(folder)
    except UserError as error:
        refusal(error, str(folder))
        return True
    assert opened is not None
    for found in (opened, clips):
        assert_same_clips(found, original)
    assert ClassList.read(folder / FILE_NAME) == ClassList.numbered(NUM_CLASSES)
    return False


@pytest.mark.parametrize(
    "seeds", [range(100), pytest.param(range(100, 600), marks=pytest.mark.slow)], ids=str
)
def test_packed_folders(
    packed_folders: list[dict[str, bytes]], tmp_path: Path, seeds: range
) -> None:
    originals = [
        random_clips(num_clips=5, time=TIME, dtype=dtype, seed=seed)
        for seed, dtype in enumerate(["uint8", "float16"])
    ]
    folder = tmp_path / "p"
    folder.mkdir()
    refused = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        which = int(rng.integers(2))
        ours, theirs = packed_folders[which], packed_folders[1 - which]
        name = str(rng.choice([*ours, packed.MANIFEST]))
        with no_hang((seed, name)):
            if name == packed.MANIFEST and rng.random() < 0.6:
                changed = edit_json(ours[name], rng)
            else:
                changed = mutate(ours[name], rng, theirs[name])
            for file, data in (ours | {name: changed}).items():
                (folder / file).write_bytes(data)
            same_size = name == packed.MANIFEST or len(changed) == len(ours[name])
            refused += check_folder(folder, originals[which], same_size=same_size)
    assert 0.5 * len(seeds) < refused < len(seeds)


@pytest.mark.parametrize(
    "seeds", [range(500), pytest.param(range(500, 10_000), marks=pytest.mark.slow)], ids=str
)
def test_npz_files(tmp_path: Path, seeds: range) -> None:
    contents, originals = [], []
    for seed, save in enumerate([np.savez, np.savez_compressed]):
        clips = random_clips(num_clips=5, time=TIME, dtype="float32", seed=seed)
        buffer = io.BytesIO()
        save(
            buffer,
            x=clips.embeddings,
            y=clips.multi_hot(),
            video_id_list=clips.video_ids,
            num_segments=clips.num_segments,
            start_times=clips.start_times,
        )
        contents.append(buffer.getvalue())
        originals.append(clips)
    path = tmp_path / "mutated.npz"
    refused = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        which = int(rng.integers(2))
        with no_hang(seed):
            path.write_bytes(mutate(contents[which], rng, contents[1 - which]))
            try:
                clips = array_files.read_array_file(path)
            except UserError as error:
                refusal(error, str(path))
                refused += 1
            else:
                assert_same_clips(clips, originals[which])
    assert 0.5 * len(seeds) < refused < len(seeds)
