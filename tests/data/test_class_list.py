"""The class list: what it reads, what it writes, where it is found, and what it refuses."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mla_jax.data.class_list import FILE_NAME, ClassList, one_list, resolve
from mla_jax.data.class_names import classes_named
from mla_jax.data.known_lists import require_audiosets_order
from mla_jax.data.label_file import LabelFile
from mla_jax.data.labels import of_column
from tests.support.helpers import raises_user_error

HEADER = "index,mid,display_name\n"
CLASSES = ClassList(
    mids=("/m/09x0r", "/t/dd00003", "", "/m/0,1"),
    names=("Speech", "Male speech, man speaking", 'The "quoted", again', "Gewürz 音"),
)


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    path.write_text(text, encoding="utf-8")
    return path


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    path = write(tmp_path, CLASSES.to_csv())
    assert ClassList.read(path) == CLASSES
    assert ClassList.read(str(path)) == CLASSES
    assert len(CLASSES) == 4
    with_tab = ClassList(("", ""), ("Dog\tlarge", "Cat"))
    assert ClassList.read(write(tmp_path, with_tab.to_csv())) == with_tab


def test_writes_what_the_csv_module_reads() -> None:
    rows = list(csv.reader(CLASSES.to_csv().splitlines()))
    assert rows[0] == ["index", "mid", "display_name"]
    assert rows[1:] == [[str(k), CLASSES.mids[k], CLASSES.names[k]] for k in range(len(CLASSES))]


@pytest.mark.parametrize(
    "text",
    [
        HEADER + '0,/m/a,A\n1,/m/b,"B, and ""C"""\n',
        HEADER + '0,/m/a,A\n1,/m/b,"B, and ""C"""',
        "index, mid, display_name\n" + '0,/m/a,"A"\n 1 ,/m/b,"B, and ""C"""\n',
        (HEADER + '0,/m/a,A\n1,/m/b,"B, and ""C"""\n').replace("\n", "\r\n"),
        "\ufeff" + HEADER + '0,/m/a,A\n1,/m/b,"B, and ""C"""\n',
    ],
    ids=["plain", "no last newline", "spaces", "carriage returns", "byte-order mark"],
)
def test_reads_common_variants(tmp_path: Path, text: str) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(text.encode())
    assert ClassList.read(path) == ClassList(mids=("/m/a", "/m/b"), names=("A", 'B, and "C"'))


FORMS = {
    "json": '{"Bell": 1, "Cat, small": 0}',
    "json of names": '["Cat, small", "Bell"]\n',
    "json of indices": '{"0": "Cat, small", "1": "Bell"}',
    "blank lines": HEADER + '0,/m/c,"Cat, small"\n1,/m/b,Bell\n\n \n\n',
    "tsv": "/m/c\tCat, small\n/m/b\tBell\n\n",
    "tsv with a first line": "mid\tdisplay_name\n/m/c\tCat, small\n/m/b\tBell\n",
    "tsv of name and mid": "Cat, small\t/m/c\nBell\t/m/b",
    "fsd50k": '0,"Cat, small",/m/c\n1,Bell,/m/b\n\n',
}


@pytest.mark.parametrize("form", FORMS)
def test_reads_the_lists_of_other_releases(tmp_path: Path, form: str) -> None:
    mids = ("", "") if form.startswith("json") else ("/m/c", "/m/b")
    assert ClassList.read(write(tmp_path, FORMS[form])) == ClassList(mids, ("Cat, small", "Bell"))


