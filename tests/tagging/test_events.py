"""Events: runs of segments, over the ends of windows, in the formats that other programs read."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.data.embedding import Embedding
from mla_jax.data.windows import Windowing, batches_of_windows, segment_times
from mla_jax.localization.event_rules import EventRules, find_events
from mla_jax.localization.events import segment_bounds, segments_to_events
from mla_jax.localization.strong_labels import read_strong_labels
from mla_jax.tagging.events import (
    EventCount,
    EventFinder,
    write_audacity,
    write_dcase,
    write_event_lines,
)
from mla_jax.tagging.tags import TaggedClips, Tags
from tests.support.helpers import raises_user_error

CLASSES = mla.ClassList(("/m/0", "/m/1", "/m/2"), ("Dog", "Löwe", "Rain, on a roof"))
LIMITS = np.array([0.5, 0.25, 0.75])
RULES = EventRules(LIMITS, LIMITS)


def recordings(lengths: list[int], **known: float) -> tuple[mla.ClipSet, np.ndarray]:
    """Clips whose vectors are the scores of their segments."""
    rng = np.random.default_rng(0)
    scores = rng.random((len(lengths), max(lengths), 3)).astype(np.float32)
    scores[np.arange(max(lengths)) >= np.array(lengths)[:, None]] = 0
    clips = mla.ClipSet.from_arrays(
        scores,
        [[]] * len(lengths),
        num_classes=3,
        num_segments=np.array(lengths),
        video_ids=[f"{i} ä.wav" for i in range(len(lengths))],
        embedding=Embedding.of(scores, **known),
    )
    return clips, scores


def tags_of(clips: mla.ClipSet) -> Tags:
    """Every label of every clip."""
    owner = np.repeat(np.arange(len(clips)), 3)
    labels = np.tile(np.arange(3, dtype=np.int32), len(clips))
    scores = np.asarray(clips.embeddings)[owner, :, labels]
    return Tags(TaggedClips.of(clips), owner, labels, scores.max(1), scores, starts_of(clips))


def starts_of(clips: mla.ClipSet) -> np.ndarray:
    return segment_times(clips, *np.indices((len(clips), clips.max_segments)))


@pytest.mark.parametrize("hop", [3, 4])
@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("seconds", [1.0, 0.48])
def test_events_do_not_depend_on_windows(hop: int, batch_size: int, seconds: float) -> None:
    clips, scores = recordings([17, 1, 4, 9], hop_seconds=seconds)
    windowing = Windowing(4, hop)
    finder = EventFinder(RULES)
    found = {}
    for batch in batches_of_windows([clips], windowing, width=4, batch_size=batch_size):
        found |= dict(finder.add(tags_of(batch)))
    found |= dict(finder.finish())
    active = (scores >= LIMITS) & clips.mask()[:, :, None]
    expected = segments_to_events(active, clips.video_ids, resolution=seconds)
    assert list(found) == list(expected)
    for i, name in enumerate(expected):
        assert len(found[name]) == len(expected[name])
        for event, (onset, offset, label) in zip(found[name], expected[name], strict=True):
            assert event[:3] == pytest.approx((onset, offset, label), abs=1e-6)
            first, last = round(onset / seconds), round(offset / seconds)
            assert event.score == scores[i, first:last, label].max()


@pytest.mark.parametrize(("window", "hop"), [(1, 1), (4, 3), (4, 4), (30, 30)])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_smoothed_events_of_windows_are_those_of_the_whole(
    window: int, hop: int, batch_size: int
) -> None:
    """Though a window without a score that keeps an event is not even reported."""
    clips, scores = recordings([23, 1, 4, 9], hop_seconds=1.0)
    rules = EventRules(LIMITS, LIMITS / 2, smoothing=5, least_seconds=2.0, least_gap=1.5)
    finder, found = EventFinder(rules), {}
    batches = batches_of_windows(
        [clips], Windowing(window, hop), width=window, batch_size=batch_size
    )
    for batch in batches:
        tags = tags_of(batch)
        assert tags.scores is not None
        kept = (tags.scores >= rules.keep[tags.labels][:, None]).any(axis=1)
        few = {name: getattr(tags, name)[kept] for name in ("owner", "labels", "probs", "scores")}
        found |= dict(finder.add(tags._replace(**few)))
    found |= dict(finder.finish())
    bounds = segment_bounds(23, 1.0)
    for i, events in enumerate(found.values()):
        whole = np.where(clips.mask()[i], scores[i].T, np.nan)
        expected = find_events(whole, bounds[:-1], bounds[1:], np.arange(3), rules)
        columns = [c.tolist() for c in (expected.onset, expected.offset, expected.row)]
        rows = list(zip(*columns, expected.score.tolist(), strict=True))
        assert [tuple(e) for e in events] == sorted(rows, key=lambda row: (row[0], row[2]))
    assert list(found) == [v.decode() for v in clips.video_ids]
    assert any(found.values())


@pytest.mark.parametrize("seconds", [512 / 22050, 512 / 44100, 1 / 3, 1 / 75, 0.48])
@pytest.mark.parametrize(("window", "hop"), [(13, 13), (10, 5), (7, 3)])
def test_times_that_are_no_whole_microseconds_tear_no_event(
    seconds: float, window: int, hop: int
) -> None:
    scores = np.ones((1, 1300, 3), np.float32)
    clips = mla.ClipSet.from_arrays(
        scores, [[]], num_classes=3, embedding=Embedding.of(scores, hop_seconds=seconds)
    )
    finder = EventFinder(RULES)
    for batch in batches_of_windows([clips], Windowing(window, hop), width=window, batch_size=50):
        assert not list(finder.add(tags_of(batch)))
    ((_, events),) = finder.finish()
    assert [event.label for event in events] == [0, 1, 2]
    for event in events:
        assert event[:2] == pytest.approx((0, 1300 * seconds), abs=2e-6)


@pytest.mark.parametrize(
    ("ids", "starts", "message"),
    [
        ("aba", [0, 0, 10], "the clips of 'a' do not stand together"),
        ("aab", [0, 0, 0], "two clips of 'a' begin at 0 s"),
    ],
    ids=["scattered", "without start times"],
)
def test_recordings_that_cannot_be_put_together_are_refused(
    ids: str, starts: list[float], message: str
) -> None:
    clips, _ = recordings([4, 4, 4], hop_seconds=1.0)
    clips = dataclasses.replace(
        clips, video_ids=np.array(list(ids), "S"), start_times=np.array(starts, float)
    )
    finder = EventFinder(RULES)
    with raises_user_error(message):
        list(finder.add(tags_of(clips)))


def test_nothing_is_smoothed_or_goes_on_where_a_recording_has_a_hole() -> None:
    clips, _ = recordings([3, 3], hop_seconds=1.0)
    scores = np.array([[0.9, 0.9, 0.9], [0.9, 0.1, 0.1]], np.float32)
    finder = EventFinder(EventRules(LIMITS, LIMITS, smoothing=3))
    for clip, begin in ((0, 0.0), (1, 5.0)):
        tagged = dataclasses.replace(
            TaggedClips.of(clips[[clip]]), video_ids=np.array([b"one"]), num_segments=np.array([3])
        )
        zero = np.zeros(1, np.int64)
        starts = begin + np.arange(3.0)[None]
        row = scores[clip : clip + 1]
        assert not list(
            finder.add(Tags(tagged, zero, zero.astype(np.int32), row[:, 0], row, starts))
        )
    ((_, events),) = finder.finish()
    assert [(e.onset, e.offset) for e in events] == [(0.0, 3.0), (5.0, 6.0)]


@pytest.mark.parametrize(
    ("example", "ends"), [(0.96, [1.46, 2.46]), (1.2, [1.5, 2.7]), (0.48, [1.0, 2.0])]
)
def test_an_event_ends_where_its_last_segment_stops_hearing(
    example: float, ends: list[float]
) -> None:
    """Or where the next event of the label begins; but not before the next segment does."""
    clips, _ = recordings([4], hop_seconds=0.5, example_seconds=example)
    scores = np.array([[0.9, 0.9, 0.1, 0.9]], np.float32)
    finder = EventFinder(RULES)
    zeros = np.zeros(1, np.int64)
    tags = Tags(
        TaggedClips.of(clips), zeros, zeros.astype(np.int32), scores[:, 0], scores, starts_of(clips)
    )
    assert not list(finder.add(tags))
    ((_, events),) = finder.finish()
    assert [(e.onset, e.offset) for e in events] == list(zip([0.0, 1.5], ends, strict=True))
    assert not list(finder.finish())


def test_files_that_other_programs_read(tmp_path: Path) -> None:
    clips, scores = recordings([6, 5])
    scores[1] = 0
    clips = mla.ClipSet.from_arrays(
        scores,
        [[]] * 2,
        num_classes=3,
        num_segments=clips.num_segments,
        video_ids=["a.wav", "b.wav"],
    )
    file = io.StringIO()
    with write_dcase(file, CLASSES, RULES) as write:
        write(tags_of(clips))
    (tmp_path / "events.tsv").write_text(file.getvalue())
    assert file.getvalue().splitlines()[0] == "filename\tonset\toffset\tevent_label\tscore"
    active = (scores >= LIMITS) & clips.mask()[:, :, None]
    expected = segments_to_events(active, clips.video_ids)
    assert read_strong_labels(tmp_path / "events.tsv", CLASSES) == expected
    lines = io.StringIO()
    count = EventCount()
    with write_event_lines(lines, CLASSES, RULES, count) as write:
        write(tags_of(clips))
    number = sum(map(len, expected.values()))
    assert str(count) == f"{number} events in 2 recordings, of which 1 has none"
    told = {
        one["video_id"]: one["events"] for one in map(json.loads, lines.getvalue().splitlines())
    }
    for name, events in told.items():
        assert [(e["onset"], e["offset"], e["index"]) for e in events] == expected[name]
        for event in events:
            assert (event["mid"], event["name"]) == (
                CLASSES.mids[event["index"]],
                CLASSES.names[event["index"]],
            )
    assert list(told) == ["a.wav", "b.wav"]
    track = io.StringIO()
    with write_audacity(track, CLASSES, RULES) as write:
        write(tags_of(clips[:1]))
    rows = [line.split("\t") for line in track.getvalue().splitlines()]
    assert [(float(a), float(b), CLASSES.names.index(c)) for a, b, c in rows] == [
        tuple(event) for event in expected["a.wav"]
    ]
    with (
        raises_user_error("a label track is of one recording", "'a.wav', 'b.wav'"),
        write_audacity(io.StringIO(), CLASSES, RULES) as write,
    ):
        write(tags_of(clips))
