"""The TensorFlow Datasets builder, what it says of what is missing or damaged, and clips of what it built."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import shuffle

from mla_jax.audioset.tfds import Builder, Config
from mla_jax.audioset.tfds.audioset_embeddings import audioset_embeddings_dataset_builder as module
from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.data.formats.format import ReadOptions
from mla_jax.data.formats.record_writer import write_records
from mla_jax.data.formats.tfds import data_source_classes
from mla_jax.data.packing import pack
from mla_jax.data.sources import open_clips, open_data_source, open_packed, read_data_source
from mla_jax.data.synthetic import SyntheticConfig, synthetic_clips
from mla_jax.data.tensorflow import tf  # hidden from accelerators by then
from mla_jax.errors import UserError
from tests.support.bucket_server import put
from tests.support.helpers import assert_same_clips, raises_user_error, random_clips
from tests.support.programs import ROOT, python

# TensorFlow Datasets calls what protobuf 6 warns of, and 7 does not.
pytestmark = pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")

SIZES = {"num_clips": 180, "num_classes": 527, "num_features": 128, "short_clip_rate": 0.3}
SMALL = {"num_classes": 7, "max_segments": 5, "num_features": 4}  # of `random_clips`
VERSION = Path("audioset_embeddings", "v1", "1.0.0")


def read(folder: Path, **options: Any) -> ClipSet:
    """The clips of records, by the reader that is tested elsewhere."""
    return open_clips(str(folder), ReadOptions(**{"num_classes": 527, **options}))


def build(placed: Path, data_dir: Path, config: Config | None = None, **options: Any) -> Builder:
    """Builds what is in `placed` in `options["file_format"]`, else ArrayRecord."""
    file_format = options.pop("file_format", "array_record")
    builder = Builder(data_dir=data_dir, config=config, file_format=file_format)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=placed, **options)
    )
    return builder


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out as the release, with two of its three splits."""
    folder = tmp_path_factory.mktemp("placed")
    for split in ("bal_train", "eval"):
        made = synthetic_clips(SyntheticConfig(**SIZES), split)
        write_records(made.clips, folder / "audioset_v1_embeddings" / split)
    (folder / FILE_NAME).write_text(made.classes.to_csv())
    return folder


@pytest.fixture(scope="module")
def clips(placed: Path) -> dict[str, ClipSet]:
    return {s: read(placed / "audioset_v1_embeddings" / s) for s in ("bal_train", "eval")}