def test_numbered_shows_indices(tmp_path: Path) -> None:
    numbered = ClassList.numbered(3)
    assert numbered == ClassList(mids=("", "", ""), names=("0", "1", "2"))
    assert ClassList.read(write(tmp_path, numbered.to_csv())) == numbered


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["no class list", "first line must be index,mid,display_name"]),
        ("\n" + HEADER, ["no class list"]),
        ("mid,index,display_name\n0,a,A\n", ["no class list"]),
        ("0,/m/a,A\n", ["no class list", "index, name and mid"]),
        ("0,A,/m/a\n2,B,/m/b\n", ["line 2", "expected index 1"]),
        ("/m/a\tA\nB\n", ["no class list", "a mid such as /m/09x0r, a tab and a name"]),
        ('{"A": 0, "B": 2}', ["no class list", "indices 0, 1, 2, ... of its names"]),
        ('{"A": 0, "A": 1}', ["a name twice"]),
        ('{"A": 0, "B": 0}', ["each once"]),
        ('[{"A": 0}]', ["an array of names"]),
        ('{"A": ', ["cannot read"]),
        (HEADER, ["lists no class"]),
        (HEADER + "1,/m/a,A\n", ["line 2", "expected index 0", "'1,/m/a,A'"]),
        (HEADER + "0,/m/a,A\n2,/m/b,B\n", ["line 3", "expected index 1", "'2,/m/b,B'"]),
        (HEADER + "0,/m/a,A\n0,/m/b,B\n", ["line 3", "expected index 1"]),
        (HEADER + "0,/m/a\n", ["line 2", "'0,/m/a'"]),
        (HEADER + "0,/m/a,A, b\n", ["line 2", "'0,/m/a,A, b'"]),
        (HEADER + "0,/m/a,A\n\n1,/m/b,B\n", ["line 3", "expected index 1", "''"]),
        (HEADER + "zero,/m/a,A\n", ["line 2", "expected index 0"]),
        (HEADER + '0,/m/a,"A\n1,/m/b,B\n', ["cannot read", FILE_NAME]),
        (HEADER + '0,/m/a,"A" or B\n', ["cannot read", FILE_NAME]),
    ],
)
def test_says_what_is_wrong_with_a_list(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = write(tmp_path, text)
    with raises_user_error(str(path), *parts):
        ClassList.read(path)


def test_says_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "missing.csv"
    with raises_user_error(str(path), "cannot read the class list", FILE_NAME):
        ClassList.read(path)
    with raises_user_error(str(tmp_path), "cannot read the class list"):
        ClassList.read(tmp_path)
    path.write_bytes(b"index,mid,display_name\n0,/m/a,\xff\n")
    with raises_user_error(str(path), "cannot read the class list"):
        ClassList.read(path)


@pytest.mark.parametrize("where", [".", "csv", "..", "../csv"])
def test_finds_the_list_beside_the_data(tmp_path: Path, where: str) -> None:
    data = tmp_path / "set" / "data"
    data.mkdir(parents=True)
    write(data / where, CLASSES.to_csv())
    assert ClassList.find([data]) == CLASSES
    assert ClassList.find([str(data)]) == CLASSES
    assert ClassList.find([tmp_path / "elsewhere" / "empty", data]) == CLASSES
    assert ClassList.find([]) is None
    assert ClassList.find([tmp_path / "elsewhere" / "empty"]) is None


@pytest.mark.parametrize("where", [".", "csv", "..", "../csv"])
def test_finds_the_list_from_within_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    data = tmp_path / "set" / "data"
    data.mkdir(parents=True)
    write(data / where, CLASSES.to_csv())
    monkeypatch.chdir(data)
    assert ClassList.find([""]) == CLASSES
    assert ClassList.find(["."]) == CLASSES


def test_the_nearest_list_is_taken(tmp_path: Path) -> None:
    data = tmp_path / "set" / "data"
    places = [data.parent / "csv", data.parent, data / "csv", data]
    for count, place in enumerate(places, 1):
        write(place, ClassList.numbered(count).to_csv())
        found = ClassList.find([data])
        assert found is not None
        assert len(found) == count
    # All places of the first folder come before the second.
    other = tmp_path / "other" / "data"
    write(other, ClassList.numbered(9).to_csv())
    assert ClassList.find([data / "none" / "none", other]) == ClassList.numbered(9)
    assert ClassList.find([data, other]) == ClassList.numbered(4)


def test_a_list_named_goes_before_one_found(tmp_path: Path) -> None:
    write(tmp_path, CLASSES.to_csv())
    named = write(tmp_path / "named", ClassList.numbered(2).to_csv())
    assert resolve(named, [tmp_path]) == ClassList.numbered(2)
    assert resolve("", [tmp_path]) == CLASSES
    assert resolve("", []) is None
    with raises_user_error("nowhere.csv"):
        resolve("nowhere.csv", [tmp_path])


NAMES = ("Dog", "Cat", "Bell")
MIDS = ("/m/a", "/m/b", "/m/c")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((MIDS, NAMES), (MIDS, ("Dog", "Kitten", "Bell"))),
        ((MIDS, NAMES), (("/m/a", "/m/c", "/m/b"), NAMES)),
        ((MIDS, NAMES), (("", "", ""), NAMES[::-1])),
        ((MIDS, NAMES), (("0", "1", "2"), NAMES[::-1])),
        ((MIDS, NAMES), (("x", "x", "x"), NAMES[::-1])),
        ((("", "", ""), NAMES), (("1", "2", "3"), NAMES[::-1])),
        ((MIDS, ("0", "1", "2")), (MIDS[::-1], NAMES)),
        ((("/m/a", "", ""), NAMES), (("/m/b", "", ""), NAMES)),
        # Splits of classes that are called by numbers, each of which lacks one.
        ((("", "", ""), ("0", "1", "3")), (("", "", ""), ("0", "1", "2"))),
        ((MIDS, NAMES), (("", "", ""), ("Dog", "Dog", "Bell"))),
    ],
)
def test_lists_of_other_classes_are_told_apart(
    ours: tuple[Sequence[str], ...], theirs: tuple[Sequence[str], ...]
) -> None:
    first, other = (ClassList(tuple(mids), tuple(names)) for mids, names in (ours, theirs))
    for a, b in ((first, other), (other, first)):
        with raises_user_error("packed/eval is another: class", "of 3 classes differ", "mixed up"):
            a.require_same(b, "packed/eval")
        with raises_user_error("packed/eval is another"):
            one_list({"packed/train": a, "packed/eval": b})


