"""Every fault of an input that is known, by name: refused in one line, or left out, counted and listed."""

import ast
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest

from mla_jax.config import Config, DataConfig
from mla_jax.data import array_files, packed, packing, records, skipped, sources, splits
from mla_jax.data.clips import ClipSet
from mla_jax.data.labels import ClassList
from mla_jax.run_data import RunData
from tests.helpers import assert_same_clips, raises_user_error, random_clips
from tests.mutations import frame

ROOT = Path(__file__).parent.parent
FLOATS = [[0.5, -1.0, 2.0, 0.0]]
CONFIG = DataConfig(num_classes=7, max_segments=5)
SKIP = DataConfig(num_classes=7, max_segments=5, bad_records="skip")


def payload(
    video_id: bytes | None = b"the_video",
    label_ids: tuple[int, ...] = (1, 4),
    segments: Any = (b"abcd", b"efgh"),
    name: str = "audio_embedding",
) -> bytes:
    example = records.tf.train.SequenceExample()
    context = example.context.feature
    if video_id is not None:
        context["video_id"].bytes_list.value.append(video_id)
    context["start_time_seconds"].float_list.value.append(30.0)
    context["labels"].int64_list.value.extend(label_ids)
    for segment in segments:
        feature = example.feature_lists.feature_list[name].feature.add()
        if isinstance(segment, bytes):
            feature.bytes_list.value.append(segment)
        else:
            feature.float_list.value.extend(segment)
    return example.SerializeToString()


def good(i: int, **fields: Any) -> bytes:
    return frame(payload(b"good_%d" % i, **fields))


def flipped(record: bytes, position: int) -> bytes:
    changed = bytearray(record)
    changed[position] ^= 4
    return bytes(changed)


class Fault(NamedTuple):
    """A record file with one fault, and what is said of it.

    Attributes:
      content: of the file.
      record: the index named.
      video_id: the id named, or an empty string where it cannot be known.
      reason: part of what is said.
      kept: how many records of the file are left with bad_records=skip.
      segments: what good records of its kind hold.
    """

    content: bytes
    record: int
    video_id: str
    reason: str
    kept: int
    segments: Any = (b"abcd", b"efgh")


def in_the_middle(
    record: bytes, reason: str, video_id: str = "the_video", segments: Any = (b"abcd",)
) -> Fault:
    """The bad record between two good ones."""
    content = good(0, segments=segments) + record + good(1, segments=segments)
    return Fault(content, 1, video_id, reason, 2, segments)


def bad(reason: str, video_id: str = "the_video", **fields: Any) -> Fault:
    return in_the_middle(frame(payload(**fields)), reason, video_id)


def garbled(of: bytes, to: bytes) -> bytes:
    """A whole record whose payload has `to` where `of` was, of the same length."""
    assert payload().count(of) == 1
    assert len(of) == len(to)
    return frame(payload().replace(of, to))


