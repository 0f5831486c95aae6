"""ClipSet against a list of clips, and the split by video id."""

import dataclasses
import itertools
from typing import Any

import jax
import numpy as np
import pytest

from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.data.embedding import Embedding, Scaling
from mla_jax.data.splits import copies, hash_fractions, hold_out, shared_ids, take_share
from tests.support.helpers import FIELDS, assert_same_clips, raises_user_error, random_clips

Clip = tuple[bytes, int, list[int], bytes, float]


def as_list(clips: ClipSet) -> list[Clip]:
    """The same clips one by one, found without any of the code under test."""
    offsets = clips.label_offsets.tolist()
    return [
        (
            clips.embeddings[i].tobytes(),
            int(clips.num_segments[i]),
            clips.label_ids.tolist()[offsets[i] : offsets[i + 1]],
            bytes(clips.video_ids[i]),
            float(clips.start_times[i]),
        )
        for i in range(clips.embeddings.shape[0])
    ]


def assert_is_list(clips: ClipSet, expected: list[Clip], like: ClipSet) -> None:
    """`clips` holds the clips of `expected`, and is otherwise of the same kind as `like`."""
    assert as_list(clips) == expected
    assert len(clips) == len(expected)
    for name in FIELDS:
        if name != "video_ids":  # those are as wide as the longest
            assert getattr(clips, name).dtype == getattr(like, name).dtype, name
    assert clips.embeddings.shape[1:] == like.embeddings.shape[1:]
    assert (clips.num_classes, clips.embedding) == (like.num_classes, like.embedding)
    assert clips.label_offsets[0] == 0
    assert clips.label_offsets[-1] == len(clips.label_ids)
    clips.check_values()


DOG_AND_CAT = ClassList(("", ""), ("Dog", "Cat"))


def minimal(**changes: Any) -> ClipSet:
    """`from_arrays` on two clips of three segments and four classes, with some arguments replaced."""
    arguments: dict[str, Any] = {
        "embeddings": np.zeros((2, 3, 5), np.uint8),
        "labels": [[0], [1, 3]],
        "num_classes": 4,
        **changes,
    }
    return ClipSet.from_arrays(arguments.pop("embeddings"), arguments.pop("labels"), **arguments)


SLICES = [
    slice(None),
    slice(3, 9),
    slice(5, None),
    slice(None, -6),
    slice(-7, -2),
    slice(4, 4),
    slice(9, 3),
    slice(0, 1000),
    slice(-1000, 2),
    slice(None, None, 3),
    slice(1, 18, 5),
    slice(None, None, -1),
    slice(-2, 3, -4),
    slice(2, 12, -1),
]


