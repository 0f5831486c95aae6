"""Packed folders: round trips, whole or not at all, and every kind of damage."""

import dataclasses
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.data.embedding import AUDIOSET, Embedding, Scaling
from mla_jax.data.formats import packed_writer
from mla_jax.data.formats.manifest import MANIFEST
from mla_jax.data.formats.packed import Packed
from mla_jax.data.packing import pack
from mla_jax.data.sources import is_packed, open_packed
from mla_jax.errors import UserError
from tests.support.helpers import FIELDS, assert_same_clips, raises_user_error, random_clips

ROOT = Path(__file__).parent.parent.parent.parent


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# A folder that was packed on 2026-11-26, and what was packed. It is never made anew.
PACKED_BEFORE = Path(__file__).parent / "packed_before"
CLASSES_BEFORE = ClassList(
    mids=("/m/09x0r", "", "/t/dd00003"), names=("Speech", 'The "quoted", again', "Gewürz 音")
)


def clips_before() -> ClipSet:
    return ClipSet.from_arrays(
        np.array([[[0, 255], [7, 8]], [[1, 2], [0, 0]], [[128, 127], [9, 200]]], np.uint8),
        [[0, 2], [], [1]],
        num_classes=3,
        num_segments=[2, 1, 2],
        video_ids=[b"--aE2O5G5WE", "Gewürz", b"x"],
        start_times=[30.0, 0.5, 600.0],
        scaling=Scaling(128.0, 64.0),
    )


