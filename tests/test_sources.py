"""Opening what a path names, packed or records, and packing records with an account."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mla_jax.config import DataConfig
from mla_jax.data import packed, packing, record_writer, sources
from mla_jax.data.clips import ClipSet
from mla_jax.data.labels import FILE_NAME, ClassList
from tests.helpers import assert_same_clips, raises_user_error, random_clips

ROOT = Path(__file__).parent.parent
CLASSES = ClassList(mids=tuple(f"/m/{k}" for k in range(7)), names=tuple("ABCDEFG"))


@pytest.fixture(scope="module")
def clips() -> ClipSet:
    """20 clips of 1 to 5 segments, of 7 classes; sorted, as they are read from records."""
    clips = random_clips()
    return clips[np.argsort(clips.video_ids)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, clips: ClipSet) -> tuple[str, str]:
    """The same clips as records and packed, without a class list; not to be written to."""
    folder = tmp_path_factory.mktemp("sources")
    record_writer.write_records(clips, folder / "records")
    packed.pack([clips], folder / "packed")
    return str(folder / "records"), str(folder / "packed")


@pytest.fixture
def record_folder(tmp_path: Path, clips: ClipSet) -> Path:
    """The clips as records in data/records, to put other things beside."""
    record_writer.write_records(clips, tmp_path / "data" / "records")
    return tmp_path / "data" / "records"


def write_classes(folder: Path, classes: ClassList = CLASSES) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE_NAME).write_text(classes.to_csv())
    return str(folder / FILE_NAME)


def by_id(clips: ClipSet) -> ClipSet:
    return clips[np.argsort(clips.video_ids)]


def test_opens_the_same_clips_from_records_and_packed(
    folders: tuple[str, str], clips: ClipSet
) -> None:
    config = DataConfig(max_segments=5)
    as_records, as_packed = folders
    for path in (as_records, as_packed, f"{as_records}/*.tfrecord"):
        assert_same_clips(by_id(sources.open_clips(path, config, 7)), clips)
    file = sorted(Path(as_records).iterdir())[0]
    one = sources.open_clips(str(file), config, 7)
    assert {v[:2] for v in one.video_ids.tolist()} == {file.stem.encode()}
    # The time axis is the config's for records, their own for packed clips.
    longer = DataConfig(max_segments=8)
    assert sources.open_clips(as_records, longer, 7).embeddings.shape == (20, 8, 4)
    assert sources.open_clips(as_packed, longer, 7).embeddings.shape == (20, 5, 4)


def test_opening_packed_clips_does_not_import_tensorflow(folders: tuple[str, str]) -> None:
    program = """
import sys
from mla_jax.config import DataConfig
from mla_jax.data import sources
config = DataConfig()
found = sources.find_classes(config, sys.argv[1])
clips = sources.open_clips(sys.argv[1], config, sources.count_classes(config, found, sys.argv[1]))
assert len(clips) == 20
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, folders[1]], check=True, cwd=ROOT, timeout=60)


def test_records_follow_the_config(folders: tuple[str, str], clips: ClipSet) -> None:
    as_records = folders[0]
    with raises_user_error(".tfrecord, record 0", "more than 2", "crop"):
        sources.open_clips(as_records, DataConfig(max_segments=2), 7)
    cropped = sources.open_clips(as_records, DataConfig(max_segments=2, long_clips="crop"), 7)
    np.testing.assert_array_equal(by_id(cropped).embeddings, clips.embeddings[:, :2])
    # With fewer classes than there are, records of the others are bad.
    with raises_user_error(".tfrecord, record 0", "label", "0 to 3"):
        sources.open_clips(as_records, DataConfig(max_segments=5), 4)
    good = np.array([max(clips.labels_of(i)) < 4 for i in range(len(clips))])
    some = sources.open_clips(as_records, DataConfig(max_segments=5, bad_records="skip"), 4)
    assert 0 < good.sum() < len(good)
    assert by_id(some).video_ids.tolist() == clips[good].video_ids.tolist()


def test_what_is_left_out_or_cut_is_logged(
    folders: tuple[str, str], clips: ClipSet, caplog: pytest.LogCaptureFixture
) -> None:
    as_records = folders[0]
    sources.open_clips(as_records, DataConfig(max_segments=5), 7)
    assert not caplog.messages
    config = DataConfig(max_segments=2, long_clips="crop", bad_records="skip")
    kept = sources.open_clips(as_records, config, 4)
    skipped, cut = caplog.messages
    assert skipped.startswith(f"{as_records}: {len(clips) - len(kept)} bad records left out")
    assert "outside 0 to 3" in skipped
    cropped = np.isin(kept.video_ids, clips.video_ids[clips.num_segments > 2]).sum()
    assert cut == f"{as_records}: {cropped} clips cut to 2 segments"


