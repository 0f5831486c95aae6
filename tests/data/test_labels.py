"""Labels in every form that people have them: the same clips as a matrix gives."""

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mla_jax.config import DataConfig
from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.data.embedding import Embedding
from mla_jax.data.formats.format import ReadOptions
from mla_jax.data.formats.pickled_strings import read_strings
from mla_jax.data.label_file import Heard
from mla_jax.data.labels import Labels
from mla_jax.data.packing import pack_data
from mla_jax.data.sources import open_clips
from mla_jax.recordings.clips import Piece, clip_set
from tests.support.helpers import assert_same_clips, raises_user_error, random_clips

NAMES = ("Bell", "Cat", "Dog", "Rain")
CLASSES = ClassList(("/m/b", "/m/c", "/m/d", "/m/r"), NAMES)
ONE_EACH = np.array([2, 0, 3, 1, 2, 0])


def embeddings(num_clips: int = 6, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(0).normal(2, 1, (num_clips, 3, 5)).astype(dtype)


def of(labels: Any, **changes: Any) -> ClipSet:
    return ClipSet.from_arrays(embeddings(len(labels)), labels, **changes)


MATRIX = np.eye(4, dtype=bool)[ONE_EACH]
FORMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "bool": (MATRIX, {}),
    "float": (MATRIX.astype(float), {}),
    "int": (MATRIX.astype(int), {}),
    "lists": ([[k] for k in ONE_EACH], {"num_classes": 4}),
    "column": (ONE_EACH, {}),
    "column of floats": (ONE_EACH.astype(float), {}),
    "[n, 1]": (ONE_EACH[:, None], {}),
    "names": ([NAMES[k] for k in ONE_EACH], {}),
    "bytes": (np.array([NAMES[k].encode() for k in ONE_EACH]), {}),
    "objects": (np.array([NAMES[k] for k in ONE_EACH], object), {}),
    "lists of names": ([[NAMES[k]] for k in ONE_EACH], {}),
    "mids": ([CLASSES.mids[k] for k in ONE_EACH], {"classes": CLASSES}),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_say_the_same(form: str) -> None:
    labels, more = FORMS[form]
    clips = of(labels, **more)
    assert_same_clips(clips, of(MATRIX))
    named = "name" in form or form in ("bytes", "objects", "mids")
    assert (clips.classes is not None) == named
    if named:
        assert clips.classes is not None
        assert clips.classes.names == NAMES


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize(
    "form", [f for f in FORMS if f not in ("objects", "lists", "lists of names")]
)
def test_files_say_the_same_and_keep_the_names(tmp_path: Path, form: str, suffix: str) -> None:
    labels, more = FORMS[form]
    y = np.array(labels)
    path = write(
        tmp_path / f"clips{suffix}", x=embeddings(), y=y if y.dtype.kind != "U" else y.astype("S")
    )
    if "classes" in more:
        (tmp_path / "class_labels_indices.csv").write_text(CLASSES.to_csv())
    pack_data(path, tmp_path / "p", DataConfig())
    assert_same_clips(open_clips(str(tmp_path / "p"), ReadOptions(4)), of(MATRIX))
    beside = tmp_path / "p" / "class_labels_indices.csv"
    assert beside.exists() == ("name" in form or form in ("bytes", "mids"))
    if beside.exists():
        assert ClassList.read(beside).names == NAMES


def write(path: Path, **arrays: np.ndarray) -> str:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    return str(path)


@pytest.mark.parametrize(
    ("labels", "more"),
    [
        (np.array([1, 0, 1, 0])[:, None], {}),
        (np.array([True, False, True, False]), {}),
        (np.array([1, 0, 1, 0]), {"num_classes": 1}),
        (np.array([1.0, 0, 1, 0]), {"num_classes": 1}),
    ],
)
def test_a_detector_of_one_class(labels: np.ndarray, more: dict[str, Any]) -> None:
    clips = of(labels, **more)
    assert clips.num_classes == 1
    assert clips.multi_hot()[:, 0].tolist() == [True, False, True, False]


def test_a_column_of_two_classes_is_no_detector() -> None:
    assert of(np.array([1, 0, 1, 0])).num_classes == 2
    assert of(np.array([1, 0, 1, 0])[:, None], num_classes=2).num_classes == 2


def test_clips_of_none_of_the_classes() -> None:
    for labels in (
        [[0], [], [1]],
        np.array([[1, 0], [0, 0], [0, 1]]),
        ["a", "", "b"],
        [["a"], [], ["b"]],
    ):
        clips = of(labels, num_classes=2)
        assert [clips.labels_of(i) for i in range(3)] == [[0], [], [1]]


def test_a_name_that_no_class_list_has_is_refused_in_files_too(tmp_path: Path) -> None:
    train = write(tmp_path / "train.npz", x=embeddings(), y=np.array([NAMES[k] for k in ONE_EACH]))
    options = ReadOptions(3, classes=ClassList(("",) * 3, NAMES[:3]))
    with raises_user_error(train, "row 2", "'Rain' is no class of the 3 in use"):
        open_clips(train, options)


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint16"])
def test_embeddings_of_other_dtypes_are_kept_exactly_or_refused(
    tmp_path: Path, dtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    x = np.abs(embeddings() * 20).astype(dtype)
    kept = "float32" if dtype == "float64" else "uint8"
    clips = ClipSet.from_arrays(x, MATRIX)
    assert clips.embeddings.dtype == kept
    np.testing.assert_allclose(clips.embeddings, x, rtol=1e-6)
    read = open_clips(write(tmp_path / "a.npz", x=x, y=MATRIX), ReadOptions(4))
    assert_same_clips(read, clips)
    assert sum(f"is of {dtype}: kept as {kept}" in text for text in caplog.messages) == 2
    with raises_user_error("cannot hold"):
        ClipSet.from_arrays(x * x.dtype.type(10) ** (39 if dtype == "float64" else 2), MATRIX)


def test_lists_and_vectors_of_clips() -> None:
    parts = [np.ones((n, 5), np.float32) * n for n in (2, 4, 1)]
    clips = ClipSet.from_arrays(parts, [[0], [1], []], num_classes=2)
    assert clips.num_segments.tolist() == [2, 4, 1]
    assert clips.embeddings.sum(axis=(1, 2)).tolist() == [20, 80, 5]
    flat = ClipSet.from_arrays(np.ones((3, 5)), [[0], [1], []], num_classes=2)
    assert flat.embeddings.shape == (3, 1, 5)


def test_unknown_labels_are_kept_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    labels, mask = rng.random((20, 4)) < 0.5, rng.random((20, 4)) < 0.6
    mask[:, 0] |= ~mask.any(axis=1)
    clips = of(labels, label_mask=mask)
    assert clips.label_mask is not None
    np.testing.assert_array_equal(clips.label_mask, mask)
    np.testing.assert_array_equal(clips.multi_hot(), labels & mask)
    assert_same_clips(of(labels, label_mask=mask.tolist()), clips)
    with_nan = of(np.where(mask, labels, np.nan))
    for other in (with_nan, concatenate([clips[:7], clips[7:]]), clips[np.arange(20)]):
        assert_same_clips(other, clips)
    assert of(labels, label_mask=np.ones((20, 4))).label_mask is None
    # Joined with clips of which all is known.
    joined = concatenate([clips, of(labels)])
    np.testing.assert_array_equal(joined.known_labels(), np.concatenate([mask, mask | True]))
    x = embeddings(20)
    for name, arrays in {
        "mask": {"x": x, "y": labels, "label_mask": mask},
        "nan": {"x": x, "y": np.where(mask, labels, np.nan)},
        "openmic": {"X": x, "Y_true": np.where(mask, labels * 0.4 + 0.3, 0.5), "Y_mask": mask},
    }.items():
        read = open_clips(write(tmp_path / f"{name}.npz", **arrays), ReadOptions(4, chunk_size=6))
        assert_same_clips(read, clips)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_a_mask_of_a_single_class_is_kept(tmp_path: Path, suffix: str) -> None:
    x, y, mask = embeddings(4), np.array([[1], [0], [0], [1]]), np.array([[1], [1], [0], [1]])
    path = write(tmp_path / f"a{suffix}", x=x, y=y, label_mask=mask)
    read = open_clips(path, ReadOptions(1, bad_records="skip"))  # of the third nothing is known
    assert [len(clips.label_ids) for clips in (read[:1], read[1:2], read[2:])] == [1, 0, 1]
    with raises_user_error("record 2", "none of its labels is known"):
        open_clips(path, ReadOptions(1))
    column = write(tmp_path / f"b{suffix}", x=x, y=y[:, 0], label_mask=mask[:, 0])
    with raises_user_error("label_mask", "it must be [clips, classes]"):
        open_clips(column, ReadOptions(1))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_strings_that_are_stored_as_objects_are_read_without_running_anything(
    tmp_path: Path, protocol: int
) -> None:
    """As OpenMIC-2018's clip names are; a pickle that does anything else is refused."""
    names = [f"{i % 7:06d}_ä{i}" for i in range(2500)]
    names[5] = names[3]
    kinds = {"strings": names, "numbers": [*names[:-1], 3], "code": [*names[:-1], print]}
    for kind, values in kinds.items():
        pickled = pickle.dumps(np.array(values, object), protocol=protocol)
        assert read_strings(pickled, len(names)) == (names if kind == "strings" else None)
        assert read_strings(pickled[:-20], len(names)) in (None, names)
    x = np.ones((2500, 1, 2), np.uint8)
    keys = np.array(names, object)
    np.savez(tmp_path / "a.npz", X=x, Y_true=x[:, 0], Y_mask=x[:, 0], sample_key=keys)
    clips = open_clips(str(tmp_path / "a.npz"), ReadOptions(2))
    assert [video_id.decode() for video_id in clips.video_ids.tolist()] == names


def test_a_label_that_the_mask_calls_unknown_is_refused() -> None:
    clips = random_clips()
    mask = np.zeros((20, 7), bool)
    with raises_user_error("clip 0", "its mask says that it is unknown"):
        dataclasses.replace(clips, label_mask=mask).check_values()
    with raises_user_error("label_mask is [20, 6] of bool", "[20, 7]"):
        dataclasses.replace(clips, label_mask=mask[:, 1:])


def test_an_archive_without_x_lists_its_arrays(tmp_path: Path) -> None:
    for suffix in (".npz", ".h5"):
        path = write(tmp_path / f"a{suffix}", arr_0=embeddings(), arr_1=MATRIX)
        with raises_user_error(path, "has no array x, only arr_0, arr_1;"):
            open_clips(path, ReadOptions(4))


def test_what_numpy_masks_is_unknown_or_refused() -> None:
    rng = np.random.default_rng(1)
    labels, hidden = rng.random((20, 4)) < 0.5, rng.random((20, 4)) < 0.4
    hidden[:, 0] = False
    expected = of(labels, label_mask=~hidden)
    assert_same_clips(of(np.ma.masked_array(labels, hidden)), expected)
    both = np.ones((20, 4), int)
    both[3, 0] = 0
    masked = of(np.ma.masked_array(labels, hidden), label_mask=both)
    assert_same_clips(masked, of(labels, label_mask=~hidden & (both == 1)))
    assert of(np.ma.masked_array(labels, False)).label_mask is None
    x, part = embeddings(20), np.ma.masked_equal([0, 1], 1)
    for wrong in (np.ma.masked_equal(np.arange(20) % 4, 3), [part] * 20, [np.ma.masked] * 20):
        with raises_user_error("mask"):
            of(wrong, num_classes=4)
    for name, values in {
        "embeddings": np.ma.masked_less(x, 0),
        "start_times": np.ma.masked_equal(np.arange(20.0), 3),
        "num_segments": np.ma.masked_equal(np.full(20, 3), 3),
        "label_mask": np.ma.masked_array(both, hidden),
    }.items():
        with raises_user_error(f"{name} is a masked array"):
            ClipSet.from_arrays(**{"embeddings": x, "labels": labels} | {name: values})
    with raises_user_error("embeddings is a masked array"):
        ClipSet.from_arrays([np.ma.masked_less(part, 0) for part in x], labels)


def test_how_likely_a_class_is_must_be_0_to_1(tmp_path: Path) -> None:
    likely = np.tile([[0.9, 0.1, 0.5, 0.4]], (6, 1))
    arrays = {"X": embeddings(), "Y_true": likely, "Y_mask": np.ones((6, 4), bool)}
    likely[2, 0] = np.nan
    clips = open_clips(write(tmp_path / "a.npz", **arrays), ReadOptions(4))
    known = np.ones((6, 4), bool)
    known[2, 0] = False
    assert_same_clips(clips, of(np.tile([[1, 0, 1, 0]], (6, 1)) * known, label_mask=known))
    for value in (-0.1, 1.5, 87.0, np.inf):
        likely[4, 1] = value
        arrays["Y_mask"][4, 1] = True
        with raises_user_error("a.npz, Y_true: row 4, column 1", "0 to 1"):
            open_clips(write(tmp_path / "a.npz", **arrays), ReadOptions(4, chunk_size=2))
        arrays["Y_mask"][4, 1] = False
        assert len(open_clips(write(tmp_path / "a.npz", **arrays), ReadOptions(4))) == 6


def test_nested_lists_are_indices_only_where_nothing_else_can_be_meant() -> None:
    assert_same_clips(of(MATRIX.tolist()), of(MATRIX))
    assert_same_clips(of(list(MATRIX), num_classes=4), of(MATRIX))
    assert of([[True], [False]]).num_classes == 1
    for rows in (MATRIX.astype(int).tolist(), [[0, 1], [1, 0]], [(1,), (0,)]):
        with raises_user_error("all 0 or 1", "NumPy array", "class indices"):
            of(rows, num_classes=len(rows[0]))
    assert of([{0, 1}, {1, 0}], num_classes=2).multi_hot().all()
    assert of([[0, 1], [1]], num_classes=2).labels_of(0) == [0, 1]
    assert of([[0], [0]], num_classes=1).multi_hot().all()
    for wrong in ([[True, False], [True]], [[True, 0], [1, 0]], [True, [False]]):
        with raises_user_error("lists with bools that are no matrix"):
            of(wrong, num_classes=2)
    for other in ({0: [1], 1: [0]}, {0, 1}, "ab"):
        with raises_user_error(f"labels is a {type(other).__name__}"):
            of(other, num_classes=2)
    with raises_user_error("a dict for a clip"):
        of([{0: 1}, {1: 0}], num_classes=2)


def test_index_lists_that_look_like_a_matrix_are_taken_from_parts_that_know_what_they_are() -> None:
    both = Labels.of_lists([[0, 1], [1, 0]])
    assert of_labels(both).multi_hot().all()
    piece = Piece("a", 0.0, embeddings(1)[0], Heard((0, 1)))
    described = Embedding.of(piece.embeddings[None])
    assert clip_set([piece] * 3, described, time=3, num_classes=2).multi_hot().all()


def of_labels(labels: Labels) -> ClipSet:
    return ClipSet.from_arrays(embeddings(len(labels.counts)), labels, num_classes=2)