def test_a_folder_packed_before_opens_and_is_packed_to_the_same_bytes(tmp_path: Path) -> None:
    """But for start times, which were float32, and for what the embeddings mean, of which it says little."""
    assert_same_clips(open_packed(PACKED_BEFORE, verify=True), clips_before())
    assert ClassList.read(PACKED_BEFORE / FILE_NAME) == CLASSES_BEFORE
    skipped = [("a.tfrecord", 3, "", "it has no label")]
    source = {"input": "records", "files": 2, "skipped": skipped}
    pack([clips_before()], tmp_path / "p", classes=CLASSES_BEFORE, source=source, skipped=skipped)
    now, before = contents(tmp_path / "p"), contents(PACKED_BEFORE)
    different = {name for name in now.keys() | before.keys() if now.get(name) != before.get(name)}
    assert different == {MANIFEST, "start_times.npy"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A packed folder, to be damaged."""
    pack([random_clips()], tmp_path / "packed", source={"input": "somewhere"})
    return tmp_path / "packed"


@pytest.mark.parametrize(
    ("dtype", "scaling"),
    [
        ("uint8", None),
        ("uint8", Scaling(3.5, 0.25)),
        ("float16", None),
        ("float32", None),
        ("float32", Scaling(-1.0, 1e-3)),
    ],
)
@pytest.mark.parametrize(
    "sizes",
    [
        {"num_clips": 1, "time": 1, "features": 1, "num_classes": 1},
        {"num_clips": 33, "time": 7, "features": 3, "num_classes": 2},
        {"num_clips": 4, "time": 2, "features": 130, "num_classes": 1000},
    ],
)
def test_comes_back_as_it_was(
    tmp_path: Path, dtype: str, scaling: Scaling | None, sizes: dict[str, int]
) -> None:
    clips = random_clips(dtype=dtype, scaling=scaling, **sizes)
    assert_same_clips(pack([clips], tmp_path / "a" / "b"), clips)
    opened = open_packed(str(tmp_path / "a" / "b"), verify=True)
    assert_same_clips(opened, clips)
    # A copy of it packs again, from memory maps.
    assert_same_clips(pack([opened], tmp_path / "c"), clips)
    assert contents(tmp_path / "c") == contents(tmp_path / "a" / "b")


def test_clips_without_labels_come_back(tmp_path: Path) -> None:
    clips = ClipSet.from_arrays(np.ones((3, 2, 1), np.uint8), np.zeros((3, 4)))
    assert_same_clips(pack([clips], tmp_path / "p"), clips)
    assert_same_clips(open_packed(tmp_path / "p", verify=True), clips)


def test_dtypes_on_disk_do_not_depend_on_those_in_memory(tmp_path: Path) -> None:
    clips = random_clips()
    wide = dataclasses.replace(
        clips,
        num_segments=clips.num_segments.astype(np.int64),
        label_ids=clips.label_ids.astype(np.int64),
        start_times=clips.start_times.astype(np.float64),
    )
    assert_same_clips(pack([wide, clips], tmp_path / "p"), concatenate([clips] * 2))


def test_what_is_known_of_the_embeddings_and_times_comes_back(tmp_path: Path) -> None:
    """Of chunks that know different facts, all of them; times since 1970 and parts of a second to the bit."""
    clips = random_clips(features=128)
    starts = 1_700_000_000.0 + 0.96 * np.arange(len(clips))
    known = dataclasses.replace(clips, start_times=starts, embedding=AUDIOSET)
    unknown = dataclasses.replace(known, embedding=clips.embedding)
    for chunks in ([known], [unknown, known], [known, unknown]):
        packed = pack(chunks, tmp_path / str(len(list(tmp_path.iterdir()))))
        assert packed.embedding == AUDIOSET
        np.testing.assert_array_equal(packed.start_times[: len(starts)], starts, strict=True)


@pytest.mark.parametrize("cuts", [[1], [0, 0, 7, 7, 20], list(range(1, 20)), [19]])
def test_chunks_leave_no_trace(tmp_path: Path, cuts: list[int]) -> None:
    clips = random_clips(dtype="float16")
    bounds = [0, *cuts, len(clips)]
    chunks = (clips[a:b] for a, b in itertools.pairwise(bounds))
    pack(chunks, tmp_path / "cut")
    pack([clips], tmp_path / "whole")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_the_files_are_what_the_manifest_says(folder: Path) -> None:
    clips = random_clips()
    manifest = json.loads((folder / MANIFEST).read_text())
    assert set(contents(folder)) == {MANIFEST, *(f"{name}.npy" for name in FIELDS)}
    for name in FIELDS:
        array = np.load(folder / f"{name}.npy")
        np.testing.assert_array_equal(array, getattr(clips, name))
        assert manifest["sha256"][name] == hashlib.sha256(array.tobytes()).hexdigest()
        assert manifest["bytes"][name] == (folder / f"{name}.npy").stat().st_size
    sizes = {"clips": 20, "time": 5, "features": 4, "classes": 7, "labels": len(clips.label_ids)}
    assert sizes.items() <= manifest.items()
    assert manifest["dtype"] == "uint8"
    assert Embedding.from_json(manifest["embedding"]) == clips.embedding
    assert np.load(folder / "start_times.npy").dtype == np.dtype("<f8")
    assert manifest["source"] == {"input": "somewhere"}


def test_the_source_is_read_when_the_last_chunk_is_in(tmp_path: Path) -> None:
    source: dict[str, Any] = {"skipped": []}

    def chunks() -> Iterator[ClipSet]:
        yield random_clips()
        source["skipped"].append(("file", 3))

    pack(chunks(), tmp_path / "p", source=source)
    manifest = json.loads((tmp_path / "p" / MANIFEST).read_text())
    assert manifest["source"] == {"skipped": [["file", 3]]}


def test_a_manifest_keeps_numbers_and_names_that_json_does_not_have(tmp_path: Path) -> None:
    half = os.fsdecode(b"s\xff")
    pack([random_clips()], tmp_path / "p", source={"a": [np.nan, -np.inf], "b": half})
    open_packed(tmp_path / "p", verify=True)
    text = (tmp_path / "p" / MANIFEST).read_text(encoding="utf-8")
    kept = json.loads(text, parse_constant=pytest.fail)
    assert kept["source"] == {"a": [None, -np.inf], "b": half}


def test_opens_memory_mapped_and_read_only(folder: Path) -> None:
    clips = open_packed(folder)
    for part in (clips, clips[3:8]):
        for name in set(FIELDS) - ({"label_offsets"} if part is not clips else set()):
            array = getattr(part, name)
            assert isinstance(array, np.memmap), name
            assert isinstance(array.base, np.memmap), name
            assert (array.mode, array.flags.writeable) == ("r", False), name


def test_opening_imports_neither_tensorflow_nor_jax(folder: Path) -> None:
    program = """
import sys
from mla_jax.config import DataConfig
from mla_jax.data.formats.format import ReadOptions
from mla_jax.data.data_classes import count_classes, find_classes
from mla_jax.data.sources import open_clips, open_packed
assert len(open_packed(sys.argv[1], verify=True)) == 20
count = count_classes(DataConfig(), find_classes(DataConfig(), sys.argv[1]), sys.argv[1])
assert len(open_clips(sys.argv[1], ReadOptions(count))) == 20
assert not {"tensorflow", "jax"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program, folder], check=True, cwd=ROOT, timeout=60)