def test_says_what_cannot_be_opened(
    tmp_path: Path, folders: tuple[str, str], clips: ClipSet
) -> None:
    config = DataConfig(max_segments=5)
    as_packed = folders[1]
    with raises_user_error(as_packed, "7 classes", "8 are in use"):
        sources.open_clips(as_packed, config, 8)
    for nothing in (str(tmp_path), str(tmp_path / "*.tfrecord")):
        with raises_user_error(nothing, "no record files"):
            sources.open_clips(nothing, config, 7)
    with raises_user_error(str(tmp_path / "none"), "does not exist"):
        sources.open_clips(str(tmp_path / "none"), config, 7)
    (tmp_path / "empty.tfrecord").write_bytes(b"")
    with raises_user_error(f"{tmp_path}/empty.tfrecord, record 0: the file is empty"):
        sources.open_clips(str(tmp_path), config, 7)
    with raises_user_error(str(tmp_path), "no record that can be used"):
        sources.open_clips(str(tmp_path), DataConfig(bad_records="skip"), 7)
    assert clips.label_ids.max() > 0
    none_good = DataConfig(max_segments=5, bad_records="skip")
    record_writer.write_records(clips[[c > 0 for c in first_labels(clips)]], tmp_path / "high")
    with raises_user_error(str(tmp_path / "high"), "no record that can be used"):
        sources.open_clips(str(tmp_path / "high"), none_good, 1)


def first_labels(clips: ClipSet) -> list[int]:
    return [clips.labels_of(i)[0] for i in range(len(clips))]


@pytest.mark.parametrize("where", [".", "csv", "..", "../csv"])
@pytest.mark.parametrize("kind", ["folder", "file", "glob"])
def test_finds_the_class_list_beside_records(record_folder: Path, kind: str, where: str) -> None:
    file = sorted(record_folder.iterdir())[0]
    write_classes(record_folder / where)
    path = {"folder": record_folder, "file": file, "glob": record_folder / "*.tfrecord"}[kind]
    assert sources.find_classes(DataConfig(), str(path)) == CLASSES
    assert sources.find_classes(DataConfig(), "", str(path)) == CLASSES


def test_finds_the_class_list_of_packed_clips(tmp_path: Path, clips: ClipSet) -> None:
    packed.pack([clips], tmp_path / "with", classes=CLASSES)
    packed.pack([clips], tmp_path / "other" / "without")
    with_list, without = str(tmp_path / "with"), str(tmp_path / "other" / "without")
    assert sources.find_classes(DataConfig(), with_list) == CLASSES
    assert sources.find_classes(DataConfig(), without) is None
    assert sources.find_classes(DataConfig(), without, with_list) == CLASSES
    assert sources.find_classes(DataConfig()) is None


def test_the_config_names_the_class_list(tmp_path: Path, record_folder: Path) -> None:
    write_classes(record_folder)
    named = write_classes(tmp_path / "named", ClassList.numbered(9))
    config = DataConfig(class_list=named)
    assert sources.find_classes(config, str(record_folder)) == ClassList.numbered(9)
    missing = DataConfig(class_list=str(tmp_path / "missing.csv"))
    with raises_user_error("missing.csv"):
        sources.find_classes(missing, str(record_folder))


def test_counts_classes_by_the_first_that_knows(folders: tuple[str, str]) -> None:
    as_records, as_packed = folders
    count = sources.count_classes
    assert count(DataConfig(), ClassList.numbered(9), as_packed) == 9
    assert count(DataConfig(num_classes=9), ClassList.numbered(9), as_packed) == 9
    assert count(DataConfig(num_classes=5), None, as_packed) == 5
    assert count(DataConfig(), None, as_packed) == 7
    assert count(DataConfig(), None, "", as_records, as_packed) == 7
    assert count(DataConfig(), None, "", as_records) == 527
    assert count(DataConfig(), None) == 527
    with raises_user_error("num_classes=5", "9 classes", "class_list"):
        count(DataConfig(num_classes=5), ClassList.numbered(9))


