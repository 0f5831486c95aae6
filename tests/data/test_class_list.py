"""The class list: what it reads, what it writes, where it is found, and what it refuses."""

import csv
from pathlib import Path

import pytest

from mla_jax.data.class_list import FILE_NAME, ClassList, resolve
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
        ("0,/m/a,A\n", ["no class list"]),
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