def test_packs_and_opens_in_bounded_memory(tmp_path: Path) -> None:
    chunk = random_clips(num_clips=200, time=10, features=128)
    total = 200 * chunk.embeddings.nbytes

    def chunks() -> Iterator[ClipSet]:
        for _ in range(200):
            yield random_clips_like(chunk)

    tracemalloc.start()
    try:
        clips = pack(chunks(), tmp_path / "p")
        assert clips.embeddings.nbytes == total
        assert tracemalloc.get_traced_memory()[1] < total / 10
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        Packed(tmp_path / "p").verify()
        assert tracemalloc.get_traced_memory()[1] - before < 500_000
    finally:
        tracemalloc.stop()


def random_clips_like(clips: ClipSet) -> ClipSet:
    """The same clips in memory of their own."""
    return clips[np.arange(len(clips))]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("exists", [False, True])
def test_appears_whole_or_not_at_all(
    tmp_path: Path, error: type[BaseException], exists: bool
) -> None:
    output = tmp_path / "packed"
    if exists:
        output.mkdir()

    def chunks() -> Iterator[ClipSet]:
        for _ in range(3):
            yield random_clips()
            assert not is_packed(output)
        raise error

    with pytest.raises(error):
        pack(chunks(), output)
    assert list(tmp_path.rglob("*")) == ([output] if exists else [])
    pack([random_clips()], output)
    assert list(tmp_path.iterdir()) == [output]


def test_an_error_at_the_end_leaves_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packed_writer, "write_manifest", fail)
    with raises_user_error(f"cannot write {tmp_path / 'packed'}: No space left on device; "):
        pack([random_clips()], tmp_path / "packed")
    assert not list(tmp_path.iterdir())


def test_does_not_touch_an_output_that_exists(folder: Path) -> None:
    before = contents(folder)
    with raises_user_error(str(folder), "already exists"):
        pack([random_clips(seed=1)], folder)
    assert contents(folder) == before
    path = folder.parent / "file"
    path.write_text("mine")
    with raises_user_error(str(path), "already exists"):
        pack([random_clips()], path)
    assert path.read_text() == "mine"
    with raises_user_error(str(path / "sub"), "cannot write"):
        pack([random_clips()], path / "sub")
    assert {p.name for p in folder.parent.iterdir()} == {"packed", "file"}


@pytest.mark.parametrize("count", [0, 2])
def test_does_not_pack_nothing(tmp_path: Path, count: int) -> None:
    with raises_user_error("no clips to pack"):
        pack([random_clips()[:0]] * count, tmp_path / "p")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"time": 4}, "time and features"),
        ({"features": 3}, "time and features"),
        ({"dtype": "float32"}, "dtype"),
        ({"num_classes": 8}, "number of classes"),
        ({"scaling": Scaling(0.0, 1.0)}, "scaling"),
    ],
)
def test_does_not_pack_unlike_chunks(tmp_path: Path, other: dict[str, Any], what: str) -> None:
    with raises_user_error("cannot be joined", what):
        pack([random_clips(), random_clips(), random_clips(**other)], tmp_path / "p")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("size", [0, 5, 100, 128, -1])
def test_finds_a_truncated_file(folder: Path, name: str, size: int) -> None:
    path = folder / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:size])
    with raises_user_error(str(path)):
        open_packed(folder)


@pytest.mark.parametrize("name", FIELDS)
def test_finds_a_missing_longer_or_foreign_file(folder: Path, name: str) -> None:
    path = folder / f"{name}.npy"
    whole = path.read_bytes()
    path.unlink()
    with raises_user_error(str(path), "missing"):
        open_packed(folder)
    for other in (whole + b"\0", bytes(len(whole))):
        path.write_bytes(other)
        with raises_user_error(str(path)):
            open_packed(folder)