@pytest.fixture(scope="module")
def built(placed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data_dir of what is placed, in three files a split that are read at random."""
    folder = tmp_path_factory.mktemp("array_record")
    build(placed, folder, num_shards=3)
    return folder


@pytest.fixture(scope="module")
def built_for_tensorflow(placed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in TFRecord files, which `tfds.load` reads."""
    folder = tmp_path_factory.mktemp("tfrecord")
    build(placed, folder, num_shards=3, file_format="tfrecord")
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder with a `bal_train` of 20 clips of other sizes, to be damaged; no class list."""
    write_records(random_clips(), tmp_path / "small" / "bal_train")
    return tmp_path / "small"


def small_config(**options: Any) -> Config:
    return Config(name="small", **{**SMALL, **options})


# What is built is what the records hold.


@pytest.mark.slow
def test_a_set_in_a_bucket_is_fetched(built: Path, clips: dict[str, ClipSet], bucket: str) -> None:
    url = put(built / VERSION, f"{bucket}/audioset_embeddings/v1/1.0.0")
    assert_same_clips(open_data_source(url, "eval[:20]"), clips["eval"][:20])
    with raises_user_error(f"{bucket}/none", "does not exist"):
        open_data_source(f"{bucket}/none", "eval")


@pytest.mark.parametrize("split", ["bal_train", "eval"])
def test_a_data_source_is_the_records(
    built: Path, clips: dict[str, ClipSet], tmp_path: Path, split: str
) -> None:
    source = tfds.data_source("audioset_embeddings", split=split, data_dir=built, download=False)
    assert len(source) == 180
    assert_same_clips(open_data_source(source), clips[split])
    assert_same_clips(open_data_source(built / VERSION, split), clips[split])
    assert_same_clips(
        open_data_source(str(built / VERSION), f"{split}[30:50]"), clips[split][30:50]
    )
    chunks = list(read_data_source(source, chunk_size=64))
    assert [len(chunk) for chunk in chunks] == [64, 64, 52]
    assert_same_clips(pack(chunks, tmp_path / "packed"), clips[split])
    longer = open_data_source(source, max_segments=12)
    assert longer.embeddings.shape == (180, 12, 128)
    np.testing.assert_array_equal(longer.embeddings[:, :10], clips[split].embeddings)
    assert not longer.embeddings[:, 10:].any()


def test_tfds_load_gives_the_records(built_for_tensorflow: Path, clips: dict[str, ClipSet]) -> None:
    dataset, info = tfds.load(
        "audioset_embeddings",
        split="eval",
        data_dir=built_for_tensorflow,
        download=False,
        with_info=True,
    )
    assert info.features.dtype == {
        "video_id": np.object_,
        "start_time_seconds": np.float32,
        "embeddings": np.uint8,
        "num_segments": np.int32,
        "labels": np.int64,
    }
    assert dataset.element_spec["embeddings"].shape.as_list() == [None, 128]
    expected = clips["eval"]
    assert len(dataset) == info.splits["eval"].num_examples == len(expected)
    for i, example in enumerate(dataset.as_numpy_iterator()):
        segments = int(expected.num_segments[i])
        assert example["video_id"] == expected.video_ids[i]
        assert example["start_time_seconds"] == expected.start_times[i]
        assert example["num_segments"] == segments
        assert example["labels"].tolist() == expected.labels_of(i)
        assert example["embeddings"].dtype == np.uint8
        np.testing.assert_array_equal(example["embeddings"], expected.embeddings[i, :segments])


def test_classes_carry_their_names(built: Path, placed: Path) -> None:
    classes = ClassList.read(placed / FILE_NAME)
    for builder in (
        tfds.builder("audioset_embeddings", data_dir=built),
        tfds.builder_from_directory(built / VERSION),
    ):
        label = builder.info.features["labels"]
        assert label.num_classes == 527
        assert label.names == list(classes.names)
        assert label.int2str(7) == classes.names[7]
        assert data_source_classes(builder.as_data_source("eval")) == classes


def test_without_a_class_list_classes_are_numbered(small: Path, tmp_path: Path) -> None:
    builder = build(small, tmp_path, small_config())
    assert builder.info.features["labels"].names == list("0123456")
    assert data_source_classes(builder.as_data_source("bal_train")) is None
    clips = open_data_source(builder.as_data_source("bal_train"), max_segments=5)
    assert_same_clips(clips, read(small / "bal_train", num_classes=7, max_segments=5))


def test_class_names_are_one_line_each_and_no_two_alike() -> None:
    mids = ("/m/a", "/m/b")
    assert module.distinct_names(ClassList(mids, ("A, or a", " B\n b "))) == ["A, or a", "B b"]
    assert module.distinct_names(ClassList(mids, ("A", "A"))) == ["/m/a", "/m/b"]
    assert module.distinct_names(ClassList(mids, ("A", " "))) == ["/m/a", "/m/b"]
    assert module.distinct_names(ClassList(("", ""), ("A", "A"))) == ["0", "1"]


def test_ids_that_are_no_text_come_back_as_they_are(tmp_path: Path) -> None:
    made = ClipSet.from_arrays(
        np.ones((2, 1, 4), np.uint8), [[1], [2]], num_classes=7, video_ids=[b"a\xff\n", b"\xc3\xa9"]
    )
    write_records(made, tmp_path / "eval")
    builder = build(tmp_path, tmp_path / "built", small_config())
    opened = open_data_source(builder.as_data_source("eval"), max_segments=1)
    assert opened.video_ids.tolist() == [b"a\xff\n", b"\xc3\xa9"]


def test_the_order_is_kept_where_tfds_sorts_on_disk(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 0)  # is 1 GB
    builder = build(small, tmp_path, small_config())
    clips = open_data_source(builder.as_data_source("bal_train"), max_segments=5)
    assert_same_clips(clips, read(small / "bal_train", num_classes=7, max_segments=5))
    # Two million clips, some 3 GB, are sorted a hundredth at a time.
    keys = range(0, 2_041_789, 1000)
    buckets = [
        shuffle.get_bucket_number(k << module.KEY_SHIFT, shuffle.BUCKETS_NUMBER) for k in keys
    ]
    assert buckets == sorted(buckets)
    assert np.bincount(buckets).max() < len(keys) / 100


# Splits.


def test_a_split_without_records_is_left_out_and_said_to_be(
    placed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    builder = build(placed, tmp_path)
    (told,) = [m for m in caplog.messages if "left out" in m]
    assert "audioset_v1_embeddings has no records of unbal_train" in told
    assert list(builder.info.splits) == ["bal_train", "eval"]
    with raises_user_error(str(tmp_path), "no split unbal_train", "only bal_train, eval", "again"):
        tfds.data_source("audioset_embeddings", split="unbal_train[:10%]", data_dir=tmp_path)
    with raises_user_error("no split unbal_train"):
        tfds.load("audioset_embeddings", split=["eval", "unbal_train"], data_dir=tmp_path)
    with raises_user_error("no split unbal_train"):
        builder.as_dataset(split=tfds.even_splits("bal_train+unbal_train", 2))
    with raises_user_error("cannot open", "unbal_train", "bal_train", "eval"):
        open_data_source(tmp_path / VERSION, "unbal_train")


def test_a_split_that_is_asked_for_must_be_there(placed: Path, tmp_path: Path) -> None:
    with raises_user_error("audioset_v1_embeddings has no records of unbal_train", "splits"):
        build(placed, tmp_path, Config(name="both", splits=["eval", "unbal_train"]))
    assert not (tmp_path / "audioset_embeddings" / "both" / "1.0.0").exists()
    one = build(placed, tmp_path, Config(name="one", splits=["eval"]))
    assert list(one.info.splits) == ["eval"]
    with raises_user_error("no split is called 'train'", "bal_train, unbal_train, eval"):
        Config(name="none", splits=["train"])


def test_the_folder_of_splits_may_be_given_itself(placed: Path, tmp_path: Path) -> None:
    builder = build(placed / "audioset_v1_embeddings", tmp_path)
    assert builder.info.splits["bal_train"].num_examples == 180
    assert builder.info.features["labels"].names[0].startswith("Sound 0")  # the list is beside it


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_disjoint_and_together_everything(
    built: Path, clips: dict[str, ClipSet], count: int
) -> None:
    builder = tfds.builder("audioset_embeddings", data_dir=built)
    source = builder.as_data_source("eval[:100]")
    parts = [open_data_source(source, shard=(i, count)) for i in range(count)]
    assert_same_clips(concatenate(parts), clips["eval"][:100])
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for part, split in zip(parts, tfds.even_splits("eval[:100]", count), strict=True):
        assert_same_clips(open_data_source(builder.as_data_source(split)), part)


def test_tensorflow_pipelines_divide_the_files(
    built_for_tensorflow: Path, clips: dict[str, ClipSet]
) -> None:
    builder = tfds.builder("audioset_embeddings", data_dir=built_for_tensorflow)
    found: list[list[bytes]] = []
    for host in range(3):
        read_config = tfds.ReadConfig(input_context=tf.distribute.InputContext(3, host))
        dataset = builder.as_dataset(split="bal_train", read_config=read_config)
        found.append([example["video_id"] for example in dataset.as_numpy_iterator()])
    assert [len(ids) for ids in found] == [60, 60, 60]
    assert [video_id for ids in found for video_id in ids] == clips["bal_train"].video_ids.tolist()


def test_wrong_shards_are_told(built: Path) -> None:
    for shard in ((1, 1), (-1, 2), (0, 0)):
        with raises_user_error(f"shard={shard}"):
            open_data_source(built / VERSION, "eval", shard=shard)
    with raises_user_error("no clips", "only 2"):
        open_data_source(built / VERSION, "eval[:2]", shard=(2, 3))


# Bad records, and other records.


def damage(folder: Path) -> Path:
    """Changes one byte in the data of the first record."""
    path = sorted(folder.iterdir())[0]
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    return path


def test_a_damaged_record_is_told_or_left_out_and_listed(
    small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = damage(small / "bal_train")
    with raises_user_error(str(path), "record 0", "checksum", "bad_records=skip"):
        build(small, tmp_path, small_config())
    assert not list(tmp_path.glob("audioset_embeddings/small/*"))
    builder = build(small, tmp_path, small_config(bad_records="skip"))
    options: dict[str, Any] = {"num_classes": 7, "max_segments": 5, "bad_records": "skip"}
    clips = open_data_source(builder.as_data_source("bal_train"), max_segments=5)
    assert len(clips) == 19
    assert_same_clips(clips, read(small / "bal_train", **options))
    (line,) = (builder.data_path / "skipped_records.jsonl").read_text().splitlines()
    assert json.loads(line)["file"] == str(path)
    assert json.loads(line)["record"] == 0
    assert any("1 bad records left out, see skipped_records.jsonl" in m for m in caplog.messages)


def test_long_clips_stop_the_build_or_are_cut(
    small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with raises_user_error("segments, more than 3"):
        build(small, tmp_path, small_config(max_segments=3))
    builder = build(small, tmp_path, small_config(max_segments=3, long_clips="crop"))
    options: dict[str, Any] = {"num_classes": 7, "max_segments": 3, "long_clips": "crop"}
    source = builder.as_data_source("bal_train")
    expected = read(small / "bal_train", **options)
    assert_same_clips(open_data_source(source, max_segments=3), expected)
    assert any("clips cut to 3 segments" in message for message in caplog.messages)
    with raises_user_error("has 3 segments, more than max_segments=2", "clip "):
        open_data_source(source, max_segments=2)


def test_records_of_another_kind_are_told(small: Path, tmp_path: Path) -> None:
    with raises_user_error("embeddings of 4 uint8", "128"):
        build(small, tmp_path, small_config(num_features=128))
    write_records(random_clips(dtype="float32"), tmp_path / "floats" / "eval")
    with raises_user_error("embeddings of 4 float32"):
        build(tmp_path / "floats", tmp_path, small_config())
    (small / FILE_NAME).write_text(ClassList.numbered(8).to_csv())
    with raises_user_error("the class list has 8 classes, the config 7"):
        build(small, tmp_path, small_config())
    (small / FILE_NAME).unlink()
    for path in (small / "bal_train").iterdir():
        path.write_bytes(b"")
    with raises_user_error("bal_train has no record that can be used"):
        build(small, tmp_path, small_config(bad_records="skip"))


def test_nothing_placed_is_one_line(tmp_path: Path) -> None:
    with raises_user_error(f"{tmp_path}/nothing", "not exist", "mla-download-audioset"):
        build(tmp_path / "nothing", tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "readme.txt").write_text("no records")
    with raises_user_error(f"{tmp_path}/other has no records", "mla-download-audioset"):
        build(tmp_path / "other", tmp_path)


# Opening what is no such data set.


def test_other_folders_and_formats_are_told(built_for_tensorflow: Path, tmp_path: Path) -> None:
    with raises_user_error(f"{tmp_path} is no data set", "dataset_info.json"):
        open_data_source(tmp_path, "eval")
    with raises_user_error("tfrecord", "--file_format=array_record"):
        open_data_source(built_for_tensorflow / VERSION, "eval")
    (tmp_path / "dataset_info.json").write_text("{")
    with raises_user_error(f"cannot open {tmp_path}"):
        open_data_source(tmp_path, "eval")


def test_the_arguments_are_checked(built: Path) -> None:
    source = tfds.builder("audioset_embeddings", data_dir=built).as_data_source("eval")
    with raises_user_error("no split is given", "bal_train, eval"):
        open_data_source(built / VERSION)
    with raises_user_error("split='eval'", "a folder"):
        open_data_source(source, "eval")
    with raises_user_error("a dict is no data source of one split"):
        open_data_source(tfds.data_source("audioset_embeddings", data_dir=built))
    for sizes in ({"max_segments": 0}, {"chunk_size": 0}):
        with raises_user_error(next(iter(sizes))):
            read_data_source(source, **sizes)


def test_damaged_and_missing_files_are_told(small: Path, tmp_path: Path) -> None:
    builder = build(small, tmp_path, small_config())
    expected = read(small / "bal_train", num_classes=7, max_segments=5)
    opened = functools.partial(open_data_source, builder.data_path, "bal_train", max_segments=5)
    assert_same_clips(opened(), expected)
    (file,) = builder.data_path.glob("*.array_record-*")
    content = file.read_bytes()
    # In headers, data and padding: what can still be read is what was written.
    told = []
    for position in range(0, 3000, 75):
        changed = bytearray(content)
        changed[position] ^= 0xFF
        file.write_bytes(changed)
        try:
            assert_same_clips(opened(), expected)
        except UserError as error:
            told.append(str(error))
    assert 10 < len(told) < 40
    for message in told:
        assert "\n" not in message
        assert f"cannot read clips 0 to 19 of {builder.data_path}" in message
    for damaged in (b"", content[: len(content) // 2]):
        file.write_bytes(damaged)
        with raises_user_error("cannot read clips 0 to 19", "build it again"):
            opened()
    file.unlink()
    with raises_user_error("cannot read clips 0 to 19", "build it again"):
        opened()


# A user's own data set.


def own_data_set(folder: Path, **changed: Any) -> Path:
    """Two clips of float32 embeddings, without `num_segments`; `changed` replaces features, None removes."""
    f = tfds.features
    features = {
        "video_id": f.Text(),
        "start_time_seconds": np.float32,
        "embeddings": f.Tensor(shape=(None, 3), dtype=np.float32),
        "labels": f.Sequence(f.ClassLabel(num_classes=5)),
    }
    features = {k: v for k, v in (features | changed).items() if v is not None}
    shape = getattr(features["embeddings"], "shape", None)
    rank = len(shape) if shape else 2
    examples = [
        {
            "video_id": f"clip {i}",
            "start_time_seconds": 0.5 * i,
            "embeddings": np.full((2 + i, 3, 3)[:rank], i + 0.25, np.float32),
            "labels": [4, i],
        }
        for i in range(2)
    ]
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name="own",
        version="1.0.0",
        data_dir=folder,
        split_datasets={"train": [(i, {k: examples[i][k] for k in features}) for i in range(2)]},
        features=f.FeaturesDict(features),
        file_format="array_record",
        disable_shuffling=True,
    )
    return Path(builder.data_dir)


def test_a_data_set_of_ones_own_opens_too(tmp_path: Path) -> None:
    clips = open_data_source(own_data_set(tmp_path), "train", max_segments=4)
    expected = ClipSet.from_arrays(
        np.array([[0.25] * 2 + [0] * 2, [1.25] * 3 + [0]], np.float32)[:, :, None].repeat(3, 2),
        [[0, 4], [1, 4]],
        num_classes=5,
        num_segments=np.array([2, 3]),
        video_ids=["clip 0", "clip 1"],
        start_times=np.array([0, 0.5]),
    )
    assert_same_clips(clips, expected)


def test_other_features_are_told(tmp_path: Path) -> None:
    f = tfds.features
    for name, feature, parts in (
        ("labels", None, ("own/1.0.0 has no feature labels", "embeddings")),
        ("labels", f.Sequence(np.int64), ("labels without a number of classes",)),
        ("embeddings", f.Tensor(shape=(None, 3, 3), dtype=np.float32), ("(None, 3, 3)", "M]")),
    ):
        folder = own_data_set(tmp_path / str(len(parts[0])), **{name: feature})
        with raises_user_error(*parts):
            open_data_source(folder, "train")


# Where TensorFlow is not.

WITHOUT_TENSORFLOW = """
import sys

class Hidden:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *rest):
        hidden = name.split(".")[0] in ("tensorflow", "keras")
        return None if hidden else self.finder.find_spec(name, *rest)