NO_MESSAGE = "it is not a tf.train.SequenceExample"
WHOLE = good(0) + good(1)
FAULTS = {
    "truncated": Fault(WHOLE[:-30], 1, "", "the file ends inside it: the last", 1),
    "truncated in a length": Fault(WHOLE + b"\1\0\0", 2, "", "the file ends inside its length", 2),
    "bit flipped in the data": in_the_middle(
        flipped(frame(payload()), -1), "it is damaged (checksum of the data)"
    ),
    "bit flipped in a length": Fault(
        good(0) + flipped(good(1), 3) + good(2), 1, "", "checksum of the length", 1
    ),
    "empty": Fault(b"", 0, "", "the file is empty", 0),
    "text": Fault(b"YTID, start_seconds\n" * 9, 0, "", "not a TFRecord file", 0),
    "gzip": Fault(gzip.compress(WHOLE), 0, "", "gzip one, unpack it with gunzip", 0),
    "wrong feature name": bad("no segments (audio_embedding)", name="embedding"),
    "vector too short": bad("a segment of 3 bytes; the first record has 4", segments=[b"abc"]),
    "vector too long": bad("a segment of 5 bytes", segments=[b"abcd", b"abcde"]),
    "no segments": bad("it has no segments", segments=[]),
    "more segments than T": bad(
        "it has 6 segments, more than 5; long_clips", segments=[b"abcd"] * 6
    ),
    "label at K": bad("label 7 is outside 0 to 6 (7 classes)", label_ids=(1, 7)),
    "label above K": bad(f"label {2**40} is outside", label_ids=(2**40,)),
    "negative label": bad("label -1 is outside", label_ids=(-1, 3)),
    "repeated label": bad("label 3 is repeated", label_ids=(3, 1, 3)),
    # Two that TensorFlow's batched parsing takes, or crashes of.
    "labels that end early": in_the_middle(
        garbled(b"\n\x02\x01\x04", b"\n\x01\x01\x04"), NO_MESSAGE, ""
    ),
    "length beyond the record": in_the_middle(
        garbled(b"\n\x09the_video", b"\n\xf8\xb9\xdd\xc4\x9b\x30ideo"), NO_MESSAGE, ""
    ),
    "no label": bad("it has no label", label_ids=()),
    "no video id": in_the_middle(frame(payload(video_id=None)), "0 values of video_id", ""),
    "NaN": in_the_middle(
        frame(payload(segments=[[0.0, float("nan"), 0.0, 0.0]])), "NaN or infinity", segments=FLOATS
    ),
    "infinity": in_the_middle(
        frame(payload(segments=[[0.0, 1.0, 0.0, float("-inf")]])),
        "NaN or infinity",
        segments=FLOATS,
    ),
    "floats among bytes": bad("its audio_embedding is a float_list", segments=FLOATS),
}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest) -> Fault:
    return FAULTS[request.param]


def write(folder: Path, fault: Fault) -> Path:
    """A folder of two files: the faulty one, which is returned and read first, and a whole one."""
    folder.mkdir()
    (folder / "b.tfrecord").write_bytes(fault.content)
    (folder / "z.tfrecord").write_bytes(good(9, segments=fault.segments))
    return folder / "b.tfrecord"


@pytest.fixture
def bad_file(tmp_path: Path, fault: Fault) -> Path:
    return write(tmp_path / "records", fault)


def test_a_bad_record_is_one_line(bad_file: Path, fault: Fault) -> None:
    named = f", video id '{fault.video_id}'" if fault.video_id else ""
    place = f"{bad_file}, record {fault.record}{named}: "
    for opened in (str(bad_file.parent), str(bad_file), f"{bad_file.parent}/b*"):
        with raises_user_error(place, fault.reason, "bad_records=skip"):
            sources.open_clips(opened, CONFIG, 7)
    with raises_user_error(place, fault.reason, "bad_records=skip"):
        packing.pack_records(str(bad_file.parent), bad_file.parent.parent / "p", CONFIG)
    assert os.listdir(bad_file.parent.parent) == ["records"]