@pytest.mark.parametrize("name", FIELDS)
def test_finds_an_edited_byte_anywhere(folder: Path, name: str) -> None:
    """The header up to its padding, and some of the values: found, or without effect."""
    clips = random_clips()
    path = folder / f"{name}.npy"
    whole = path.read_bytes()
    header = len(whole) - getattr(clips, name).nbytes
    values = np.random.default_rng(0).integers(header, len(whole), 10).tolist()
    with path.open("r+b", buffering=0) as file:
        for position in [*range(whole.index(b"}") + 2), *values, header, len(whole) - 1]:
            for flip in (1, 2):  # 2 turns '<', the byte order, into '>'
                file.seek(position)
                file.write(bytes([whole[position] ^ flip]))
                message = damage(folder)
                assert str(path) in message or (not message and position < header)
                assert "\n" not in message
                if not message:
                    assert_same_clips(open_packed(folder), clips)
            file.seek(position)
            file.write(whole[position : position + 1])
    assert not damage(folder)


def test_finds_another_order_of_the_axes(folder: Path) -> None:
    path = folder / "embeddings.npy"
    path.write_bytes(
        path.read_bytes().replace(b"'fortran_order': False,", b"'fortran_order': True ,")
    )
    assert np.load(path).shape == random_clips().embeddings.shape
    with raises_user_error(str(path)):
        open_packed(folder)


def damage(folder: Path) -> str:
    """What `open_packed` finds wrong."""
    try:
        open_packed(folder, verify=True)
    except UserError as error:
        return str(error)
    return ""


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes a manifest; the new one has no checksum of its own, as older versions wrote them."""
    manifest = json.loads(path.read_text())
    assert manifest.pop("manifest_sha256")
    path.write_text(json.dumps(change(manifest)))


def replace(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda manifest: {**manifest, **values}


def described(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda manifest: {**manifest, "embedding": {**manifest["embedding"], **values}}


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda manifest: {k: v for k, v in manifest.items() if k != name}


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: [manifest],
        lambda manifest: None,
        lambda manifest: "mla_jax.clips/1",
        lambda manifest: {},
        *map(without, ["schema", "clips", "time", "features", "classes", "dtype"]),
        *map(without, ["labels", "sha256", "bytes"]),
        replace(schema="mla_jax.clips/2"),
        replace(schema=["mla_jax.clips/1"]),
        replace(clips="20"),
        replace(clips=None),
        replace(classes=7.5),
        replace(dtype="embedding"),
        replace(dtype=["uint8"]),
        replace(bytes={}),
        replace(bytes=[1, 2]),
        replace(bytes=dict.fromkeys(FIELDS, "many")),
        replace(sha256={}),
        described(scaling=None),
        described(scaling={"offset": 1.0}),
        described(scaling={"offset": "none", "scale": 1.0}),
        described(scaling={"offset": 1.0, "scale": 0.0}),
        described(scaling={"offset": float("nan"), "scale": 1.0}),
        described(scaling={"offset": 10**400, "scale": 1.0}),
        described(encoder=5),
        described(encoder=""),
        described(hop_seconds="1"),
        described(example_seconds=-1),
        described(num_features=5),
        described(num_features="4"),
        described(dtype="float16"),
        described(details={"weights": 3}),
        described(details=["weights"]),
        described(unheard_of=3),
        replace(embedding=[]),
        replace(embedding=None),
        replace(classes=0),
        replace(clips=-20),
        replace(dtype=","),
        replace(beside=[]),
        replace(beside={"../class_labels_indices.csv": {"bytes": 1, "sha256": ""}}),
        replace(beside={"/etc/hostname": {"bytes": 1, "sha256": ""}}),
        replace(beside={"skipped_records.jsonl": 3}),
    ],
)
def test_refuses_a_manifest_that_is_not_its_own(
    folder: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    path = folder / MANIFEST
    rewrite(path, change)
    with raises_user_error(str(path)):
        open_packed(folder)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"clips": 19}, "embeddings"),
        ({"time": 4, "features": 5}, "embeddings"),
        ({"dtype": "int8"}, "embeddings"),
        ({"labels": 1}, "label_ids"),
    ],
)
def test_refuses_a_manifest_of_other_arrays(
    folder: Path, changes: dict[str, Any], name: str
) -> None:
    rewrite(folder / MANIFEST, replace(**changes))
    with raises_user_error(str(folder / f"{name}.npy"), "the manifest says"):
        open_packed(folder)


def test_reads_a_manifest_without_a_checksum(folder: Path) -> None:
    """Older versions wrote none, and nothing of the files beside the arrays."""
    rewrite(folder / MANIFEST, without("beside"))
    assert_same_clips(open_packed(folder, verify=True), random_clips())


def test_notices_an_edited_manifest(folder: Path) -> None:
    """Edits that keep the rest sound: only its own checksum can tell."""
    path = folder / MANIFEST
    whole = path.read_text()
    for edit in ({"classes": 8}, {"embedding": AUDIOSET.to_json()}, {"source": {}}):
        path.write_text(json.dumps(json.loads(whole) | edit))
        with raises_user_error(f"{path} is not what was written", "its own checksum"):
            open_packed(folder)
    # Laid out otherwise it says the same.
    path.write_text(json.dumps(json.loads(whole), sort_keys=True, separators=(",", ":")))
    assert_same_clips(open_packed(folder, verify=True), random_clips())


def test_finds_damage_beside_the_arrays(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    skipped = [("a.tfrecord", 3, "", "it has no label")]
    pack([random_clips()], folder, classes=ClassList.numbered(7), skipped=skipped)
    open_packed(folder, verify=True)
    for name in (FILE_NAME, "skipped_records.jsonl"):
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + b" ")
        open_packed(folder)
        with raises_user_error(f"{path} is not what was written"):
            open_packed(folder, verify=True)
        path.write_bytes(whole[:-1])
        with raises_user_error(str(path), "bytes, not the"):
            open_packed(folder)
        path.unlink()
        with raises_user_error(f"{path} is missing"):
            open_packed(folder)
        path.write_bytes(whole)


def test_verify_checks_values_and_the_class_list_too(tmp_path: Path) -> None:
    """What a program of someone else's may write, checksums and all."""
    clips = random_clips()
    bad = dataclasses.replace(clips, label_ids=clips.label_ids + 7)
    pack([bad], tmp_path / "labels")
    with raises_user_error(str(tmp_path / "labels"), "clip 0", "labels must be 0 to 6"):
        open_packed(tmp_path / "labels", verify=True)
    pack([clips], tmp_path / "offsets")
    for offsets in (clips.label_offsets + 1, clips.label_offsets[::-1]):
        odd = dataclasses.replace(clips, label_offsets=offsets)
        with raises_user_error("label_offsets do not ascend"):
            odd.check_values()
    pack([clips], tmp_path / "list", classes=ClassList.numbered(6))
    with raises_user_error(FILE_NAME, "has 6 classes, the clips have 7"):
        open_packed(tmp_path / "list", verify=True)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b'{"schema": "mla_jax.clips/1"'])
