"""Which files an input names, and what they are called."""

import os
from pathlib import Path

import pytest

from mla_jax.recordings.inputs import Recording, find_recordings, names_sound
from tests.audio.sounds import noise, write_sound
from tests.support.helpers import raises_user_error

NAMES = ("-dash.wav", "b/Löwe 2.FLAC", "b/c/x.mp3", "z.ogg")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Names of sounds, of which nothing is read here."""
    for name in (*NAMES, ".hidden.wav", "b/readme.md"):
        (tmp_path / "sounds" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sounds" / name).touch()
    (tmp_path / "sounds/gone.wav").symlink_to("nowhere")
    (tmp_path / "sounds/b/circle").symlink_to("..")
    return tmp_path / "sounds"


def names(*inputs: Path | str) -> list[str]:
    return [recording.name for recording in find_recordings(list(map(str, inputs))).recordings]


def test_a_folder_is_searched_and_what_is_no_sound_is_told(folder: Path) -> None:
    found = find_recordings([str(folder)])
    assert sorted(r.name for r in found.recordings) == sorted([*NAMES, "gone.wav"])
    assert all(r.path == folder / r.name for r in found.recordings)
    assert found.passed_over == [folder / "b/readme.md"]


def test_other_inputs_name_files_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(folder / "b/c/x.mp3") == ["x.mp3"]
    assert names(folder / "b/readme.md") == ["readme.md"]  # it was named itself
    assert names(f"{folder}/b/*.FLAC") == ["Löwe 2.FLAC"]
    assert names(f"{folder}/*/*.FLAC") == ["b/Löwe 2.FLAC"]
    assert set(names(f"{folder}/**/*.[mw]*")) >= {"b/c/x.mp3", "-dash.wav"}
    monkeypatch.chdir(folder)
    assert names("-dash.wav", "z.ogg", "./z.ogg") == ["-dash.wav", "z.ogg"]
    (folder / "list.txt").write_text(f"\ufeffb/c/x.mp3\n\n  z.ogg\r\n{folder}/-dash.wav\n")
    assert names("list.txt") == ["b/c/x.mp3", "z.ogg", "-dash.wav"]
    assert find_recordings(["list.txt"]).recordings[0] == Recording(Path("b/c/x.mp3"), "b/c/x.mp3")


def test_what_names_nothing_or_two_of_one_name(folder: Path) -> None:
    (folder / "empty").mkdir()
    for given in ("empty", "*.aiff"):
        with raises_user_error(given, "names no sound file"):
            find_recordings([str(folder / given)])
    (folder / "empty/a.m4a").touch()
    assert names_sound(str(folder / "empty"))
    with raises_user_error("empty names no sound file that can be read", "a.m4a", "ffmpeg"):
        find_recordings([str(folder / "empty")])
    with raises_user_error("nowhere.wav", "does not exist"):
        find_recordings([str(folder / "nowhere.wav")])
    (folder / "b/z.ogg").touch()
    with raises_user_error("1 names", "'z.ogg'", "give a folder above"):
        find_recordings([str(folder / "z.ogg"), str(folder / "b/z.ogg")])


def test_what_other_programs_take_is_told_from_sound(tmp_path: Path, folder: Path) -> None:
    sound = write_sound(tmp_path / "a.wav", noise(0.1))
    os.rename(sound, tmp_path / "unnamed")
    (tmp_path / "x.npz").write_bytes(b"PK\3\4")
    (tmp_path / "records").mkdir()
    (tmp_path / "records/a.tfrecord").touch()
    (tmp_path / "records/sounds").mkdir()
    (tmp_path / "records/sounds/a.wav").touch()
    for given in (folder, folder / "z.ogg", f"{folder}/*.wav", tmp_path / "unnamed"):
        assert names_sound(str(given)), given
    for given in ("x.npz", "records", "records/*.tfrecord", "nowhere.npz"):
        assert not names_sound(str(tmp_path / given)), given