@pytest.mark.parametrize("rows", SLICES, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_slices_as_a_list_does(dtype: str, rows: slice) -> None:
    clips = random_clips(dtype=dtype, scaling=Scaling(3.0, 0.5))
    assert_is_list(clips[rows], as_list(clips)[rows], clips)


@pytest.mark.parametrize(
    "rows",
    [
        [4, 0, 19],
        [7, 7, 7, 2],
        [-1, 3, -20],
        [],
        (1, 2),
        np.array([5], np.uint8),
        np.arange(19, -1, -1, dtype=np.int32),
    ],
    ids=str,
)
def test_takes_indices_in_their_order(rows: Any) -> None:
    clips = random_clips()
    assert_is_list(clips[rows], [as_list(clips)[i] for i in rows], clips)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_takes_the_chosen_of_a_bool_array(share: float) -> None:
    clips = random_clips()
    chosen = np.random.default_rng(1).random(len(clips)) < share
    expected = [clip for clip, taken in zip(as_list(clips), chosen, strict=True) if taken]
    assert_is_list(clips[chosen], expected, clips)
    assert_is_list(clips[chosen.tolist()], expected, clips)


def test_choices_of_choices_stay_aligned() -> None:
    rng = np.random.default_rng(0)
    for seed in range(30):
        clips = random_clips(num_clips=40, seed=seed)
        expected = as_list(clips)
        like = clips
        for _ in range(4):
            kind = rng.integers(4)
            if kind == 0:
                start, stop = rng.integers(-45, 45, 2).tolist()
                clips, expected = clips[start:stop], expected[start:stop]
            elif kind == 1:
                clips, expected = clips[:: (step := int(rng.choice([-3, -1, 2])))], expected[::step]
            elif kind == 2 and expected:
                rows = rng.integers(-len(expected), len(expected), 25)
                clips, expected = clips[rows], [expected[i] for i in rows]
            else:
                keep = rng.random(len(expected)) < 0.7
                clips = clips[keep]
                expected = [clip for clip, kept in zip(expected, keep, strict=True) if kept]
            assert_is_list(clips, expected, like)


def test_plain_slices_share_memory_and_choices_do_not() -> None:
    clips = random_clips()
    for name in set(FIELDS) - {"label_offsets"}:
        whole = getattr(clips, name)
        assert np.shares_memory(getattr(clips[2:7], name), whole), name
        assert not np.shares_memory(getattr(clips[[2, 3]], name), whole), name


@pytest.mark.parametrize("rows", [3, "ab", [0.5], [[1]], np.zeros((2, 2), bool), None])
def test_refuses_other_indices(rows: Any) -> None:
    with pytest.raises(TypeError):
        random_clips()[rows]


@pytest.mark.parametrize("rows", [[20], [-21], [True], np.ones(21, bool)])
def test_refuses_indices_beyond_the_clips(rows: Any) -> None:
    with pytest.raises(IndexError):
        random_clips()[rows]


@pytest.mark.parametrize("cuts", [[], [1], [0, 5, 5, 20], list(range(20))])
def test_joining_the_parts_gives_the_whole(cuts: list[int]) -> None:
    clips = random_clips(dtype="float16", scaling=Scaling(1.0, 2.0))
    bounds = [0, *cuts, len(clips)]
    parts = [clips[a:b] for a, b in itertools.pairwise(bounds)]
    assert_same_clips(concatenate(parts), clips)


def test_joins_sets_in_order() -> None:
    parts = [random_clips(num_clips=n, seed=n) for n in (3, 1, 6)]
    assert_is_list(concatenate(parts), [c for part in parts for c in as_list(part)], parts[0])


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"time": 4}, "time and features"),
        ({"features": 3}, "time and features"),
        ({"dtype": "float32"}, "dtype"),
        ({"num_classes": 8}, "classes"),
        ({"scaling": Scaling(0.0, 1.0)}, "scaling"),
    ],
)
def test_does_not_join_unlike_sets(other: dict[str, Any], what: str) -> None:
    with raises_user_error("cannot be joined", what):
        concatenate([random_clips(), random_clips(), random_clips(**other)])


def test_does_not_join_nothing() -> None:
    with raises_user_error("no clips to join"):
        concatenate([])


def test_labels_of_multi_hot_and_counts_agree_with_the_lists_given() -> None:
    lists = [[2], [], [5, 0, 3], [3, 2], []]
    clips = minimal(embeddings=np.zeros((5, 3, 5), np.uint8), labels=lists, num_classes=7)
    assert [clips.labels_of(i) for i in range(5)] == [sorted(row) for row in lists]
    matrix = clips.multi_hot()
    assert (matrix.dtype, matrix.shape) == (bool, (5, 7))
    assert matrix.tolist() == [[k in row for k in range(7)] for row in lists]
    assert clips.class_counts().tolist() == [1, 0, 2, 2, 0, 1, 0]
    for part in (clips[1:4], clips[[4, 3, 2]], clips[:0]):
        np.testing.assert_array_equal(part.class_counts(), part.multi_hot().sum(axis=0))
        assert [np.flatnonzero(row).tolist() for row in part.multi_hot()] == [
            part.labels_of(i) for i in range(len(part))
        ]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_a_label_matrix_is_the_same_as_lists(dtype: Any) -> None:
    clips = random_clips()
    matrix = np.array(
        [[k in clips.labels_of(i) for k in range(clips.num_classes)] for i in range(len(clips))]
    )
    again = ClipSet.from_arrays(clips.embeddings, matrix.astype(dtype))
    np.testing.assert_array_equal(again.label_ids, clips.label_ids, strict=True)
    np.testing.assert_array_equal(again.label_offsets, clips.label_offsets, strict=True)
    assert again.num_classes == clips.num_classes


def test_mask_marks_the_first_segments() -> None:
    clips = minimal(
        embeddings=np.zeros((3, 4, 1), np.uint8), labels=[[0]] * 3, num_segments=[1, 4, 3]
    )
    assert clips.mask().astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]]
    clips = random_clips(time=9)
    np.testing.assert_array_equal(clips.mask().sum(axis=1), clips.num_segments)