if sys.argv[2] == "hidden":
    sys.meta_path[:] = map(Hidden, sys.meta_path)
from mla_jax.data import packing, sources
clips = sources.open_data_source(sys.argv[1] + "/audioset_embeddings/v1/1.0.0", "eval")
import tensorflow_datasets as tfds
import mla_jax.audioset.tfds
source = tfds.data_source("audioset_embeddings", split="eval", data_dir=sys.argv[1])
assert type(source.dataset_info.features["labels"].names[0]) is str
packing.pack(sources.read_data_source(source), sys.argv[3])
assert len(clips) == len(source) == 180
assert "tensorflow" not in sys.modules and "jax" not in sys.modules
"""


@pytest.mark.parametrize("installed", ["hidden", "there"])
def test_a_data_source_needs_no_tensorflow(
    built: Path, clips: dict[str, ClipSet], tmp_path: Path, installed: str
) -> None:
    done = python("-c", WITHOUT_TENSORFLOW, built, installed, tmp_path / "packed")
    assert done.returncode == 0, done.stderr
    assert_same_clips(open_packed(tmp_path / "packed"), clips["eval"])


# The command line, and the release.

FORMAT = "--file_format=array_record"
# The program `tfds` does not start without two packages that its other commands need; this is its `build`.
TFDS_BUILD = """
import argparse, sys
from tensorflow_datasets.scripts.cli import build, cli_utils
if hasattr(build, "Args"):
    cli_utils.make_flags_parser(build.Args, "tfds build")(sys.argv).execute()
