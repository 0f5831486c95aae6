"""Thresholds with the largest F1, against trying every one of them."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mla_jax.evaluation.thresholds import choose_thresholds, f1_scores
from tests.support.helpers import raises_user_error


def some(seed: int, num_clips: int = 60, num_classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities in float32 with many ties, and labels that follow them a little."""
    rng = np.random.default_rng(seed)
    probs = (rng.integers(0, 12, (num_clips, num_classes)) / 12).astype(np.float32)
    labels = rng.random(probs.shape) < 0.1 + 0.5 * probs * rng.random(num_classes)
    labels[:, 0] = False
    labels[:, 1] = True
    labels[:, 2] = np.arange(num_clips) == 7
    return probs, labels


def f1_at(probs: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    return float(f1_score(labels, probs >= threshold))


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_better_and_none_as_good_is_higher(seed: int) -> None:
    probs, labels = some(seed)
    thresholds = choose_thresholds(probs, labels)
    assert thresholds.dtype == np.float64
    for k in range(1, probs.shape[1]):
        column, truth = probs[:, k], labels[:, k]
        best = f1_at(column, truth, thresholds[k])
        for threshold in np.unique(column):
            assert f1_at(column, truth, threshold) <= best + 1e-12
            # To the last digit, or the next threshold that reports the same clips would do as well.
            if threshold > thresholds[k]:
                assert f1_at(column, truth, threshold) < best - 1e-12
        assert thresholds[k] in column


def test_f1_is_that_of_scikit_learn() -> None:
    probs, labels = some(9)
    thresholds = choose_thresholds(probs, labels)
    f1 = f1_scores(probs, labels, thresholds)
    for k in range(1, probs.shape[1]):
        assert f1[k] == pytest.approx(f1_at(probs[:, k], labels[:, k], thresholds[k]), abs=1e-12)
    assert np.isnan(f1[0])
    nothing = f1_scores(probs, labels, np.full(probs.shape[1], np.inf))
    np.testing.assert_array_equal(nothing, [np.nan] + [0.0] * (probs.shape[1] - 1))


def test_a_class_without_positives_is_never_reported() -> None:
    probs, labels = some(3)
    probs[:, 0] = 1.0
    assert choose_thresholds(probs, labels)[0] == np.inf


def test_a_perfect_class_is_cut_where_its_positives_end() -> None:
    probs = np.array([[0.9, 0.2], [0.8, 0.3], [0.4, 0.9], [0.1, 0.3]], np.float32)
    labels = np.array([[1, 1], [1, 1], [0, 0], [0, 1]], bool)
    thresholds = choose_thresholds(probs, labels)
    # In the second class the one score above the positives' is wrong: all must be reported.
    np.testing.assert_array_equal(thresholds, probs[[1, 0], [0, 1]].astype(np.float64))
    np.testing.assert_allclose(f1_scores(probs, labels, thresholds), [1, 6 / 7], rtol=1e-12)


def test_of_thresholds_as_good_the_highest_is_taken() -> None:
    """F1 is 2 / 3 with the first clip alone and with all four."""
    probs = np.array([[0.9], [0.8], [0.7], [0.6]], np.float32)
    labels = np.array([[1], [0], [0], [1]], bool)
    assert choose_thresholds(probs, labels) == probs[0]


def test_order_of_clips_and_other_classes_do_not_matter() -> None:
    probs, labels = some(4)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(len(probs)), rng.permutation(probs.shape[1])
    shuffled = choose_thresholds(probs[rows][:, columns], labels[rows][:, columns])
    np.testing.assert_array_equal(shuffled, choose_thresholds(probs, labels)[columns])


def test_what_does_not_fit_is_refused() -> None:
    probs, labels = some(0)
    with raises_user_error("shape (60, 8) and labels (60, 7)"):
        choose_thresholds(probs, labels[:, 1:])
    with raises_user_error("at least one of each"):
        choose_thresholds(probs[:0], labels[:0])
    with raises_user_error("thresholds has shape [7]"):
        f1_scores(probs, labels, np.zeros(7))
    probs[3, 1] = np.nan
    with raises_user_error("clip row 3, class 1: nan"):
        choose_thresholds(probs, labels)


def test_only_clips_whose_label_is_known_count() -> None:
    probs, labels = some(0)
    known = np.random.default_rng(1).random(probs.shape) < 0.6
    thresholds = choose_thresholds(probs, labels & known, known)
    f1 = f1_scores(probs, labels & known, thresholds, known)
    for k in range(probs.shape[1]):
        rows = known[:, k]
        column, truth = probs[rows, k, None], labels[rows, k, None]
        np.testing.assert_array_equal(choose_thresholds(column, truth), thresholds[k])
        np.testing.assert_array_equal(f1_scores(column, truth, thresholds[[k]]), f1[k])