@pytest.mark.parametrize(
    ("mids", "names"),
    [
        (MIDS, NAMES),
        (("", "", ""), NAMES),
        (("0", "1", "2"), NAMES),
        (("x", "x", "x"), (" Dog", "Cat", "Bell ")),
        (MIDS, ("0", "1", "2")),
        (("1", "2", "3"), ("1", "2", "3")),
        (("", "", ""), ("0", "1", "2")),
        (("/m/a", "", ""), ("", "Cat", "")),
    ],
)
def test_lists_are_the_same_as_far_as_they_say(mids: Sequence[str], names: Sequence[str]) -> None:
    named, other = ClassList(MIDS, NAMES), ClassList(tuple(mids), tuple(names))
    named.require_same(other, "a")
    other.require_same(named, "b")
    assert one_list({"b": other, "a": named}) == (named if other.is_numbered() else other)


def test_lists_of_other_lengths_and_names_of_several_classes() -> None:
    with raises_user_error("a has 2 classes, but 3 are in use"):
        ClassList.numbered(3).require_same(ClassList.numbered(2), "a")
    named = ClassList(MIDS, NAMES), ClassList((*MIDS, ""), (*NAMES, "Dgo"))
    for ours, theirs in (named, named[::-1]):
        with raises_user_error("('Dgo' is in one of them alone); give data of the same classes"):
            ours.require_same(theirs, "a")
    assert ClassList(MIDS, NAMES).doubled() == ClassList.numbered(3).doubled() == ""
    twice = ClassList(("", "", "", ""), ("A", "B ", "A", "B"))
    assert twice.doubled() == "classes 0, 2 have the same name 'A', and so for 1 more"
    assert "the same mid 'x'" in ClassList(("x", "x"), ("A", "B")).doubled()


