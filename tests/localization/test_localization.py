"""Segment-based metrics: what they promise, scikit-learn, and a plain definition."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score
from sklearn.metrics import roc_auc_score as auc_score

from mla_jax.localization.events import segment_reference, segments_to_events
from mla_jax.localization.segment_metrics import SegmentMetrics, evaluate_segments
from mla_jax.localization.strong_labels import Event
from tests.support.helpers import raises_user_error

N, T, K = 40, 10, 6


def make_case(seed: int = 0, decimals: int | None = None) -> tuple[np.ndarray, ...]:
    """Scores, what is active, and the mask; class 4 is rare, class 5 never sounds."""
    rng = np.random.default_rng(seed)
    active = rng.random((N, T, K)) < np.array([0.5, 0.3, 0.2, 0.1, 0.02, 0.0])
    active[3, 0, 4] = True
    scores = 0.7 * rng.random((N, T, K)) + 0.3 * active
    if decimals is not None:
        scores = scores.round(decimals)
    mask = np.arange(T) < rng.integers(1, T + 1, N)[:, None]
    active &= mask[:, :, None]
    return scores, active, mask


def assert_same(a: SegmentMetrics, b: SegmentMetrics, *, but: tuple[str, ...] = ()) -> None:
    for field in dataclasses.fields(a):
        if field.name not in but:
            np.testing.assert_allclose(
                getattr(a, field.name), getattr(b, field.name), rtol=1e-13, err_msg=field.name
            )


# Properties.


@pytest.mark.parametrize("seed", [0, 1])
def test_perfect_scores(seed: int) -> None:
    _, active, mask = make_case(seed)
    result = evaluate_segments(active.astype(np.float32), active, mask=mask)
    ones = ("micro_f1", "macro_f1", "precision", "recall", "micro_auc", "macro_auc")
    for name in (*ones, "micro_average_precision", "macro_average_precision"):
        assert getattr(result, name) == 1, name
    rates = ("substitution_rate", "deletion_rate", "insertion_rate")
    for name in ("error_rate", "macro_error_rate", *rates):
        assert getattr(result, name) == 0, name
    np.testing.assert_array_equal(result.true_positives, active.sum(axis=(0, 1)))
    assert not result.false_positives.any()


def test_a_silent_system_deletes_everything() -> None:
    _, active, mask = make_case()
    result = evaluate_segments(np.zeros(active.shape), active, mask=mask)
    assert result.error_rate == result.deletion_rate == result.macro_error_rate == 1
    assert result.substitution_rate == result.insertion_rate == 0
    assert result.micro_f1 == result.macro_f1 == result.recall == 0
    assert math.isnan(result.precision)  # of nothing


def test_another_class_each_time_is_all_substitutions() -> None:
    active = np.zeros((2, 3, 2), bool)
    active[:, :, 0] = True
    result = evaluate_segments(active[:, :, ::-1].astype(float), active)
    assert result.error_rate == result.substitution_rate == 1
    assert result.deletion_rate == result.insertion_rate == 0
    # By class, there is nothing to take the place of what is missed.
    assert result.class_error_rate[0] == 1
    assert math.isnan(result.class_error_rate[1])


def test_a_system_that_finds_everything_everywhere_is_worse_than_a_silent_one() -> None:
    _, active, mask = make_case()
    result = evaluate_segments(np.ones(active.shape), active, mask=mask)
    total = mask.sum() * K
    assert result.recall == 1
    assert result.precision == pytest.approx(active.sum() / total)
    assert result.error_rate == result.insertion_rate
    assert result.error_rate == pytest.approx((total - active.sum()) / active.sum())
    assert result.error_rate > 1


def test_the_order_of_clips_and_of_segments_does_not_matter() -> None:
    case = make_case(2, decimals=1)
    expected = evaluate_segments(*case[:2], mask=case[2])
    rng = np.random.default_rng(3)
    clips, time = rng.permutation(N), rng.permutation(T)
    for scores, active, mask in ([a[clips] for a in case], [a[:, time] for a in case]):
        assert_same(evaluate_segments(scores, active, mask=mask), expected)


@pytest.mark.parametrize("filler", [0.0, 1.0, np.nan, np.inf])
def test_padding_does_not_count(filler: float) -> None:
    scores, active, mask = make_case(4)
    expected = evaluate_segments(scores, active, mask=mask)
    padded = np.where(mask[:, :, None], scores, filler)
    assert_same(evaluate_segments(padded, active | ~mask[:, :, None], mask=mask), expected)
    wider = np.pad(padded, ((0, 2), (0, 3), (0, 0)), constant_values=filler)
    held = np.pad(active, ((0, 2), (0, 3), (0, 0)))
    assert_same(evaluate_segments(wider, held, mask=np.pad(mask, ((0, 2), (0, 3)))), expected)
    assert (expected.num_segments, expected.num_clips) == (mask.sum(), N)
    # And it would, were it not left out.
    unmasked = evaluate_segments(np.where(mask[:, :, None], scores, 1.0), active)
    assert unmasked.error_rate > expected.error_rate


def test_a_class_without_events_is_nan_left_out_of_means_and_counted() -> None:
    scores, active, mask = make_case(5)
    result = evaluate_segments(scores, active, mask=mask)
    assert result.classes_without_events == [5]
    assert result.num_active[5] == 0
    for values, mean in (
        (result.average_precision, result.macro_average_precision),
        (result.auc, result.macro_auc),
        (result.f1, result.macro_f1),
        (result.class_error_rate, result.macro_error_rate),
    ):
        assert np.flatnonzero(np.isnan(values)).tolist() == [5]
        assert mean == pytest.approx(values[:5].mean(), rel=1e-14)
    # What is found of it is found wrongly.
    assert result.false_positives[5] > 0
    without = evaluate_segments(scores[:, :, :5], active[:, :, :5], mask=mask)
    assert without.macro_f1 == result.macro_f1
    assert without.micro_f1 > result.micro_f1
    assert without.error_rate < result.error_rate


def test_no_events_at_all_define_nothing() -> None:
    scores, active, _ = make_case(6)
    result = evaluate_segments(scores, np.zeros_like(active))
    for name in ("micro_f1", "macro_f1", "recall", "error_rate", "macro_error_rate", "micro_auc"):
        assert math.isnan(getattr(result, name)), name
    assert result.precision == 0
    assert result.classes_without_events == list(range(K))


def test_a_class_that_always_sounds_has_no_ranking_but_an_f1() -> None:
    scores, active, _ = make_case(7)
    active[:, :, 0] = True
    result = evaluate_segments(scores, active)
    assert math.isnan(result.average_precision[0])
    assert math.isnan(result.auc[0])
    assert 0 < result.f1[0] < 1
    assert result.classes_without_events == [5]


def test_a_score_must_exceed_the_threshold_of_its_class() -> None:
    scores, active, mask = make_case(8, decimals=1)
    one = evaluate_segments(scores, active, mask=mask, threshold=0.4)
    each = evaluate_segments(scores, active, mask=mask, threshold=[0.4] * K)
    assert_same(one, each)
    just_above = evaluate_segments(scores, active, mask=mask, threshold=np.nextafter(0.4, 1))
    assert_same(one, just_above, but=("threshold",))
    just_below = evaluate_segments(scores, active, mask=mask, threshold=np.nextafter(0.4, 0))
    assert just_below.true_positives.sum() > one.true_positives.sum()
    # Each class by its own.
    limits = np.linspace(0.1, 0.8, K)
    mixed = evaluate_segments(scores, active, mask=mask, threshold=limits)
    for k, limit in enumerate(limits):
        alone = evaluate_segments(scores, active, mask=mask, threshold=limit)
        assert mixed.true_positives[k] == alone.true_positives[k]
        assert mixed.false_positives[k] == alone.false_positives[k]
    assert mixed.threshold.tolist() == limits.tolist()
    # The ranking knows no threshold.
    assert mixed.macro_average_precision == one.macro_average_precision


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_thresholds_meet_the_exact_values_of_scores(dtype: type) -> None:
    """0.1 is none of these numbers: it lies between two that are neighbours."""
    scores = np.full((1, 2, 1), 0.1, dtype)
    active = np.array([[[True], [False]]])
    value = float(scores[0, 0, 0])
    for threshold in (0.1, [0.1]):
        found = evaluate_segments(scores, active, threshold=threshold).true_positives[0]
        assert found == (value > 0.1)
    assert evaluate_segments(scores, active, threshold=value).true_positives[0] == 0
    below = math.nextafter(value, 0)
    assert evaluate_segments(scores, active, threshold=below).true_positives[0] == 1


# References: scikit-learn, and the definition.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_equals_sklearn(threshold: float, decimals: int | None, dtype: type) -> None:
    scores, active, mask = make_case(9, decimals)
    scores = scores.astype(dtype)
    result = evaluate_segments(scores, active, mask=mask, threshold=threshold)
    s, y = scores[mask].astype(np.float64), active[mask]
    found = s > threshold
    for k in range(5):
        assert result.average_precision[k] == pytest.approx(
            average_precision_score(y[:, k], s[:, k]), rel=1e-12
        )
        assert result.auc[k] == pytest.approx(auc_score(y[:, k], s[:, k]), rel=1e-12)
    defined = (y[:, :5], s[:, :5])
    assert result.macro_average_precision == pytest.approx(
        average_precision_score(*defined, average="macro"), rel=1e-12
    )
    assert result.macro_auc == pytest.approx(auc_score(*defined, average="macro"), rel=1e-12)
    assert result.micro_average_precision == pytest.approx(
        average_precision_score(y, s, average="micro"), rel=1e-12
    )
    assert result.micro_auc == pytest.approx(auc_score(y, s, average="micro"), rel=1e-12)
    each = f1_score(y[:, :5], found[:, :5], average=None, zero_division=0)
    np.testing.assert_allclose(result.f1[:5], each, rtol=1e-12)
    assert result.macro_f1 == pytest.approx(np.mean(each), rel=1e-12)
    for value, reference in (
        (result.micro_f1, f1_score),
        (result.precision, precision_score),
        (result.recall, recall_score),
    ):
        assert value == pytest.approx(reference(y, found, average="micro"), rel=1e-12)


def error_counts(found: list, active: list) -> tuple[int, int, int, int]:
    """Substitutions, deletions, insertions and active pairs, of segments given as sets of classes."""
    substitutions = deletions = insertions = total = 0
    for system, truth in zip(found, active, strict=True):
        missed, wrong = list(truth - system), list(system - truth)
        while missed and wrong:  # a class that is missed, and one that is found in its place
            missed.pop()
            wrong.pop()
            substitutions += 1
        deletions += len(missed)
        insertions += len(wrong)
        total += len(truth)
    return substitutions, deletions, insertions, total


@pytest.mark.parametrize("threshold", [0.35, 0.5, 0.6])
@pytest.mark.parametrize("seed", [10, 11, 12])
def test_error_rates_equal_the_definition(seed: int, threshold: float) -> None:
    scores, active, mask = make_case(seed, decimals=1)
    result = evaluate_segments(scores, active, mask=mask, threshold=threshold)
    segments = np.argwhere(mask).tolist()
    system = [{k for k in range(K) if scores[i, t, k] > threshold} for i, t in segments]
    truth = [{k for k in range(K) if active[i, t, k]} for i, t in segments]
    s, d, i, total = error_counts(system, truth)
    assert s > 0
    assert d > 0
    assert i > 0
    rates = (result.substitution_rate, result.deletion_rate, result.insertion_rate)
    assert rates == pytest.approx((s / total, d / total, i / total), rel=1e-14)
    assert result.error_rate == pytest.approx((s + d + i) / total, rel=1e-14)
    for k in range(5):
        alone = error_counts([x & {k} for x in system], [x & {k} for x in truth])
        assert alone[0] == 0
        assert result.class_error_rate[k] == pytest.approx(sum(alone[1:3]) / alone[3], rel=1e-14)


def test_the_example_of_three_segments() -> None:
    """By hand: one substitution and one insertion; one deletion; nothing wrong."""
    truth = np.array([[[1, 0, 0], [1, 1, 0], [0, 0, 1]]], bool)
    system = np.array([[[0, 1, 1], [1, 0, 0], [0, 0, 1]]], float)
    result = evaluate_segments(system, truth)
    rates = (result.substitution_rate, result.deletion_rate, result.insertion_rate)
    assert rates == (0.25, 0.25, 0.25)
    assert result.error_rate == 0.75
    assert result.micro_f1 == pytest.approx(2 * 2 / (4 + 4))
    assert result.f1.tolist() == pytest.approx([2 / 3, 0, 2 / 3])


# From strong labels to metrics.


def test_strong_labels_and_what_is_skipped() -> None:
    scores, active, mask = make_case(13)
    ids = [f"clip{i}" for i in range(N)]
    labels: dict[str, list[Event]] = {
        f"{name}.wav": rows for name, rows in segments_to_events(active, ids).items()
    }
    made = segment_reference(labels, ids, mask, K)
    expected = evaluate_segments(scores, active, mask=mask)
    assert_same(evaluate_segments(scores, made.active, mask=made.mask), expected)

    # A clip that is skipped is not taken to be silent.
    del labels["clip0.wav"]
    labels["stranger.wav"] = [Event(0.0, 1.0, 0)]
    made = segment_reference(labels, ids, mask, K, unmatched="skip")
    expected = evaluate_segments(scores[1:], active[1:], mask=mask[1:])
    assert_same(evaluate_segments(scores, made.active, mask=made.mask), expected)
    assert made.known.tolist() == [True] * 5 + [False]


@pytest.mark.parametrize("filler", [0.0, 1.0])
def test_classes_that_are_not_known_count_in_no_figure(filler: float) -> None:
    scores, active, mask = make_case(14)
    known = np.array([True, False, True, True, False, True])
    limits = np.linspace(0.3, 0.7, K)
    expected = evaluate_segments(
        scores[:, :, known], active[:, :, known], mask=mask, threshold=limits[known]
    )
    scores[:, :, ~known] = filler
    result = evaluate_segments(scores, active, mask=mask, threshold=limits, known=known)
    assert (result.num_classes, expected.num_classes) == (4, 4)
    for field in dataclasses.fields(result):
        ours, theirs = getattr(result, field.name), getattr(expected, field.name)
        if isinstance(ours, np.ndarray):
            if field.name != "threshold":
                rest = ours[~known]
                assert (np.isnan(rest) if rest.dtype == np.float64 else rest == 0).all(), field.name
            ours = ours[known]
        np.testing.assert_array_equal(ours, theirs, err_msg=field.name)
    np.testing.assert_array_equal(result.threshold, limits)
    y, s = active[mask][:, known], scores[mask][:, known]
    micro = average_precision_score(y, s, average="micro")
    assert result.micro_average_precision == pytest.approx(micro, rel=1e-12)


# Errors.


def _nan_at(scores: np.ndarray) -> np.ndarray:
    scores = scores.copy()
    scores[2, 3, 4] = scores[5, 0, 0] = np.nan
    return scores


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda s, y: (s[0], y[0], {}), ("scores is [10, 6]", "[num_clips, time, num_classes]")),
        (lambda s, y: (s[:0], y[:0], {}), ("scores is [0, 10, 6]", "at least one")),
        (lambda s, y: (s > 0.5, y, {}), ("of bool", "floating-point")),
        (lambda s, y: (s, y[:, :9], {}), ("active is [40, 9, 6]", "[40, 10, 6]")),
        (lambda s, y: (s, y.astype(float), {}), ("of float64", "need bool")),
        (
            lambda s, y: (_nan_at(s), y, {}),
            ("clip row 2, segment 3, class 4", "nan", "first of 2"),
        ),
        (lambda s, y: (s, y, {"threshold": np.zeros(5)}), ("threshold is [5]", "6 classes")),
        (lambda s, y: (s, y, {"threshold": math.nan}), ("NaN", "give a number")),
        (lambda s, y: (s, y, {"known": np.zeros(6, bool)}), ("known", "nowhere True", "[6]")),
        (lambda s, y: (s, y, {"known": np.ones(5, bool)}), ("known is [5]", "[6]")),
        (lambda s, y: (s, y, {"mask": np.zeros((N, T), bool)}), ("no segment to judge",)),
        (lambda s, y: (s, y, {"mask": np.ones((N, 9), bool)}), ("mask is [40, 9]", "[40, 10]")),
        (lambda s, y: (s, y, {"mask": np.ones((N, T))}), ("mask is [40, 10] of float64", "bool")),
    ],
)
def test_what_does_not_fit_is_one_line(
    change: Callable[..., tuple[Any, Any, dict[str, Any]]], parts: tuple[str, ...]
) -> None:
    scores, active, keywords = change(*make_case(15)[:2])
    with raises_user_error(*parts):
        evaluate_segments(scores, active, **keywords)
