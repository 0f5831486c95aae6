"""What a run remembers of its data: others are refused, the same are known in any format."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.data.class_list import FILE_NAME
from mla_jax.data.clips import ClipSet
from mla_jax.data.formats.record_writer import write_records
from mla_jax.data.packing import pack
from mla_jax.parallel.signals import InterruptedRunError
from mla_jax.runs import fingerprint
from mla_jax.runs.folder import RunFolder
from tests.support.helpers import in_order_of_files, raises_user_error, random_clips, read_clips
from tests.support.small_runs import run_config, train_quietly
from tests.support.untrained import WORLD, leave_untrained
from tests.support.untrained import run_config as untrained_config

CLIPS = in_order_of_files(random_clips(num_clips=40))
CLASSES = mla.ClassList(("",) * 7, tuple("ABCDEFG"))


def _one_vector(clips: ClipSet) -> ClipSet:
    embeddings = clips.embeddings.copy()
    embeddings[-1, 0] += 1
    return dataclasses.replace(clips, embeddings=embeddings)


CHANGES: dict[str, Any] = {
    "fewer clips": lambda clips: clips[:-1],
    "another order": lambda clips: clips[::-1],
    "one vector": _one_vector,
    "another id": lambda clips: dataclasses.replace(
        clips, video_ids=np.append(clips.video_ids[:-1], [b"new"])
    ),
    "a label more": lambda clips: dataclasses.replace(clips, label_ids=(clips.label_ids + 1) % 7),
    "a class more": lambda clips: dataclasses.replace(clips, num_classes=8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_clips_that_differ_are_told_apart(change: str, tmp_path: Path) -> None:
    other = CHANGES[change](CLIPS)
    assert fingerprint.fingerprint(other) != fingerprint.fingerprint(CLIPS)
    kept = fingerprint.describe({"train": CLIPS})
    now = f"{len(other)} clips" if len(other) == len(CLIPS) else f"40 clips then, {len(other)} now"
    with raises_user_error(f"{tmp_path}: the train clips have changed since it was made ({now}"):
        fingerprint.require_same(kept, {"train": other}, tmp_path, ["train"])
    fingerprint.require_same(kept, {"train": other}, tmp_path, ["eval"])
    fingerprint.require_same({}, {"train": other}, tmp_path, ["train"])


def test_equal_clips_are_the_same_in_any_format(tmp_path: Path) -> None:
    write_records(CLIPS, tmp_path / "records")
    pack([CLIPS], tmp_path / "packed")
    wider = dataclasses.replace(CLIPS, video_ids=CLIPS.video_ids.astype("S99"))
    for same in (wider, CLIPS[np.arange(40)], *map(read_clips, tmp_path.iterdir())):
        assert fingerprint.fingerprint(same) == fingerprint.fingerprint(CLIPS)


@pytest.fixture
def begun(whole_workdir: Path, tmp_path: Path) -> mla.Config:
    """A copy of a run whose data lie beside it, to be made longer; they are unchanged."""
    shutil.copytree(whole_workdir, tmp_path / "run")
    for seed, split in enumerate(("train", "eval")):
        pack([random_clips(num_clips=40, seed=seed)], tmp_path / split)
    config = run_config(tmp_path, steps=60)
    RunFolder(tmp_path / "run").write_config(config)
    return config


@pytest.mark.parametrize("split", ["train", "eval"])
@pytest.mark.parametrize("change", ["fewer clips", "one vector"])
def test_a_run_whose_data_have_changed(
    begun: mla.Config, change: str, split: str, tmp_path: Path
) -> None:
    changed = CHANGES[change](mla.open_packed(tmp_path / split))
    pack([changed], tmp_path / "other")
    shutil.rmtree(tmp_path / split)
    (tmp_path / "other").rename(tmp_path / split)
    lines: list[str] = []
    if split == "train":
        with raises_user_error(f"{tmp_path}/run: the train clips have changed", "--workdir"):
            train_quietly(begun, tmp_path / "run")
        assert RunFolder(tmp_path / "run").results()
        return
    finished = run_config(tmp_path)  # of as many steps as it has
    RunFolder(tmp_path / "run").write_config(finished)
    train_quietly(finished, tmp_path / "run", say=lines.append)
    assert ["is finished" in lines[0], "eval clips have changed" in lines[1]] == [True, True]
    shutil.rmtree(tmp_path / split)
    train_quietly(finished, tmp_path / "run", say=lines.append)
    assert "is finished" in lines[2]
    assert lines[3].startswith("warning: its data cannot be opened any more")
    pack([changed], tmp_path / split)
    with pytest.raises(InterruptedRunError, match="stopped at step 40"):
        train_quietly(begun, tmp_path / "run", say=lines.append, should_stop=lambda: True)
    assert any(line.startswith("warning: ") and "eval clips have changed" in line for line in lines)


def test_a_run_whose_data_are_the_same_goes_on(begun: mla.Config, tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "train" / FILE_NAME).write_text(CLASSES.to_csv())  # it had none, so none is another
    with pytest.raises(InterruptedRunError, match="stopped at step 40"):
        train_quietly(begun, tmp_path / "run", say=lines.append, should_stop=lambda: True)
    assert not any("warning" in line for line in lines)


def test_a_run_whose_class_list_has_changed(tmp_path: Path) -> None:
    for split in ("train", "eval"):
        made = mla.synthetic_clips(WORLD, split)
        mla.pack([made.clips], tmp_path / split, classes=CLASSES)
    config = untrained_config(tmp_path, "1-A")
    leave_untrained(config, tmp_path / "run")
    for split in ("train", "eval"):
        other = mla.ClassList(CLASSES.mids, CLASSES.names[::-1])
        (tmp_path / split / FILE_NAME).write_text(other.to_csv())
    with raises_user_error(
        f"{tmp_path}/run: the class list of its data, as it is now, is another: class 0 is 'G' there, "
        "but 'A' in use"
    ):
        train_quietly(config, tmp_path / "run")
