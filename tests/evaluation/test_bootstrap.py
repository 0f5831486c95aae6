"""The bootstrap against scikit-learn on clips that are really drawn again."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mla_jax.evaluation.bootstrap import bootstrap_auc, bootstrap_map, clip_counts, interval
from mla_jax.evaluation.metrics import evaluate
from tests.support.helpers import raises_user_error

N, K = 120, 6


def _scored(levels: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    labels = rng.random((N, K)) < np.array([0.5, 0.2, 0.1, 0.05, 0.02, 0.0])
    labels[7, 4] = True
    scores = np.round(rng.random((N, K)) + 0.3 * labels, 6)
    return np.floor(scores * levels) / levels, labels


@pytest.mark.parametrize("levels", [4, 10, 10**6])
def test_it_is_scikit_learns_average_precision_of_the_drawn_clips(levels: int) -> None:
    scores, labels = _scored(levels)
    labels[:, 3] = np.arange(N) != 7  # a single negative, which some resamples do without
    scores[7, 3] = -1
    labels[:, 5] = True
    counts = clip_counts(N, 12, seed=1)
    ours = bootstrap_map(scores, labels, counts)
    for i in range(12):
        drawn = np.repeat(np.arange(N), counts[:, i])
        assert len(drawn) == N
        theirs = [
            average_precision_score(labels[drawn, k], scores[drawn, k])
            for k in range(K)
            if labels[drawn, k].any() and not labels[drawn, k].all()
        ]
        np.testing.assert_allclose(ours[i], np.mean(theirs), rtol=1e-12)


@pytest.mark.parametrize("levels", [4, 10, 10**6])
def test_it_is_scikit_learns_area_under_the_curve_of_the_drawn_clips(levels: int) -> None:
    scores, labels = _scored(levels)
    labels[:, 5] = True  # no negative
    counts = clip_counts(N, 12, seed=1)
    ours = bootstrap_auc(scores, labels, counts)
    for i in range(12):
        drawn = np.repeat(np.arange(N), counts[:, i])
        theirs = [
            roc_auc_score(labels[drawn, k], scores[drawn, k])
            for k in range(K)
            if labels[drawn, k].any() and not labels[drawn, k].all()
        ]
        np.testing.assert_allclose(ours[i], np.mean(theirs), rtol=1e-12)


def test_every_clip_once_is_the_plain_figure() -> None:
    scores, labels = _scored(8)
    once = np.ones((N, 1), np.uint8)
    np.testing.assert_allclose(
        bootstrap_map(scores, labels, once), evaluate(scores, labels).mAP, rtol=1e-12
    )
    np.testing.assert_allclose(
        bootstrap_auc(scores, labels, once), evaluate(scores, labels).AUC, rtol=1e-12
    )


def test_resamples_are_the_same_for_every_model() -> None:
    np.testing.assert_array_equal(clip_counts(50, 3, seed=2), clip_counts(50, 3, seed=2))
    assert (clip_counts(50, 3, seed=2) != clip_counts(50, 3, seed=4)).any()
    assert (clip_counts(50, 3).sum(axis=0) == 50).all()


def test_the_interval_has_the_spread_of_the_resamples_around_the_figure() -> None:
    values = np.arange(1001.0)
    assert interval(values, 500.0) == pytest.approx((25.0, 975.0))
    assert interval(values, 0.0) == pytest.approx((-475.0, 475.0))
    assert interval(np.array([1.0, np.nan, 3.0]), 5.0, level=1.0) == pytest.approx((4.0, 6.0))
    assert interval(values, 0.7, within=(0.0, 1.0)) == (0.0, 1.0)
    assert np.isnan(interval(values, np.nan, within=(0.0, 1.0))).all(), "of no figure, no interval"


def test_the_interval_covers_the_figure_of_other_clips() -> None:
    """Of 100 sets of clips from one source, some 95 intervals must hold the figure of all clips."""
    rng = np.random.default_rng(0)
    labels = rng.random((20_000, 2)) < 0.1
    scores = rng.normal(size=labels.shape) + 1.5 * labels
    truth = evaluate(scores, labels).mAP
    covered = 0
    for _ in range(100):
        rows = rng.choice(len(labels), 500, replace=False)
        some = scores[rows], labels[rows]
        low, high = interval(
            bootstrap_map(*some, clip_counts(500, 200, seed=int(rows[0]))), evaluate(*some).mAP
        )
        covered += low <= truth <= high
    assert 88 <= covered <= 99


def test_other_shapes_are_refused() -> None:
    scores, labels = _scored(8)
    with raises_user_error("same clips"):
        bootstrap_map(scores, labels[:, :2], clip_counts(N, 2))


def test_a_class_is_resampled_on_the_clips_where_it_is_known() -> None:
    scores, labels = _scored(10)
    known = np.random.default_rng(5).random((N, K)) < 0.7
    counts = clip_counts(N, 8)
    alone = []
    known[:, 1] = labels[:, 1]  # of this class positives alone, so it has no score
    for k in range(K):
        rows = known[:, k]
        if k != 1 and (labels & known)[:, k].any():
            alone.append(bootstrap_map(scores[rows, k, None], labels[rows, k, None], counts[rows]))
    np.testing.assert_allclose(
        bootstrap_map(scores, labels & known, counts, known), np.nanmean(alone, axis=0), rtol=1e-12
    )