def test_what_lies_behind_a_clips_segments_becomes_zeros(caplog: pytest.LogCaptureFixture) -> None:
    embeddings = np.ones((3, 4, 2), np.float32)
    clips = ClipSet.from_arrays(embeddings, [[0]] * 3, num_classes=1, num_segments=[4, 1, 3])
    np.testing.assert_array_equal(clips.embeddings, clips.mask()[:, :, None] * embeddings)
    assert embeddings.all()
    (said,) = caplog.messages
    assert said.startswith("2 of 3 clips have vectors behind their num_segments")
    caplog.clear()
    ClipSet.from_arrays(clips.embeddings, [[0]] * 3, num_classes=1, num_segments=[4, 1, 3])
    assert not caplog.messages


def test_what_is_left_out_has_the_documented_value() -> None:
    clips = minimal()
    assert clips.num_segments.tolist() == [3, 3]
    assert clips.video_ids.tolist() == [b"clip0000000", b"clip0000001"]
    assert clips.start_times.tolist() == [0, 0]
    assert clips.embedding == Embedding("uint8", clips.num_features, Scaling(128.0, 128.0))
    for dtype in ("float16", "float32"):
        floats = minimal(embeddings=np.zeros((2, 3, 5), dtype))
        assert floats.embedding.scaling == Scaling(0.0, 1.0)
        assert floats.embeddings.dtype == dtype
    assert (clips.max_segments, clips.num_features, len(clips)) == (3, 5, 2)
    assert [getattr(clips, name).dtype.str[:3] for name in FIELDS] == [
        "|u1",
        "<i4",
        "<i8",
        "<i4",
        "|S1",
        "<f8",
    ]


