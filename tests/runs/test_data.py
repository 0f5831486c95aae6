"""A run's data as a whole: ids in both splits, what was left out, and class lists that do not fit."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mla_jax.config import Config, DataConfig
from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.packing import pack
from mla_jax.data.splits import hash_fractions
from mla_jax.runs.data import RunData
from tests.support.helpers import raises_user_error, random_clips
from tests.support.records import payload, write_file


@pytest.fixture
def packed_pair(tmp_path: Path) -> Callable[[list[str], list[str]], Config]:
    """Packs a train and an eval set of given ids; returns the config that opens them."""

    def make(train: list[str], evaluation: list[str]) -> Config:
        rng = np.random.default_rng(0)
        for name, ids in (("train", train), ("eval", evaluation)):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
            clips = ClipSet.from_arrays(
                rng.integers(256, size=(len(ids), 2, 30)).astype(np.uint8),
                [[i % 2] for i in range(len(ids))],
                num_classes=4,
                video_ids=ids,
            )
            pack([clips], tmp_path / name)
        data = DataConfig(train=str(tmp_path / "train"), eval=str(tmp_path / "eval"))
        return Config(data=data)

    return make


def test_an_id_in_both_train_and_eval(
    packed_pair: Callable[[list[str], list[str]], Config], caplog: pytest.LogCaptureFixture
) -> None:
    RunData.open(packed_pair(["a", "b", "c"], ["d", "e"]))
    # Clips without ids are numbered, in train as in eval.
    RunData.open(packed_pair(["clip0000000", "clip0000001"], ["clip0000000", "clip0000001"]))
    assert not caplog.messages
    config = packed_pair(["a", "b", "-c", "clip0000000"], ["b", "x", "-c", "clip0000000"])
    opened = RunData.open(config)
    assert opened.sizes() == {"train": 4, "eval": 4}
    (warned,) = caplog.messages
    for part in ("2 video ids", config.data.train, config.data.eval, "'-c'"):
        assert part in warned
    assert "\n" not in warned


def test_copies_under_other_ids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same recording under two paths: in train and eval, or on both sides of a validation split."""
    clips = random_clips(num_clips=20)

    def copy(row: int, video_id: str) -> ClipSet:
        return dataclasses.replace(clips[[row]], video_ids=np.array([video_id.encode()]))

    pack([clips[:10], copy(4, "4 again")], tmp_path / "train")
    pack([clips[10:], copy(5, "5 too"), copy(6, "6 too")], tmp_path / "eval")
    data = DataConfig(train=str(tmp_path / "train"), eval=str(tmp_path / "eval"))
    RunData.open(Config(data=data))
    (warned,) = caplog.messages
    assert "copies of training clips under other ids: 2 of 12 eval clips" in warned
    assert f"such as '5 too' of {clips.video_ids[5].decode()!r}" in warned
    caplog.clear()
    fractions = hash_fractions(np.array([clips.video_ids[4], b"4 again"]))
    held_out = dataclasses.replace(data, eval="", validation_fraction=float(fractions.mean()))
    RunData.open(Config(data=held_out))
    (warned,) = caplog.messages
    assert "copies of training clips under other ids: 1 of " in warned
    assert " validation clips, such as " in warned


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([[0], [1]], []),
        ([[0], [0, 1]], ["every training clip has the label class 0"]),
        (
            [[0], [0]],
            ["every training clip has the label class 0", "the 2 eval clips give no score"],
        ),
    ],
)
def test_labels_that_tell_nothing_apart_are_warned_of(
    labels: list[list[int]],
    said: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for k, name in enumerate(("train", "eval")):
        ids = [f"{name}{i}" for i in range(2)]
        embeddings = np.full((2, 2, 3), k + 1, np.uint8)
        clips = ClipSet.from_arrays(embeddings, labels, num_classes=3, video_ids=ids)
        pack([clips], tmp_path / name)
    data = DataConfig(train=str(tmp_path / "train"), eval=str(tmp_path / "eval"))
    RunData.open(Config(data=data))
    assert len(caplog.messages) == len(said)
    assert all(start in message for start, message in zip(said, caplog.messages, strict=True))


@pytest.mark.parametrize("mask", [True, False])
def test_eval_clips_have_as_much_padding_as_in_training_where_it_counts(
    mask: bool, tmp_path: Path
) -> None:
    clips = random_clips(num_clips=6)
    short = ClipSet.from_arrays(clips.embeddings[:, :2], clips.multi_hot(), num_segments=[1, 2] * 3)
    pack([clips], tmp_path / "train")
    pack([short], tmp_path / "eval")
    data = DataConfig(train=str(tmp_path / "train"), eval=str(tmp_path / "eval"), mask=mask)
    evaluation = RunData.open(Config(data=data)).eval
    assert evaluation is not None
    assert evaluation.max_segments == (2 if mask else clips.max_segments)
    np.testing.assert_array_equal(evaluation.embeddings[:, :2], short.embeddings)
    assert not evaluation.embeddings[:, 2:].any()
    np.testing.assert_array_equal(evaluation.num_segments, short.num_segments)


def test_a_feature_list_that_no_data_have_is_refused(tmp_path: Path) -> None:
    pack([random_clips()], tmp_path / "packed")
    data = DataConfig(train=str(tmp_path / "packed"), feature="rgb")
    with raises_user_error("feature=rgb is not used", f"{tmp_path}/packed has none"):
        RunData.open(Config(data=data))


def test_a_run_gathers_what_was_left_out(tmp_path: Path) -> None:
    train = write_file(tmp_path / "train", [payload(b"good"), payload(label_ids=())])
    evaluation = write_file(tmp_path / "eval", [payload(b"other"), b"no message"])
    data = DataConfig(
        train=str(train),
        eval=str(evaluation),
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
    pack([random_clips()], tmp_path / "p", classes=ClassList.numbered(8))
    data = DataConfig(train=str(tmp_path / "p"))
    with raises_user_error(str(tmp_path / "p"), "7 classes, but 8 are in use"):
        RunData.open(Config(data=data))
    (tmp_path / "list.csv").write_text(ClassList.numbered(5).to_csv())
    data = DataConfig(
        train=str(tmp_path / "p"), class_list=str(tmp_path / "list.csv"), num_classes=7
    )
    with raises_user_error("num_classes=7, but the class list has 5 classes", "class_list"):
        RunData.open(Config(data=data))


@pytest.mark.parametrize(
    "mids", [("",) * 7, tuple(map(str, range(7))), ("x",) * 7, tuple("abcdefg")]
)
def test_a_class_list_of_another_order(mids: tuple[str, ...], tmp_path: Path) -> None:
    classes = ClassList(mids, tuple(f"Class {k % 3}{k}" for k in range(7)))
    other = ClassList(mids, classes.names[::-1])
    pack([random_clips()], tmp_path / "train", classes=classes)
    pack([random_clips(seed=1)], tmp_path / "eval", classes=other)
    pack([random_clips(seed=1)], tmp_path / "none")
    config = Config(data=DataConfig(train=str(tmp_path / "train"), eval=str(tmp_path / "eval")))
    with raises_user_error(f"the class list beside {tmp_path / 'eval'} is another: class 0 is"):
        RunData.open(config)
    data = dataclasses.replace(config.data, eval=str(tmp_path / "none"))
    assert RunData.open(Config(data=data)).classes == classes
