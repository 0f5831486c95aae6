"""Damaged files at random: what is read is what TensorFlow reads or what was written, or it is refused.

`make test` tries a few hundred mutations, `make test-slow` a few thousand. A failure names its seed.
"""

import contextlib
import dataclasses
import io
import json
import math
import signal
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.formats.manifest import MANIFEST
from mla_jax.data.formats.record_writer import write_records
from mla_jax.data.packing import pack
from mla_jax.data.skipped import Skipped
from mla_jax.data.sources import open_packed
from mla_jax.data.tensorflow import tf  # hidden from accelerators by then
from mla_jax.errors import UserError
from tests.support import mutations
from tests.support.helpers import assert_same_clips, random_clips, read_clips
from tests.support.mutations import mutate, mutate_records

NUM_CLASSES, TIME, FEATURES = 7, 3, 4
SECONDS_PER_CASE = 20
TOGETHER = 25  # files that are read at once


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


def clips_of(clips: ClipSet) -> list[Clip]:
    return [
        Clip(
            bytes(clips.video_ids[i]),
            struct.pack("<f", clips.start_times[i]),
            clips.labels_of(i),
            clips.embeddings[i, : clips.num_segments[i]].tobytes(),
        )
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


def check_records(contents: Sequence[bytes], folder: Path, chunk_size: int) -> int:
    """How many of the files have something left out; what is read must be what TensorFlow gives."""
    folder.mkdir()
    payloads: list[list[bytes | None]] = []
    for k, content in enumerate(contents):
        (folder / f"{k:04d}").write_bytes(content)
        # Of an empty file TensorFlow says nothing; we do.
        payloads.append(payloads_by_tensorflow(content, folder.parent / "part") or [None])
    layout = layout_by_tensorflow([p for of_file in payloads for p in of_file])
    expected: list[Clip] = []
    bad: list[tuple[str, int]] = []
    for k, of_file in enumerate(payloads):
        for i, one in enumerate(of_file):
            clip = None if one is None else clip_by_tensorflow(one, *layout)
            if clip is None:
                bad.append((f"{folder}/{k:04d}", i))
            else:
                expected.append(clip)
    options: dict[str, Any] = {"max_segments": TIME, "chunk_size": chunk_size}
    skipped: list[Skipped] = []
    with contextlib.suppress(UserError) if not expected else contextlib.nullcontext():
        found = read_clips(f"{folder}/*", skipped, bad_records="skip", **options)
        assert clips_of(found) == expected
        assert [entry[:2] for entry in skipped] == bad
        assert all(reason and "\n" not in reason for *_, reason in skipped)
    try:
        assert clips_of(read_clips(f"{folder}/*", **options)) == expected
        assert not bad
    except UserError as error:
        refusal(error, "{}, record {}".format(*bad[0]))
    return len({file for file, _ in bad})


@pytest.fixture(scope="module")
def record_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """Two files of bytes and two of floats."""
    files: dict[str, list[bytes]] = {"uint8": [], "float32": []}
    for dtype, contents in files.items():
        for seed in (0, 1):
            clips = random_clips(num_clips=5, time=TIME, features=FEATURES, dtype=dtype, seed=seed)
            ids = np.array([b"--%d_%d" % (i, seed) for i in range(5)])
            clips = dataclasses.replace(clips, video_ids=ids)
            (path,) = write_records(clips, tmp_path_factory.mktemp("records"))
            contents.append(path.read_bytes())
    return files


@pytest.mark.parametrize(
    "seeds", [range(100, 200), pytest.param(range(200, 2100), marks=pytest.mark.slow)], ids=str
)
def test_records(record_files: dict[str, list[bytes]], tmp_path: Path, seeds: range) -> None:
    """Many damaged files are read at once behind a whole one, which says how segments are stored."""
    every = [content for contents in record_files.values() for content in contents]
    refused = 0
    for start in seeds[::TOGETHER]:
        rng = np.random.default_rng(start)
        whole = record_files[str(rng.choice(list(record_files)))]
        mutated = [
            mutate_records(whole[rng.integers(2)], rng, every[rng.integers(4)])
            for _ in range(TOGETHER)
        ]
        with no_hang(start):
            chunk_size = int(rng.choice([1, 2, 100]))
            refused += check_records([whole[0], *mutated], tmp_path / str(start), chunk_size)
    assert 0.5 * len(seeds) < refused < len(seeds)


@pytest.mark.slow
@pytest.mark.parametrize(
    "seeds", [range(10), pytest.param(range(10, 200), marks=pytest.mark.slow)], ids=str
)
def test_record_files_alone(
    record_files: dict[str, list[bytes]], tmp_path: Path, seeds: range
) -> None:
    """The first record, which says how segments are stored, may be damaged as well."""
    every = [content for contents in record_files.values() for content in contents]
    for seed in seeds:
        rng = np.random.default_rng(seed)
        content, other = (every[i] for i in rng.integers(0, 4, 2))
        with no_hang(seed):
            check_records([mutate_records(content, rng, other)], tmp_path / str(seed), 100)


# Packed folders and archives, against what was written.


@pytest.fixture(scope="module")
def packed_folders(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    folders = []
    for seed, dtype in enumerate(["uint8", "float16"]):
        folder = tmp_path_factory.mktemp("packed") / "p"
        skipped = [("a.tfrecord", seed, "", "it has no label")]
        clips = random_clips(num_clips=5, time=TIME, dtype=dtype, seed=seed)
        classes = ClassList.numbered(NUM_CLASSES)
        pack([clips], folder, classes=classes, source={"seed": seed}, skipped=skipped)
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
        opened = open_packed(folder)
        assert same_size
    except UserError as error:
        refusal(error, str(folder))
        opened = None
    try:
        clips = open_packed(folder, verify=True)
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
        name = str(rng.choice([*ours, MANIFEST]))
        with no_hang((seed, name)):
            if name == MANIFEST and rng.random() < 0.6:
                changed = edit_json(ours[name], rng)
            else:
                changed = mutate(ours[name], rng, theirs[name])
            for file, data in (ours | {name: changed}).items():
                (folder / file).write_bytes(data)
            same_size = name == MANIFEST or len(changed) == len(ours[name])
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
                clips = read_clips(path)
            except UserError as error:
                refusal(error, str(path))
                refused += 1
            else:
                assert_same_clips(clips, originals[which])
    assert 0.5 * len(seeds) < refused < len(seeds)