def test_floats_of_another_byte_order_become_the_machines() -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(">f4")
    clips = minimal(embeddings=values)
    np.testing.assert_array_equal(clips.embeddings, values)
    jax.device_put(clips.embeddings)  # refuses any other byte order


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"embeddings": np.zeros(2, np.uint8)}, ["[2]", "[clips, features]"]),
        ({"embeddings": np.zeros((2, 3, 5, 1), np.uint8)}, ["[2, 3, 5, 1]"]),
        ({"embeddings": np.full((2, 3, 5), 1e300)}, ["float64", "1e+300", "float32 cannot hold"]),
        ({"embeddings": np.full((2, 3, 5), -1, np.int8)}, ["int8", "-1", "uint8 cannot hold"]),
        ({"embeddings": np.zeros((2, 3, 5), np.complex64)}, ["complex64", "float16 or float32"]),
        ({"embeddings": [np.ones((2, 5)), np.ones((2, 4))]}, ["as many features"]),
        ({"embeddings": [np.ones((2, 5)), np.ones((0, 5))]}, ["clip 1", "0 segments"]),
        ({"labels": [[0]]}, ["labels has 1 rows", "2 clips"]),
        ({"labels": np.zeros((3, 4))}, ["labels has 3 rows", "2 clips"]),
        ({"labels": np.zeros((2, 4)) + 0.5}, ["only 0 and 1"]),
        ({"labels": np.full((2, 4), np.nan)}, ["no label is known"]),
        ({"labels": np.zeros((2, 5), bool)}, ["5 columns", "num_classes is 4"]),
        ({"num_classes": None}, ["need num_classes"]),
        ({"labels": np.array([1, 4])}, ["clip 1", "label 4", "0 to 3"]),
        ({"labels": np.array([1, 2.5])}, ["class indices", "whole numbers"]),
        ({"labels": np.array([True, False])}, ["class indices", "whole numbers"]),
        ({"labels": [["Speech"], ["Music"]]}, ["2 classes", "num_classes is 4"]),
        ({"labels": [["Speech"], [3]]}, ["3 is no label", "strings alone"]),
        ({"labels": ["", ""], "num_classes": None}, ["no clip has a label"]),
        (
            {"labels": ["Dog", "Cta"], "num_classes": None, "classes": DOG_AND_CAT},
            ["row 1", "'Cta' is no class of the 2", "did you mean 'Cat'?"],
        ),
        ({"labels": np.zeros((2, 4)), "label_mask": np.ones((2, 3))}, ["[2, 3]", "[2, 4]"]),
        ({"label_mask": np.ones((2, 4))}, ["a label matrix [clips, classes] alone"]),
        ({"labels": [[0.5], [1]]}, ["list of its class indices"]),
        ({"labels": [[0], [4]]}, ["clip 1", "clip0000001", "label 4", "0 to 3"]),
        ({"labels": [[0, -1], [3]]}, ["clip 0", "label -1"]),
        ({"labels": [[0], [2**32 + 1]]}, ["labels", "whole numbers"]),
        ({"labels": [[0], [2**70]]}, ["labels", "whole numbers"]),
        ({"labels": [[2], [1, 3, 1]]}, ["clip 1", "labels 1, 1", "without repeats"]),
        ({"num_segments": [3]}, ["num_segments has shape [1]", "[2]"]),
        ({"num_segments": [3, 0]}, ["clip 1", "0 segments", "1 to 3"]),
        ({"num_segments": [4, 3]}, ["clip 0", "4 segments"]),
        ({"num_segments": [2**32 + 1, 3]}, ["num_segments", "whole numbers"]),
        ({"num_segments": [1.5, 3]}, ["num_segments", "whole numbers"]),
        ({"num_segments": [np.nan, 3]}, ["num_segments", "whole numbers"]),
        ({"num_segments": ["1", "3"]}, ["num_segments", "whole numbers"]),
        ({"video_ids": ["a"]}, ["video_ids has shape [1]"]),
        ({"video_ids": [1, 2]}, ["video_ids must be strings"]),
        ({"video_ids": ["a", ""]}, ["clip 1", "''", "cannot be empty"]),
        ({"video_ids": ["b\0", "b"]}, ["clip 0", "zero byte"]),
        ({"start_times": np.zeros((2, 1))}, ["start_times has shape [2, 1]"]),
        ({"start_times": [0.0, np.nan]}, ["clip 1", "start time nan"]),
        ({"start_times": [np.inf, 0.0]}, ["clip 0", "start time inf"]),
    ],
    ids=lambda value: "" if isinstance(value, list) else "-".join(value),
)
def test_says_in_a_line_what_is_wrong(changes: dict[str, Any], parts: list[str]) -> None:
    with raises_user_error(*parts):
        minimal(**changes)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_names_the_first_clip_that_is_not_finite(dtype: str, value: float) -> None:
    embeddings = np.zeros((4, 2, 3), dtype)
    embeddings[1, 1, 2] = embeddings[3, 0, 0] = value
    with raises_user_error("clip 1", "'two'", "2 such clips"):
        minimal(embeddings=embeddings, labels=[[0]] * 4, video_ids=["one", "two", "three", "4"])


def test_the_constructor_checks_shapes() -> None:
    clips = minimal()
    with raises_user_error("label_offsets has shape [2]", "[3]"):
        dataclasses.replace(clips, label_offsets=clips.label_offsets[:-1])


def test_check_values_finds_labels_out_of_order() -> None:
    clips = minimal()
    with raises_user_error("clip 1", "labels 3, 1", "ascend"):
        dataclasses.replace(clips, label_ids=np.array([0, 3, 1], np.int32)).check_values()


def test_is_immutable() -> None:
    clips = random_clips()
    with pytest.raises(dataclasses.FrozenInstanceError):
        clips.num_classes = 3  # type: ignore[misc]
    for part in (clips, clips[2:5], clips[[1, 2]], concatenate([clips, clips])):
        for name in FIELDS:
            with pytest.raises(ValueError, match="read-only"):
                getattr(part, name)[0] = 0


def ids(clips: ClipSet | None) -> set[bytes]:
    return set() if clips is None else set(clips.video_ids.tolist())


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.5, 0.9])
def test_holds_out_about_the_fraction(fraction: float) -> None:
    clips = random_clips(num_clips=4000, time=1, features=1)
    train, held = hold_out(clips, fraction)
    assert held is not None
    # Four standard deviations of a binomial count.
    assert abs(len(held) / 4000 - fraction) < 4 * np.sqrt(fraction * (1 - fraction) / 4000)
    assert ids(train) | ids(held) == ids(clips)
    assert not ids(train) & ids(held)
    assert len(train) + len(held) == len(clips)


