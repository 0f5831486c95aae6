"""Strong labels: the file, which segments an event makes active, and whose clip it is."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mla_jax.data.class_list import ClassList
from mla_jax.data.synthetic import SyntheticConfig, synthetic_clips
from mla_jax.localization.events import (
    Reference,
    segment_bounds,
    segment_reference,
    segments_to_events,
)
from mla_jax.localization.strong_labels import Event, read_strong_labels, write_strong_labels
from tests.support.helpers import raises_user_error

CLASSES = ClassList(
    mids=("/m/dog", "/m/cat", "/m/wind", "/m/bow", "/m/bow2"),
    names=("Dog", "Cat, purring", "Wind", "Bow", "Bow"),
)
HEADER = "filename\tonset\toffset\tevent_label\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "eval.tsv"


# The file.


def test_a_file_is_read(path: Path) -> None:
    path.write_bytes(
        b"\xef\xbb\xbfevent_label\tonset\tscene\tfilename\toffset\r\n"
        b"Dog\t0.5\tpark\tb.wav\t1\r\n"
        b"/m/bow2\t.5\t\ta.wav\t1e1\r\n"
        b"\r\n"
        b"\t\tpark\tsilent.wav\t\r\n"
        b"Cat, purring\t2\tpark\tb.wav\t2\r\n"
        b"\t\t\talso silent.wav"
    )
    events = read_strong_labels(path, CLASSES)
    assert list(events) == ["b.wav", "a.wav", "silent.wav", "also silent.wav"]
    assert events == {
        "b.wav": [Event(0.5, 1.0, 0), Event(2.0, 2.0, 1)],
        "a.wav": [Event(0.5, 10.0, 4)],
        "silent.wav": [],
        "also silent.wav": [],
    }


def test_a_silent_file_may_be_its_name_alone(path: Path) -> None:
    path.write_text(HEADER + "silent.wav\n")
    assert read_strong_labels(path, CLASSES) == {"silent.wav": []}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("is empty", "filename, onset, offset, event_label")),
        ("\n\n", ("is empty",)),
        (HEADER, ("lists no file",)),
        ("a.wav\tpark\t0\t1\tDog\n", ("line 1", "no column filename", "first line")),
        ("0\t1\tDog\n0\t1\tDog\tx\n", ("line 2", "4 cells", "3 columns")),
        ("0\t1\tDog\n1\t0\tDog\n", ("line 2", "onset 1 is behind")),
        ("filename\tonset\tevent_label\na.wav\t0\tDog\n", ("line 1", "no column offset")),
        ("filename;onset;offset;event_label\n", ("line 1", "no column filename", "tabs")),
        ("filename,onset,offset,event_label\n", ("lists no file",)),
        ("onset\t" + HEADER, ("line 1", "more than one column onset")),
        (HEADER + "a.wav\t0\t1\tDog\n\na.wav\t2\t1.5\tDog\n", ("line 4", "onset 2", "offset 1.5")),
        (HEADER + "a.wav\t-0.5\t1\tDog\n", ("line 2", "onset -0.5", "0 or more")),
        (HEADER + "a.wav\t0\t-1\tDog\n", ("line 2", "offset -1", "0 or more")),
        (HEADER + "a.wav\t0\tone\tDog\n", ("line 2", "offset 'one' is not a number", "seconds")),
        (HEADER + "a.wav\t0,5\t1\tDog\n", ("line 2", "onset '0,5' is not a number")),
        (HEADER + "a.wav\t0\tnan\tDog\n", ("line 2", "offset 'nan' is not a number")),
        (HEADER + "a.wav\t0\t1_0\tDog\n", ("line 2", "offset '1_0' is not a number")),
        (HEADER + "a.wav\t0\t\uff11\tDog\n", ("line 2", "offset '\uff11' is not a number")),
        (HEADER + "a.wav\t0\t1e999\tDog\n", ("line 2", "offset inf")),
        (HEADER + "a.wav\t\t1\tDog\n", ("line 2", "onset '' is not a number")),
        (HEADER + "a.wav\t0\t1\n", ("line 2", "event_label ''", "not known")),
        (HEADER + "a.wav\t0\t1\tDogg\n", ("line 2", "'Dogg' is not known", "mean 'Dog'")),
        (HEADER + "a.wav\t0\t1\tZither\n", ("line 2", "'Zither' is not known", "class list")),
        (HEADER + "a.wav\t0\t1\tBow\n", ("line 2", "class 3 or 4", "give the mid")),
        (HEADER + "a.wav\t0\t1\tDog\tx\n", ("line 2", "5 cells", "4 columns")),
        (HEADER + "\t0\t1\tDog\n", ("line 2", "no file name")),
        (HEADER + "a.wav\t0\t1\tDog\n\t\t\t\n", ("line 3", "no file name")),
    ],
)
def test_what_is_wrong_is_one_line(path: Path, text: str, parts: tuple[str, ...]) -> None:
    path.write_text(text, encoding="utf-8")
    with raises_user_error(str(path), *parts):
        read_strong_labels(path, CLASSES)


EVENTS = [Event(0.5, 2.0, 0), Event(1.0, 1.0, 1)]
FORMS = {
    "audioset-strong": (
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
        "b1lk0cXoCvg_30000\t0.5\t2.0\t/m/dog\nb1lk0cXoCvg_30000\t1\t1\t/m/cat\n",
        "b1lk0cXoCvg_30000",
    ),
    "audacity": (
        "0.500000\t2.000000\tDog\n\\\t100.5\t2000\n1\t1\tCat, purring\n\\\t-1\t-1\n",
        "eval",
    ),
    "event list": ("0.5\t2.0\tDog\n1.0\t1.0\tCat, purring", "eval"),
    "event list with commas": ('0.5,2.0,Dog\n1.0,1.0,"Cat, purring"\n', "eval"),
    "event list with files": ("x.wav\t0.5\t2.0\tDog\nx.wav\t1.0\t1.0\tCat, purring", "x.wav"),
    "csv": (
        'filename,onset,offset,event_label\nx.wav,.5,2,Dog\nx.wav,1,1,"Cat, purring"\n',
        "x.wav",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_say_the_same(path: Path, form: str) -> None:
    text, name = FORMS[form]
    path.write_text(text)
    assert read_strong_labels(path, CLASSES) == {name: EVENTS}


def test_a_folder_of_label_tracks_has_a_recording_a_file(tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("0.5\t2\tDog\n1\t1\tZither\n")
    (tmp_path / "one.txt").write_text("0.5\t2\tDog\n1\t1\t/m/cat\n")
    (tmp_path / "silent.txt").write_text("\n")
    (tmp_path / "one.wav").write_bytes(b"RIFF")
    events = read_strong_labels(tmp_path, CLASSES)
    assert events == {"one": EVENTS, "silent": [], "two": EVENTS[:1]}
    assert events.left_out == {"Zither": 1}
    for file in tmp_path.glob("*.txt"):
        file.unlink()
    with raises_user_error(str(tmp_path), "no file of strong labels"):
        read_strong_labels(tmp_path, CLASSES)


def test_what_of_a_folder_is_not_read_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "one.txt").write_text("0.5\t2\tDog\n1\t1\t/m/cat\n")
    (tmp_path / "._one.txt").write_bytes(b"\0\5\x16\7\xff")
    (tmp_path / "class_labels_indices.csv").write_text("index,mid,display_name\n")
    assert read_strong_labels(tmp_path, CLASSES) == {"one": EVENTS}
    assert not caplog.messages
    (tmp_path / "two.jams").write_text("{}")
    (tmp_path / "three.tab").write_text("0.5\t2\tDog\n")
    (tmp_path / "sub.txt").mkdir()
    assert read_strong_labels(tmp_path, CLASSES) == {"one": EVENTS}
    told = "3 files or folders there are not read: sub.txt/, three.tab, two.jams"
    assert caplog.messages == [f"{tmp_path}: {told}"]
    (tmp_path / "four.txt").write_bytes(b"\xff")
    with raises_user_error(f"{tmp_path / 'four.txt'}", "utf-8", "tab-separated"):
        read_strong_labels(tmp_path, CLASSES)


def test_a_file_that_cannot_be_read_is_one_line(path: Path) -> None:
    with raises_user_error(str(path), "No such file", "tab-separated"):
        read_strong_labels(path, CLASSES)
    path.write_bytes(b"filename\tonset\toffset\tevent_label\n\xff\xfe")
    with raises_user_error(str(path), "utf-8", "tab-separated"):
        read_strong_labels(path, CLASSES)


def test_what_is_written_is_read_back_to_the_last_bit(path: Path) -> None:
    rng = np.random.default_rng(0)
    events: dict[str, list[Event]] = {"0.1 + 0.2.wav": [Event(0.1, 0.1 + 0.2, 1)], "silent": []}
    for i in range(50):
        onsets = 10 ** rng.uniform(-8, 3, i % 4)
        events[f"-{i} ä.wav"] = [
            Event(float(t), float(t * (1 + rng.random())), int(rng.integers(3))) for t in onsets
        ]
    events["zero"] = [Event(0.0, 0.0, 2)]
    write_strong_labels(path, events, CLASSES)
    again = read_strong_labels(path, CLASSES)
    assert again == events
    assert list(again) == list(events)
    # NumPy's own numbers are written as plain ones.
    numpy_events = {"a": [Event(np.float64(0.5), np.float32(1.5), np.int64(2))]}  # type: ignore[arg-type]
    write_strong_labels(path, numpy_events, CLASSES)
    assert path.read_text() == HEADER + "a\t0.5\t1.5\tWind\n"


@pytest.mark.parametrize(
    ("events", "parts"),
    [
        ({}, ("no files to write",)),
        ({"a\tb": []}, (r"'a\tb'", "tabs")),
        ({"": []}, ("''",)),
        ({" a": []}, ("' a'", "space")),
        ({"a": [Event(2.0, 1.0, 0)]}, ("a: onset 2", "behind offset 1")),
        ({"a": [Event(math.nan, 1.0, 0)]}, ("a: onset nan",)),
        ({"a": [Event(0.0, math.inf, 0)]}, ("a: offset inf",)),
        ({"a": [Event(0.0, 1.0, 5)]}, ("class 5", "5 classes")),
        ({"a": [Event(0.0, 1.0, -1)]}, ("class -1",)),
        ({"a": [Event(0.0, 1.0, 3)]}, ("class 3 has no name of its own",)),
    ],
)
def test_what_could_not_be_read_back_is_not_written(
    path: Path, events: dict[str, list[Event]], parts: tuple[str, ...]
) -> None:
    with raises_user_error(str(path), *parts):
        write_strong_labels(path, events, CLASSES)
    assert not path.exists()


# Events and segments.


def reference(
    events: list[Event], *, time: int = 5, num_segments: int | None = None, resolution: float = 1.0
) -> Reference:
    mask = np.arange(time)[None] < (time if num_segments is None else num_segments)
    return segment_reference({"a": events}, ["a"], mask, 3, resolution=resolution)


@pytest.mark.parametrize(
    ("onset", "offset", "segments"),
    [
        (1.0, 3.0, [1, 2]),  # neither touches what ends at 1 nor what begins at 3
        (0.999999, 3.000001, [0, 1, 2, 3]),
        (1.2, 1.3, [1]),
        (1.9, 2.1, [1, 2]),
        (0.0, 0.1, [0]),
        (4.9, 60.0, [4]),  # cut
        (1.5, 1.5, [1]),  # of no length, within a segment
        (0.3, 0.1 + 0.2, [0]),
        (1.0000001, 2.0000001, [1]),  # a rounding error behind the boundaries
        (0.9999999, 1.9999999, [1]),  # and before them
    ],
)
def test_an_event_makes_active_what_it_overlaps(
    onset: float, offset: float, segments: list[int]
) -> None:
    made = reference([Event(onset, offset, 1), Event(0.0, 5.0, 2)])
    assert np.flatnonzero(made.active[0, :, 1]).tolist() == segments
    assert made.active[0, :, 2].all()
    assert not made.active[0, :, 0].any()
    assert made.events_outside == 0


@pytest.mark.parametrize("resolution", [1.0, 0.96, 0.1, 0.02])
def test_segments_are_those_of_exact_arithmetic(resolution: float) -> None:
    rng = np.random.default_rng(1)
    r = Fraction(str(resolution))
    for _ in range(60):
        on_boundary = rng.random((6, 2)) < 0.5
        # In thousandths of a segment: whole segments, or anywhere.
        ticks = np.sort(
            np.where(on_boundary, 1000 * rng.integers(0, 9, (6, 2)), rng.integers(0, 8000, (6, 2)))
        )
        times = [[Fraction(int(t), 1000) * r for t in pair] for pair in ticks]
        labels = rng.integers(0, 3, 6).tolist()
        expected = np.zeros((7, 3), bool)
        for (onset, offset), label in zip(times, labels, strict=True):
            for t in range(7):
                expected[t, label] |= t * r < offset and (t + 1) * r > onset
        events = [Event(float(a), float(b), k) for (a, b), k in zip(times, labels, strict=True)]
        events.append(Event(0.0, float(r / 2), 0))  # one is inside in any case
        expected[0, 0] = True
        made = reference(events, time=7, resolution=resolution)
        np.testing.assert_array_equal(made.active[0], expected)


def test_what_is_behind_the_clip_is_cut_and_counted() -> None:
    events = [Event(2.5, 9.0, 0), Event(3.0, 4.0, 1), Event(7.0, 8.0, 1), Event(2.0, 2.0, 2)]
    made = reference(events, num_segments=3)
    assert np.argwhere(made.active[0]).tolist() == [[2, 0]]
    assert made.events_outside == 3
    assert made.mask.tolist() == [[True, True, True, False, False]]


def test_times_that_are_not_seconds_are_noticed() -> None:
    with raises_user_error("none of the 2 events", "seconds"):
        reference([Event(500.0, 1500.0, 0), Event(2000.0, 2500.0, 0)])


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_the_classes_is_refused(label: int) -> None:
    with raises_user_error(f"label {label}", "0 to 2"):
        reference([Event(0.0, 1.0, label)])


@pytest.mark.parametrize("resolution", [0.0, -1.0, math.nan, math.inf, 1e-6])
def test_a_resolution_that_is_none_is_refused(resolution: float) -> None:
    with raises_user_error("resolution=", "seconds"):
        segment_bounds(3, resolution)


@pytest.mark.parametrize("resolution", [1.0, 0.96, 0.3])
def test_segments_become_events_and_these_the_segments(resolution: float) -> None:
    rng = np.random.default_rng(2)
    active = rng.random((40, 9, 4)) < rng.random((40, 1, 4))
    ids = [f"clip{i}" for i in range(40)]
    events = segments_to_events(active, ids, resolution=resolution)
    mask = np.ones((40, 9), bool)
    made = segment_reference(events, ids, mask, 4, resolution=resolution)
    np.testing.assert_array_equal(made.active, active)
    assert made.events_outside == 0
    # Runs: no two events of a class in a clip touch.
    ends = {(name, e.offset, e.label) for name, rows in events.items() for e in rows}
    assert not {(name, e.onset, e.label) for name, rows in events.items() for e in rows} & ends
    for rows in events.values():
        assert rows == sorted(rows, key=lambda e: (e.onset, e.label))


def test_generated_clips_have_strong_labels(path: Path) -> None:
    """The events of `mla_jax.data.synthetic`, by way of a file, are the segments that they came from."""
    made = synthetic_clips(SyntheticConfig(num_clips=300, num_classes=12, short_clip_rate=0.3))
    events = segments_to_events(made.events, made.clips.video_ids)
    write_strong_labels(path, events, made.classes)
    again = read_strong_labels(path, made.classes)
    assert again == events
    truth = segment_reference(again, made.clips.video_ids, made.clips.mask(), 12)
    np.testing.assert_array_equal(truth.active, made.events)
    np.testing.assert_array_equal(truth.mask, made.clips.mask())
    assert (truth.files_without_clip, truth.clips_without_labels, truth.events_outside) == (
        (),
        (),
        0,
    )


def test_no_segments_are_no_events() -> None:
    assert segments_to_events(np.zeros((2, 3, 4), bool), [b"a", "b"]) == {"a": [], "b": []}
    with raises_user_error("[2, 3]", "bool"):
        segments_to_events(np.zeros((2, 3), bool), ["a", "b"])
    with raises_user_error("int64"):
        segments_to_events(np.zeros((2, 3, 4), int), ["a", "b"])
    with raises_user_error("3 clip ids for 2 clips"):
        segments_to_events(np.zeros((2, 3, 4), bool), ["a", "b", "c"])


# Files and clips.


def owner(files: list[str], clip_ids: list[str | bytes], unmatched: str = "error") -> Reference:
    """Each file has one event, of the class that is its place in the list, throughout."""
    labels = {name: [Event(0.0, 2.0, k)] for k, name in enumerate(files)}
    mask = np.ones((len(clip_ids), 2), bool)
    return segment_reference(labels, clip_ids, mask, len(files), unmatched=unmatched)


@pytest.mark.parametrize(
    ("files", "clip_ids"),
    [
        (["a", "b"], ["a", "b"]),
        (["a.wav", "b.flac"], ["a", "b"]),
        (["a.wav", "b.wav"], ["a.wav", b"b.wav"]),
        (["a.wav", "a"], ["a.wav", "a"]),  # exact goes before without extension
        (["a", "a.wav"], ["a", "a.wav"]),
        (["Y-x_0.000_10.000.wav", "Y-x_0.000_20.000"], ["Y-x_0.000_10.000", "Y-x_0.000_20.000"]),
        (["-0_a.wav", "-0_A.wav"], [b"-0_a", b"-0_A"]),
    ],
)
def test_a_file_belongs_to_the_clip_of_its_name(
    files: list[str], clip_ids: list[str | bytes]
) -> None:
    for reverse in (False, True):
        ids = clip_ids[::-1] if reverse else clip_ids
        active = owner(files, ids).active
        np.testing.assert_array_equal(active[:, 0], np.eye(2, dtype=bool)[:: -1 if reverse else 1])


def test_what_does_not_match_is_an_error_or_left_out_and_named() -> None:
    files, clip_ids = ["a.wav", "x", "y", "z", "w"], ["a", "b"]
    with raises_user_error(
        "4 of 5 files", "'x', 'y', 'z', ...", "1 of 2 clips", "'b'", "unmatched='skip'"
    ):
        owner(files, clip_ids)
    with raises_user_error("1 of 2 clips have no line"):
        owner(["a.wav"], clip_ids)
    made = owner(files, clip_ids, unmatched="skip")
    assert made.files_without_clip == ("x", "y", "z", "w")
    assert made.clips_without_labels == ("b",)
    assert made.mask.tolist() == [[True, True], [False, False]]
    assert made.active[0].tolist() == [[True, False, False, False, False]] * 2
    assert not made.active[1].any()
    with raises_user_error("unmatched='ignore'", "error, skip"):
        owner(files, clip_ids, unmatched="ignore")


@pytest.mark.parametrize("unmatched", ["error", "skip"])
def test_labels_of_no_clip_are_an_error(unmatched: str) -> None:
    for name in ("Ya_0.000_10.000.wav", "audio/a.wav", "a.b.wav", "A.wav", "Ya.wav"):
        with raises_user_error(
            f"none of the 2 files of the strong labels belongs to a clip: the first file is {name!r}",
            "the first of 2 clips 'a'",
            "a file's name must be a clip's id, with or without an extension",
        ):
            owner([name, "x"], ["a", "b"], unmatched)


@pytest.mark.parametrize(
    "name", ["Y{}.wav", "Y{}_30.000_40.000.wav", "{}_30000", "{}_30000.wav", "Y{}"]
)
def test_files_of_audiosets_clips(name: str) -> None:
    ids = ["-_aB3456789", "_-aB3456789"]
    made = owner([name.format(i) for i in ids], list[str | bytes](ids))
    np.testing.assert_array_equal(made.active[:, 0], np.eye(2, dtype=bool))


@pytest.mark.parametrize("name", ["Y{}_{}.000_40.000.wav", "{}_{}000"])
def test_the_start_in_a_files_name_is_that_of_its_clip(name: str) -> None:
    ids = ["-_aB3456789", "_-aB3456789"]
    labels = {name.format(i, 30): [Event(0.0, 1.0, 0)] for i in ids}
    mask = np.ones((2, 2), bool)
    for starts, files in (((30.4, 50.0), 1), ((0.0, 0.0), 2), ((0.0, 30.0), 1), (None, 2)):
        times = None if starts is None else np.array(starts)
        made = segment_reference(labels, ids, mask, 1, unmatched="skip", start_times=times)
        assert made.mask.any(axis=1).sum() == files
    with raises_user_error("none of the 2 files", "of the start of the clip"):
        segment_reference(labels, ids, mask, 1, start_times=np.array([31.0, 50.0]))


def test_labels_that_are_no_class_are_left_out_and_counted(path: Path) -> None:
    rows = "a.wav\t0\t1\tDog\na.wav\t0\t1\tZither\nb.wav\t0\t2\tZither\nb.wav\t1\t2\tOboe\n"
    path.write_text(HEADER + rows, encoding="utf-8")
    labels = read_strong_labels(path, CLASSES)
    assert labels == {"a.wav": [Event(0.0, 1.0, CLASSES.names.index("Dog"))], "b.wav": []}
    assert labels.left_out == {"Zither": 2, "Oboe": 1}
    made = segment_reference(labels, ["a", "b"], np.ones((2, 2), bool), len(CLASSES))
    assert np.flatnonzero(made.known).tolist() == [CLASSES.names.index("Dog")]


@pytest.mark.parametrize("unmatched", ["error", "skip"])
def test_what_is_ambiguous_is_refused(unmatched: str) -> None:
    with raises_user_error("'a.wav' and 'a.flac'", "'a'"):
        owner(["a.wav", "a.flac"], ["a", "b"], unmatched)
    with raises_user_error("2 clips have the id 'a'", "the file 'a.wav'"):
        owner(["a.wav"], ["a", b"a"], unmatched)
    assert owner(["b.wav"], ["a", b"a", "b"], "skip").mask[:, 0].tolist() == [False, False, True]
    with raises_user_error("1 clip ids for 2 clips"):
        segment_reference({"a": []}, ["a"], np.ones((2, 3), bool), 1, unmatched=unmatched)
