"""From scores to events: each step against plain code or SciPy's, and what it must not change."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import median_filter

import mla_jax as mla
from mla_jax.localization.event_rules import EventRules, Found, find_events, find_runs, smooth
from mla_jax.localization.events import segment_bounds, segments_to_events
from mla_jax.localization.rule_files import read_rules, write_rules
from tests.support.helpers import raises_user_error

ROWS, TIME = 40, 23


def scores_of(seed: int = 0, decimals: int = 2) -> np.ndarray:
    """Scores with ties; the rows have 1 to 23 segments, and NaN behind them."""
    rng = np.random.default_rng(seed)
    scores = rng.random((ROWS, TIME)).round(decimals)
    scores[np.arange(TIME) >= rng.integers(1, TIME + 1, ROWS)[:, None]] = np.nan
    return scores


def rules_of(start: float, keep: float, **others: Any) -> EventRules:
    return EventRules(np.full(1, start), np.full(1, keep), **others)


def events_of(scores: np.ndarray, rules: EventRules) -> Found:
    bounds = segment_bounds(scores.shape[1], 1.0)
    return find_events(scores, bounds[:-1], bounds[1:], np.zeros(len(scores), np.int64), rules)


def rows_of(found: Found) -> list[tuple[Any, ...]]:
    return list(zip(*map(np.ndarray.tolist, found), strict=True))


def test_smoothing_of_one_is_the_score_itself() -> None:
    np.testing.assert_array_equal(smooth(scores_of(), 1), scores_of())


@pytest.mark.parametrize("width", [3, 5, 7])
def test_smoothing_is_the_median_of_as_many_neighbours_on_both_sides(width: int) -> None:
    scores = scores_of()
    smoothed = smooth(scores.reshape(4, 10, TIME), width).reshape(ROWS, TIME)
    for row, (ours, theirs) in enumerate(zip(smoothed, scores, strict=True)):
        there = theirs[~np.isnan(theirs)]
        expected = median_filter(there, width)
        for place in range(len(there)):
            side = min(place, len(there) - 1 - place, width // 2)
            if side < width // 2:  # SciPy fills up behind the ends
                expected[place] = np.median(there[place - side : place + side + 1])
        np.testing.assert_array_equal(ours[: len(there)], expected, err_msg=str(row))
        assert np.isnan(ours[len(there) :]).all()


def test_smoothing_keeps_what_is_constant_and_knows_no_direction() -> None:
    scores = scores_of()
    flat = np.where(np.isnan(scores), np.nan, 0.4)
    np.testing.assert_array_equal(smooth(flat, 5), flat)
    np.testing.assert_array_equal(smooth(scores[:, ::-1], 5), smooth(scores, 5)[:, ::-1])


def test_stretches_with_nothing_between_them_do_not_know_each_other() -> None:
    one, other = scores_of(1)[:1, :9], scores_of(2)[2:3, :7]
    one, other = np.nan_to_num(one), np.nan_to_num(other)
    both = np.concatenate([one, [[np.nan]], other], axis=1)
    apart = [smooth(one, 5), [[np.nan]], smooth(other, 5)]
    np.testing.assert_array_equal(smooth(both, 5), np.concatenate(apart, axis=1))
    assert len(find_runs(np.full((1, 5), 0.9), np.array([0.5]), np.array([0.5])).row) == 1
    cut = np.array([[0.9, 0.9, np.nan, 0.9, 0.9]])
    assert len(find_runs(cut, np.array([0.5]), np.array([0.5])).row) == 2


def test_equal_thresholds_are_one_plain_threshold() -> None:
    scores = scores_of()
    found = events_of(scores, rules_of(0.6, 0.6))
    plain = segments_to_events((scores >= 0.6)[:, :, None], [f"{i}" for i in range(ROWS)])
    expected = [(int(i), e.onset, e.offset) for i, events in plain.items() for e in events]
    assert [row[:3] for row in rows_of(found)] == expected


def test_an_event_goes_on_while_scores_keep_it() -> None:
    """What can be reached from a score that begins one, over scores that keep it."""
    scores = scores_of()
    reached = scores >= 0.8
    for _ in range(TIME):
        near = reached.copy()
        near[:, 1:] |= reached[:, :-1]
        near[:, :-1] |= reached[:, 1:]
        reached |= near & (scores >= 0.4)
    plain = segments_to_events(reached[:, :, None], [f"{i}" for i in range(ROWS)])
    expected = [
        (int(i), e.onset, e.offset, scores[int(i), int(e.onset) : int(e.offset)].max())
        for i, events in plain.items()
        for e in events
    ]
    found = rows_of(events_of(scores, rules_of(0.8, 0.4)))
    assert found == expected
    assert found != rows_of(events_of(scores, rules_of(0.8, 0.8)))


@pytest.mark.parametrize(("gap", "least"), [(0.0, 2.0), (1.5, 0.0), (2.5, 3.0), (100.0, 0.0)])
def test_near_events_are_joined_and_then_short_ones_dropped(gap: float, least: float) -> None:
    scores = scores_of()
    joined: list[list[Any]] = []
    for row, onset, offset, score in rows_of(events_of(scores, rules_of(0.7, 0.5))):
        if joined and joined[-1][0] == row and onset - joined[-1][2] < gap:
            joined[-1][2:] = [offset, max(score, joined[-1][3])]
        else:
            joined.append([row, onset, offset, score])
    expected = [tuple(e) for e in joined if e[2] - e[1] >= least]
    found = events_of(scores, rules_of(0.7, 0.5, least_gap=gap, least_seconds=least))
    assert rows_of(found) == expected
    assert len(expected) < len(events_of(scores, rules_of(0.7, 0.5)).row)


def test_where_segments_overlap_an_event_ends_where_the_next_begins() -> None:
    scores = np.array([[0.9, 0.1, 0.9, 0.9]])
    begins = np.arange(4) * 0.5
    found = find_events(scores, begins, begins + 1.2, np.zeros(1, np.int64), rules_of(0.5, 0.5))
    assert rows_of(found) == [(0, 0.0, 1.0, 0.9), (0, 1.0, 2.7, 0.9)]


def test_classes_have_their_own_thresholds_and_infinity_is_never_reached() -> None:
    scores = np.tile(np.array([[0.2, 0.5, 0.8]]), (4, 1))
    start = np.array([0.5, np.inf])
    rules = EventRules(start, np.array([0.2, 0.1]))
    bounds = segment_bounds(3, 1.0)
    found = find_events(scores, bounds[:-1], bounds[1:], np.array([1, 0, 1, 0]), rules)
    assert rows_of(found) == [(1, 0.0, 3.0, 0.8), (3, 0.0, 3.0, 0.8)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"smoothing": 2}, "smoothing=2 is not valid: it must be an odd number"),
        ({"smoothing": 0}, "smoothing=0"),
        ({"least_seconds": -1.0}, "least_seconds=-1"),
        ({"least_gap": np.inf}, "least_gap=inf"),
        ({"keep": np.array([0.6])}, "class 0: keep is 0.6 and start 0.5"),
        ({"keep": np.array([np.nan])}, "class 0: keep is nan"),
        ({"keep": np.zeros(2)}, "two thresholds for each class"),
    ],
)
def test_rules_that_make_no_sense_are_refused(changes: dict[str, Any], said: str) -> None:
    with raises_user_error(said):
        dataclasses.replace(rules_of(0.5, 0.5), **changes)


def test_a_file_of_rules_comes_back_for_its_classes_alone(tmp_path: Path) -> None:
    classes = mla.ClassList(("/m/0", "/m/1"), ("Dog", "Löwe"))
    rules = EventRules(np.array([1 / 3, np.inf]), np.array([0.1, 0.2]), 5, 0.5, 1.25)
    path = tmp_path / "rules.json"
    write_rules(path, rules, classes, {"by_class": {"F1": [0.5, np.nan]}})
    again = read_rules(path, classes)
    for field in dataclasses.fields(rules):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(rules, field.name))
    write_rules(path, rules, classes, {"score": "alone"})
    read_rules(path, classes, "alone")
    with raises_user_error("the segment score alone, not of in_context"):
        read_rules(path, classes, "in_context")
    with raises_user_error("rules.json", "class"):
        read_rules(path, mla.ClassList(("/m/1", "/m/0"), ("Löwe", "Dog")))
    path.write_text('{"classes": []}')
    with raises_user_error("rules.json"):
        read_rules(path, classes)
    path.write_text("{}")
    with raises_user_error("is not rules of events, which mla-evaluate --write_rules makes"):
        read_rules(path, classes)