def test_the_two_sides_keep_order_and_alignment() -> None:
    clips = random_clips(num_clips=100)
    train, held = hold_out(clips, 0.3)
    assert held is not None
    whole = as_list(clips)
    assert_is_list(train, [clip for clip in whole if clip[3] in ids(train)], clips)
    assert_is_list(held, [clip for clip in whole if clip[3] in ids(held)], clips)


def test_a_clip_stays_on_its_side() -> None:
    clips = random_clips(num_clips=600, time=1, features=1)
    some = clips[:200]
    _, held = hold_out(some, 0.25)
    order = np.random.default_rng(0).permutation(len(clips))
    for more in (clips, clips[::-1], clips[order]):
        _, held_of_more = hold_out(more, 0.25)
        assert ids(held_of_more) & ids(some) == ids(held)
    # A larger fraction holds the same clips out and some more.
    assert ids(held) < ids(hold_out(some, 0.4)[1])


def test_shares_of_the_training_clips_lie_one_in_the_other() -> None:
    clips = random_clips(num_clips=4000, time=1, features=1)
    train, held = hold_out(clips, 0.2)
    shares = [take_share(train, share, 0.2) for share in (0.125, 0.25, 0.5, 1.0)]
    assert [round(len(s) / len(train), 1) for s in shares] == [0.1, 0.2, 0.5, 1.0]
    assert ids(shares[0]) < ids(shares[1]) < ids(shares[2]) < ids(shares[3])
    assert shares[3] is train
    assert not ids(shares[2]) & ids(held)
    with raises_user_error("data.train_fraction=1e-09 leaves none of"):
        take_share(train, 1e-9, 0.2)


def test_clips_of_one_video_go_to_one_side() -> None:
    clips = random_clips(num_clips=200, time=1, features=1)
    train, held = hold_out(concatenate([clips, clips[::-1]]), 0.5)
    assert not ids(train) & ids(held)


def test_nothing_is_held_out_at_fraction_zero() -> None:
    clips = random_clips()
    train, held = hold_out(clips, 0.0)
    assert train is clips
    assert held is None


def test_the_hash_is_the_same_everywhere() -> None:
    # Pinned: a model's validation clips must not change with a version of this library.
    values = hash_fractions(np.array([b"--aE2O5G5WE", b"a", b"a longer id"]))
    assert values.tolist() == [0.4636444733880068, 0.25379361057584854, 0.14651934264349056]
    assert values.dtype == np.float64
    # The width in which an id is stored does not matter.
    np.testing.assert_array_equal(hash_fractions(np.array([b"a"])), values[1:2])
    assert hash_fractions(np.array([], np.bytes_)).shape == (0,)


def test_ids_in_two_sets() -> None:
    clips = random_clips()
    assert shared_ids(clips, clips[3:5]) == sorted(clips.video_ids[3:5].tolist())
    assert shared_ids(clips[3:5], clips[5:]) == []


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_copies_in_two_sets(dtype: str) -> None:
    """Of equal real segments alone: neither ids nor the room for padding count."""
    clips = random_clips(num_clips=9, dtype=dtype)
    again = clips[[2, 7, 2]]
    named = dataclasses.replace(again, video_ids=np.array([b"a", b"b", b"c"]))
    assert copies(named, clips) == [(0, 2), (1, 7), (2, 2)]
    wider = np.pad(named.embeddings, ((0, 0), (0, 3), (0, 0)))
    assert copies(dataclasses.replace(named, embeddings=wider), clips) == copies(named, clips)
    assert copies(clips[3:5], clips[5:]) == []
    # Of two with the same content it is one that counts.
    twice = clips[[2, 2, 5]]
    for counts in ([True, False, True], [False, True, True]):
        assert copies(named, twice, np.array(counts)) == [
            (0, counts.index(True)),
            (2, counts.index(True)),
        ]
    assert copies(named, twice, np.array([False, False, True])) == []
    # The first segment alone makes no copy, nor does one clip that is the beginning of another.
    changed = named.embeddings.copy()
    changed[:, -1] = 7
    changed[2] = named.embeddings[2]
    lengths = np.full(3, clips.max_segments, np.int32)
    lengths[2] = 1
    other = dataclasses.replace(named, embeddings=changed, num_segments=lengths)
    full = dataclasses.replace(clips, num_segments=np.full(9, clips.max_segments, np.int32))
    assert copies(other, full) == []