def test_a_bad_record_is_left_out_counted_and_listed(
    bad_file: Path, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    left_out: list[skipped.Skipped] = []
    clips = sources.open_clips(str(bad_file.parent), SKIP, 7, left_out)
    assert clips.video_ids.tolist() == [b"good_%d" % i for i in [*range(fault.kept), 9]]
    ((file, record, video_id, reason),) = left_out
    assert (file, record, video_id) == (str(bad_file), fault.record, fault.video_id)
    assert fault.reason in reason
    (warned,) = caplog.messages
    assert (
        f"1 bad records left out, the first of them {bad_file}, record {record}: {reason}" in warned
    )
    output = bad_file.parent.parent / "p"
    lines = packing.pack_records(str(bad_file.parent), output, SKIP)
    assert "skipped records      1" in lines
    (line,) = (output / "skipped_records.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "file": str(bad_file),
        "record": fault.record,
        "video_id": fault.video_id or None,
        "reason": reason,
    }
    assert_same_clips(packed.verify(output), clips)


def test_nothing_left_out_is_not_listed(tmp_path: Path) -> None:
    write(tmp_path / "records", Fault(WHOLE, 0, "", "", 2))
    packing.pack_records(str(tmp_path / "records"), tmp_path / "p", SKIP)
    assert not (tmp_path / "p" / "skipped_records.jsonl").exists()
    skipped.write_skipped(tmp_path / "none.jsonl", ())
    assert not (tmp_path / "none.jsonl").exists()


def test_the_list_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "run" / "skipped_records.jsonl"
    entries = [("a\udcff.tfrecord", 3, "-é\ufffd", 'it has "no" label'), ("b", 0, "", "empty")]
    skipped.write_skipped(path, entries)
    read = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [tuple(entry.values()) for entry in read] == [entries[0], ("b", 0, None, "empty")]
    skipped.write_skipped(path, entries[:1])
    assert len(path.read_text().splitlines()) == 1
    skipped.write_skipped(path, ())  # the records were mended
    assert path.read_text() == ""
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("path", ["nothing/*.tfrecord", "nothing", "."])
def test_an_empty_glob(tmp_path: Path, path: str) -> None:
    for config in (CONFIG, SKIP):
        with raises_user_error(str(tmp_path / path)):
            sources.open_clips(str(tmp_path / path), config, 7)
        with raises_user_error(str(tmp_path / path)):
            packing.pack_records(str(tmp_path / path), tmp_path / "p", config)


# A run's data as a whole.


@pytest.fixture
def packed_pair(tmp_path: Path) -> Callable[[list[str], list[str]], Config]:
    """Packs a train and an eval set of given ids; returns the config that opens them."""

    def pack(train: list[str], evaluation: list[str]) -> Config:
        for name, ids in (("train", train), ("eval", evaluation)):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            clips = ClipSet.from_arrays(
                np.ones((len(ids), 2, 3), np.uint8), np.ones((len(ids), 4)), video_ids=ids
            )
            packed.pack([clips], tmp_path / name)
        data = DataConfig(train=str(tmp_path / "train"), eval=str(tmp_path / "eval"))
        return Config(data=data)

    return pack


def test_an_id_in_both_train_and_eval(
    packed_pair: Callable[[list[str], list[str]], Config], caplog: pytest.LogCaptureFixture
) -> None:
    RunData.open(packed_pair(["a", "b", "c"], ["d", "e"]))
    # Clips without ids are numbered, in train as in eval.
    RunData.open(packed_pair(["clip0000000", "clip0000001"], ["clip0000000"]))
    assert not caplog.messages
    config = packed_pair(["a", "b", "-c", "clip0000000"], ["b", "x", "-c", "clip0000000"])
    opened = RunData.open(config)
    assert opened.sizes() == {"train": 4, "eval": 4}
    (warned,) = caplog.messages
    for part in ("2 video ids", config.data.train, config.data.eval, "'-c'"):
        assert part in warned
    assert "\n" not in warned


def test_ids_held_out_for_validation_count_as_trained_on(tmp_path: Path) -> None:
    clips = random_clips()
    assert splits.shared_ids(clips, clips[3:5]) == sorted(clips.video_ids[3:5].tolist())
    assert splits.shared_ids(clips[3:5], clips[5:]) == []


def test_a_run_gathers_what_was_left_out(tmp_path: Path) -> None:
    train = write(tmp_path / "train", FAULTS["no label"])
    evaluation = write(tmp_path / "eval", FAULTS["truncated"])
    data = DataConfig(
        train=str(train.parent),
        eval=str(evaluation.parent),
        num_classes=7,
        max_segments=5,
        bad_records="skip",
    )
    opened = RunData.open(Config(data=data))
    assert [entry[:3] for entry in opened.skipped] == [
        (str(train), 1, "the_video"),
        (str(evaluation), 1, ""),
    ]


def test_a_class_list_of_another_length(tmp_path: Path) -> None:
    packed.pack([random_clips()], tmp_path / "p", classes=ClassList.numbered(8))
    data = DataConfig(train=str(tmp_path / "p"))
    with raises_user_error(str(tmp_path / "p"), "7 classes, but 8 are in use"):
        RunData.open(Config(data=data))
    (tmp_path / "list.csv").write_text(ClassList.numbered(5).to_csv())
    data = DataConfig(
        train=str(tmp_path / "p"), class_list=str(tmp_path / "list.csv"), num_classes=7
    )
    with raises_user_error("num_classes=7, but the class list has 5 classes", "class_list"):
        RunData.open(Config(data=data))


# Files are data.


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
def test_hdf5_that_leads_to_another_file(tmp_path: Path, kind: str) -> None:
    clips = random_clips()
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
        array_files.read_array_file(path)
    if kind == "link":  # it is not even looked for
        other.unlink()
        with raises_user_error(f"{path}, x: ", "lie in another file"):
            array_files.read_array_file(path)


def test_an_archive_with_a_damaged_name(tmp_path: Path) -> None:
    """A name stands twice in it; where the second is damaged, the ids would just be missing."""
    clips = random_clips()
    path = tmp_path / "clips.npz"
    np.savez(path, x=clips.embeddings, y=clips.multi_hot(), video_id_list=clips.video_ids)
    content = path.read_bytes()
    name = b"video_id_list.npy"
    assert content.count(name) == 2
    for place in (content.index(name), content.rindex(name)):
        path.write_bytes(flipped(content, place))
        with raises_user_error(f"{path} cannot be read", "damaged"):
            array_files.read_array_file(path)


def test_an_archive_that_hides_an_array(tmp_path: Path) -> None:
    """A flipped length in the list of an archive makes one entry swallow the next."""
    clips = random_clips()
    path = tmp_path / "clips.npz"
    np.savez(path, x=clips.embeddings, y=clips.multi_hot(), video_id_list=clips.video_ids)
    content = bytearray(path.read_bytes())
    last, before = (content.rfind(b"PK\1\2", 0, end) for end in (None, content.rfind(b"PK\1\2")))
    content[before + 32] = len(content) - 22 - last  # of the comment of y.npy
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["x.npy", "y.npy"]
    with raises_user_error(f"{path} cannot be read", "it lists 2 arrays where 3 were written"):
        array_files.read_array_file(path)


def test_no_file_is_unpickled_or_unpacked() -> None:
    """No pickle in any disguise, no code from a file; archives only in `archive.py`, by its checks."""
    files = sorted((ROOT / "mla_jax").rglob("*.py")) + sorted((ROOT / "experiments").rglob("*.py"))
    assert len(files) > 50
    modules = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    calls = {"eval", "exec", "extract", "extractall", "unpack_archive", "__import__"}
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {a.name for a in node.names} | {getattr(node, "module", None) or ""}
                assert not modules & {name.split(".")[0] for name in names}, where
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            short = name.rsplit(".", 1)[-1]
            options = {k.arg: ast.unparse(k.value) for k in node.keywords}
            checked = path.name == "archive.py" and options.get("filter") == "'data'"
            assert short not in calls or name.startswith("jax.") or checked, where
            if name in (
                "np.load",
                "np.save",
                "np.lib.format.read_array",
                "np.lib.format.write_array",
            ):
                assert options.get("allow_pickle") == "False", where


# A disk that is full.


PACKS = """
import os, resource, signal, sys
import numpy as np
from mla_jax.data import packed
from mla_jax.data.clips import ClipSet
from mla_jax.data.labels import ClassList
from mla_jax.errors import UserError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
clips = ClipSet.from_arrays(np.ones((200, 1, int(sys.argv[1])), np.uint8), np.ones((200, 4)))
classes = ClassList.numbered(int(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    packed.pack([clips], "p", classes=classes)
except UserError as error:
    print(error)
print(os.listdir())
"""


@pytest.mark.parametrize(
    ("features", "classes", "limit"),
    [(60, 4, 9000), (1, 4, 3000), (1, 900, 4500), (1, 4, 200), (1, 4, 0)],
    ids=["embeddings", "labels", "class list", "small", "nothing"],
)
def test_a_limit_on_the_size_of_files(
    tmp_path: Path, features: int, classes: int, limit: int
) -> None:
    """Writing fails as on a full disk, in one file or another: one line, and nothing is left."""
    command = [sys.executable, "-c", PACKS, str(features), str(classes), str(limit)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60
    )
    assert not done.stderr
    error, left = done.stdout.splitlines()
    assert re.match("cannot write p: .*; nothing of it is kept, make room", error)
    assert left == "[]"


# The command.


def test_the_command_verifies(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "experiments.prepare_data", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)

    folder = tmp_path / "p"
    packed.pack([random_clips()], folder, classes=ClassList.numbered(7))
    done = run(f"--verify={folder}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{folder} is as it was written: 20 clips\n"
    path = folder / "start_times.npy"
    path.write_bytes(flipped(path.read_bytes(), -1))
    done = run(f"--verify={folder}")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {path} is not what was written")
    done = run(f"--verify={folder}", f"--output={tmp_path / 'q'}")
    assert done.returncode == 2
    assert "without --input and --output" in done.stderr