def test_names_that_only_capitals_tell_apart() -> None:
    assert ClassList(MIDS, NAMES).told_apart_by_capitals() == ""
    assert ClassList(("", ""), ("A", "A")).told_apart_by_capitals() == ""
    told = ClassList(("", "", ""), ("Dog", "Cat", "dog")).told_apart_by_capitals()
    assert told == "'Dog' and 'dog' are two classes; if they are one, write both alike"


@pytest.mark.audioset
def test_another_order_of_audiosets_classes_is_known(audioset_dir: Path) -> None:
    classes = ClassList.read(audioset_dir / "csv" / FILE_NAME)
    require_audiosets_order(classes, "a")
    require_audiosets_order(ClassList(MIDS, NAMES), "a")
    empty = ("",) * 527
    for mids, names in ((1, -1), (-1, 1), (-1, -1)):
        for other in (
            ClassList(classes.mids[::mids], classes.names[::names]),
            ClassList(classes.mids[::mids], empty)
            if mids < 0
            else ClassList(empty, classes.names[::-1]),
        ):
            with raises_user_error("a goes by the order of AudioSet's", "with class_list, or b"):
                require_audiosets_order(other, "a", "b")


def test_yamnets_classes_are_known(audio_dir: Path) -> None:
    classes = ClassList.read(audio_dir / "yamnet" / "yamnet_class_map.csv")
    with raises_user_error("YAMNet's classes in another order (521 of them)", FILE_NAME):
        require_audiosets_order(classes, "a")


@pytest.mark.audioset
def test_the_real_list(audioset_dir: Path) -> None:
    path = audioset_dir / "csv" / FILE_NAME
    classes = ClassList.read(path)
    assert len(classes) == 527
    assert (classes.mids[0], classes.names[0]) == ("/m/09x0r", "Speech")
    assert classes.names[1] == "Male speech, man speaking"
    assert len(set(classes.mids)) == len(set(classes.names)) == 527
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["mid"], row["display_name"]) for row in rows] == list(
        zip(classes.mids, classes.names, strict=True)
    )
    assert ClassList.find([audioset_dir / "eval"]) == classes


def test_the_same_numbers_in_another_order_are_another_list() -> None:
    counted = ClassList.numbered(12)
    as_text = ClassList(("",) * 12, tuple(sorted(counted.names)))
    for other in (as_text, ClassList(("",) * 12, counted.names[::-1])):
        with raises_user_error(
            "the other is another", "class 2 is" if other is as_text else "class 0"
        ):
            counted.require_same(other, "the other")
    doubled = [ClassList(mids, ("a", "b", "c")) for mids in (("x", "x", "y"), ("x", "y", "x"))]
    with raises_user_error("class 1 is 'b' (y) there"):
        doubled[0].require_same(doubled[1], "the other")
    counted.require_same(ClassList(("",) * 12, tuple(str(k + 1) for k in range(12))), "the other")


def test_classes_that_are_called_by_numbers_are_their_own_indices() -> None:
    labels = [str(k) for k in (10, 2, 11, *range(12))]
    assert classes_named(labels) == ClassList.numbered(12)
    assert classes_named(["b", "10", "9"]).names == ("10", "9", "b")
    from_one = classes_named(str(k) for k in range(1, 4))
    with raises_user_error(
        "y is of whole numbers, and classes are called by numbers", "class 0 is called '1'"
    ):
        of_column(np.array([1, 2, 1]), classes=from_one, name="y")


def test_a_number_is_no_index_where_classes_are_called_by_others(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("filename,labels\na.wav,1\nb.wav,0\n")
    file, from_one = LabelFile(path), ClassList(("",) * 3, ("1", "2", "3"))
    assert file.read(["a.wav"], 3, from_one).ids.tolist() == [0]
    with raises_user_error("line 3: label '0' is no class"):
        file.read(["b.wav"], 3, from_one)
    assert file.read(["b.wav"], 3, ClassList.numbered(3)).ids.tolist() == [0]
    assert file.read(["a.wav"], 3, ClassList(("",) * 3, ("x", "y", "z"))).ids.tolist() == [1]