else:  # 4.9.9
    parser = argparse.ArgumentParser()
    build.register_subparser(parser.add_subparsers())
    arguments = parser.parse_args(["build", *sys.argv[1:]])
    arguments.subparser_fn(arguments)
"""


@pytest.mark.slow
def test_the_command_builds_what_is_placed(
    placed: Path, clips: dict[str, ClipSet], tmp_path: Path
) -> None:
    flags = ["audioset_embeddings", "--imports=mla_jax.audioset.tfds", FORMAT]
    done = python("-c", TFDS_BUILD, *flags, f"--manual_dir={placed}", f"--data_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "unbal_train: this split is left out" in done.stderr
    for split in ("bal_train", "eval"):
        assert_same_clips(open_data_source(tmp_path / VERSION, split), clips[split])


@pytest.mark.slow
def test_the_program_tfds_builds_by_name_and_by_path(
    placed: Path, clips: dict[str, ClipSet], tmp_path: Path
) -> None:
    for needed in ("apache_beam", "mlcroissant"):
        pytest.importorskip(needed, reason="the program tfds needs it: pip install 'mla_jax[tfds]'")
    program = ["-m", "tensorflow_datasets.scripts.cli.main", "build"]
    for number, flags in enumerate(
        (
            ["audioset_embeddings", "--imports=mla_jax.audioset.tfds"],
            [str(ROOT / "mla_jax/audioset/tfds/audioset_embeddings")],
        )
    ):
        data_dir = tmp_path / str(number)
        places = [FORMAT, f"--manual_dir={placed}", f"--data_dir={data_dir}"]
        done = python(*program, *flags, *places)
        assert done.returncode == 0, done.stderr
        assert_same_clips(open_data_source(data_dir / VERSION, "eval"), clips["eval"])
        asked = "--config=" + json.dumps({"name": "asked", "splits": ["unbal_train"]})
        done = python(*program, *flags, *places, asked)
        assert done.returncode != 0
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("mla_jax.errors.UserError: ")
        assert "has no records of unbal_train" in last


@pytest.mark.slow
@pytest.mark.audioset
def test_the_release_is_built_whole(audioset_dir: Path, tmp_path: Path) -> None:
    builder = build(audioset_dir, tmp_path)
    sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert {name: sizes[name] for name in ("bal_train", "eval")} == {
        "bal_train": 22160,
        "eval": 20371,
    }
    assert builder.info.features["labels"].names[0] == "Speech"
    for split in ("bal_train", "eval"):
        expected = read(audioset_dir / split)
        assert_same_clips(open_data_source(tmp_path / VERSION, split), expected)
        shards = [open_data_source(tmp_path / VERSION, split, shard=(i, 8)) for i in range(8)]
        assert_same_clips(concatenate(shards), expected)