def test_refuses_a_manifest_that_is_not_json(folder: Path, text: bytes) -> None:
    path = folder / MANIFEST
    path.write_bytes(text)
    with raises_user_error(str(path), "not JSON"):
        open_packed(folder)
    path.write_bytes(b"[" * 100_000)
    with raises_user_error(str(path), "not JSON (brackets within brackets"):
        open_packed(folder)


def test_says_what_is_no_packed_folder(folder: Path) -> None:
    assert is_packed(folder)
    for path in (folder.parent, folder / "embeddings.npy", folder / "nothing"):
        assert not is_packed(path)
        with raises_user_error(str(path), "not a packed data set"):
            open_packed(path)


def test_a_foreign_file_of_the_right_size(folder: Path) -> None:
    """An archive in an array's place: NumPy's own loading would open it as one."""
    path = folder / "embeddings.npy"
    size = path.stat().st_size
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"")
        archive.comment = bytes(size - 22 - 2 * 5 - 30 - 46)
    assert path.stat().st_size == size
    with raises_user_error(str(path), "damaged"):
        open_packed(folder)


def test_a_header_that_leaves_values_out(folder: Path) -> None:
    path = folder / "video_ids.npy"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"'|S6'", b"'|S5'"))
    assert path.read_bytes() != whole
    with raises_user_error(str(path), "the manifest says"):
        open_packed(folder)