def test_packs_records_and_gives_an_account(
    record_folder: Path, tmp_path: Path, clips: ClipSet
) -> None:
    list_path = write_classes(record_folder.parent / "csv")
    rare = ClassList(mids=(*CLASSES.mids, "/m/7"), names=(*CLASSES.names, "Rare, it is"))
    Path(list_path).write_text(rare.to_csv())
    output = tmp_path / "packed"
    lines = packing.pack_records(str(record_folder), output, DataConfig(max_segments=5))
    opened = packed.open_packed(output, verify=True)
    expected = ClipSet.from_arrays(
        clips.embeddings,
        [clips.labels_of(i) for i in range(len(clips))],
        num_classes=8,
        num_segments=clips.num_segments,
        video_ids=clips.video_ids,
        start_times=clips.start_times,
    )
    assert_same_clips(by_id(opened), expected)
    assert ClassList.read(output / FILE_NAME) == rare
    files = len(list(record_folder.iterdir()))
    lengths = clips.num_segments.tolist()
    counts = sorted(clips.class_counts().tolist())
    assert lines == [
        f"packed {output}",
        f"files                {files}",
        "clips                20, of 5 segments x 4 features, uint8",
        "clips by segments    "
        + ", ".join(f"{n}: {lengths.count(n)}" for n in sorted(set(lengths))),
        f"labels               {sum(counts)} of 8 classes",
        f"positives per class  min {counts[0]}, median {counts[3]}, max {counts[-1]}",
        "without positives    1: Rare, it is",
        "skipped records      0",
    ]
    source = json.loads((output / packed.MANIFEST).read_text())["source"]
    assert source == {"input": str(record_folder), "files": files, "skipped": []}


def test_the_account_names_what_was_cropped_and_skipped(
    record_folder: Path, tmp_path: Path, clips: ClipSet
) -> None:
    config = DataConfig(max_segments=2, long_clips="crop", bad_records="skip", num_classes=4)
    output = tmp_path / "packed"
    lines = packing.pack_records(str(record_folder), output, config)
    bad = {
        clips.video_ids[i].decode(): max(clips.labels_of(i))
        for i in range(len(clips))
        if max(clips.labels_of(i)) >= 4
    }
    good = [i for i in range(len(clips)) if clips.video_ids[i].decode() not in bad]
    assert bad
    assert by_id(packed.open_packed(output)).video_ids.tolist() == clips.video_ids[good].tolist()
    cropped = int((clips.num_segments[good] > 2).sum())
    assert f"cropped clips        {cropped}" in lines
    place = lines.index(f"skipped records      {len(bad)}")
    listed = lines[place + 1 :]
    assert len(listed) == len(bad)
    for line in listed:
        file, rest = line.split(", record ", 1)
        video_id = rest.split("(", 1)[1].split(")", 1)[0]
        assert file == f"  {record_folder / video_id[:2]}.tfrecord"
        assert "outside 0 to 3" in line
        assert video_id in bad
    assert "no class list found" in "\n".join(lines)
    manifest = json.loads((output / packed.MANIFEST).read_text())
    assert {entry[2] for entry in manifest["source"]["skipped"]} == set(bad)
    with raises_user_error("record 0", "bad_records=skip"):
        packing.pack_records(
            str(record_folder), tmp_path / "strict", DataConfig(max_segments=5, num_classes=4)
        )
    assert not (tmp_path / "strict").exists()


def test_packs_for_audioset_where_nothing_says_otherwise(
    record_folder: Path, tmp_path: Path
) -> None:
    lines = packing.pack_records(str(record_folder), tmp_path / "p", DataConfig(max_segments=5))
    assert packed.open_packed(tmp_path / "p").num_classes == 527
    assert not (tmp_path / "p" / FILE_NAME).exists()
    (labels,) = (line for line in lines if line.startswith("labels"))
    assert "of 527 classes (no class list found: classes are shown by index; " in labels
    (absent,) = (line for line in lines if line.startswith("without positives"))
    assert absent.startswith("without positives    520: 7; 8; 9; ")
    assert absent.endswith("; 26; and 500 more")


@pytest.mark.parametrize("where", [".", "csv", "..", "../csv"])
def test_packs_with_the_class_list_found_beside(
    record_folder: Path, tmp_path: Path, where: str
) -> None:
    write_classes(record_folder / where)
    output = tmp_path / "out" / "packed"
    lines = packing.pack_records(str(record_folder), output, DataConfig(max_segments=5))
    assert ClassList.read(output / FILE_NAME) == CLASSES
    assert packed.open_packed(output).num_classes == 7
    assert "without positives    no class" in lines


def test_says_what_cannot_be_packed(record_folder: Path, tmp_path: Path) -> None:
    config = DataConfig(max_segments=5)
    with raises_user_error(str(tmp_path / "none"), "does not exist"):
        packing.pack_records(str(tmp_path / "none"), tmp_path / "p", config)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with raises_user_error(str(tmp_path / "taken"), "already exists"):
        packing.pack_records(str(record_folder), tmp_path / "taken", config)
    list_path = write_classes(tmp_path / "named")
    with raises_user_error("num_classes=5", "7 classes"):
        packing.pack_records(
            str(record_folder), tmp_path / "p", DataConfig(class_list=list_path, num_classes=5)
        )
    assert {path.name for path in tmp_path.iterdir()} == {"data", "named", "taken"}
