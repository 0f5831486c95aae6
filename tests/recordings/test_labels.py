"""Labels of recordings from a CSV."""

from pathlib import Path

import pytest

from mla_jax.data.class_list import ClassList
from mla_jax.data.label_file import Heard
from mla_jax.recordings.inputs import Recording
from mla_jax.recordings.labels import Labels, match_labels
from tests.support.helpers import raises_user_error

RECORDINGS = [
    Recording(Path(n), n) for n in ("a/1.wav", "a/2.wav", "b/2.wav", "b/3.x.ogg", "4.ogg")
]
CLASSES = ClassList(("/m/0", "/m/1", "/m/2"), ("Rain, on a roof", "Dog", "Löwe"))


def write(folder: Path, *lines: str) -> Path:
    path = folder / "labels.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def of(found: Labels) -> list[list[int] | None]:
    return [heard and list(heard.labels) for heard in found.of]


def test_names_are_matched_and_labels_gathered(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "Split,Filename,Labels",
        "x,1.wav,Dog; Cat;Dog",
        'x,a/2.wav,"Rain, on a roof"',
        "x,1,Ant",
        "x,b/2,",
        "",
        "x,nowhere.wav,Dog",
        "x,2.wav,Dog",
        "x,far/away/3.x.ogg,Cat",
        "x,far/4.ogg,Cat",
        "x,away/4.ogg,Cat",
    )
    found = match_labels(path, RECORDINGS)
    assert found.classes.names == ("Ant", "Cat", "Dog", "Rain, on a roof")
    assert of(found) == [
        [0, 1, 2],
        [3],
        [],
        None,
        None,
    ]  # an empty cell says none, no line says nothing
    # Which of two files 2.wav is, or which of two lines is of 4.ogg, is not known; far/away is not b.
    lost = ["nowhere.wav", "2.wav", "far/away/3.x.ogg", "far/4.ogg", "away/4.ogg"]
    assert found.without_file == lost


def test_a_folder_in_a_name_is_that_of_the_file_though_it_was_not_named(tmp_path: Path) -> None:
    """As where train/ and test/ have files of the same names, and one of them is embedded."""
    test = [Recording(tmp_path / "test" / name, name) for name in ("1.wav", "2.wav")]
    path = write(
        tmp_path, "filename,labels", "train/1.wav,Dog", "train/2.wav,Dog", "test/1.wav,Cat"
    )
    found = match_labels(path, test)
    assert of(found) == [[found.classes.names.index("Cat")], None]
    assert found.without_file == ["train/1.wav", "train/2.wav"]
    path = write(tmp_path, "filename,labels", "train/1.wav,Dog", "train/2.wav,Dog")
    with raises_user_error("names none of the recordings", "'train/1.wav'", "test/1.wav"):
        match_labels(path, test)


def test_columns_may_stand_behind_semicolons(tmp_path: Path) -> None:
    """As spreadsheets write them where the comma is the decimal point."""
    path = write(
        tmp_path, "Split;Filename;Labels", 'x;1.wav;"Dog;Cat"', "x;a/2.wav;Dog|Ant", "x;b/2"
    )
    assert of(match_labels(path, RECORDINGS)) == [[1, 2], [0, 2], [], None, None]
    write(tmp_path, "filename;labels", "1.wav;Dog;Cat")
    with raises_user_error("line 2: 3 cells", "quotes around cells that have semicolons in them"):
        match_labels(path, RECORDINGS)


def test_a_class_list_says_what_labels_are(tmp_path: Path) -> None:
    path = write(tmp_path, "path,label", '3.x.ogg,"/m/2;Rain, on a roof"')
    found = match_labels(path, RECORDINGS, CLASSES)
    assert found.classes is CLASSES
    assert of(found) == [None, None, None, [0, 2], None]
    write(tmp_path, "path,label", "3.x.ogg,Dgo")
    with raises_user_error("line 2", "'Dgo'", "did you mean 'Dog'?"):
        match_labels(path, RECORDINGS, CLASSES)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["filename,labels", "other.wav,Dog"], "'other.wav', they are called 'a/1.wav'"),
        (["filename,labels", " ,Dog"], "line 2: there is no file name"),
        (["name,labels", "1.wav,Dog"], "has the columns name, labels"),
        (["filename,labels"], "has no labels"),
        (["filename,labels", "1.wav,"], "names no label"),
        ([""], "must name filename and labels"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path: Path, lines: list[str], message: str) -> None:
    with raises_user_error("labels.csv", message):
        match_labels(write(tmp_path, *lines), RECORDINGS)
    with raises_user_error("cannot read"):
        match_labels(tmp_path / "nowhere.csv", RECORDINGS)


def test_what_is_known_not_to_be_heard_is_kept(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "filename,labels,absent",
        "a/1.wav,Dog,Cat",
        "a/1,,Ant",
        "a/2.wav,,Cat;Ant",
        "b/2.wav,Cat,",
        "4.ogg,,",
    )
    found = match_labels(path, RECORDINGS)
    assert found.classes.names == ("Ant", "Cat", "Dog")
    # A line of nothing says nothing.
    assert found.of == [Heard((2,), (0, 1)), Heard((), (0, 1)), Heard((1,), ()), None, None]
    with raises_user_error("out.tfrecord: records have no place", "column absent", "packed folder"):
        found.require_all_known("out.tfrecord")
    write(tmp_path, "filename,labels,absent", "a/1.wav,Dog,Cat;Dog")
    with raises_user_error("line 2: 'Dog' is both in the labels of 'a/1.wav' and absent"):
        match_labels(path, RECORDINGS)
    write(tmp_path, "filename,labels,absent", "a/1.wav,Dog,Cat", "a/1,Cat,")
    with raises_user_error("a/1.wav has two names", "a label of one is absent of the other"):
        match_labels(path, RECORDINGS)
