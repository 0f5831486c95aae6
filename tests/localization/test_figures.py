"""Figures of when: what they are blind to, scikit-learn's on pairs and on drawn clips, paired differences."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mla_jax.evaluation.bootstrap import clip_counts
from mla_jax.localization.events import Reference
from mla_jax.localization.figures import FIGURES, compare, judge
from mla_jax.localization.segment_metrics import evaluate_segments
from mla_jax.localization.within_clips import within_clips
from tests.support.helpers import raises_user_error

N, T, K = 30, 7, 5


def case(seed: int = 0, decimals: int = 1) -> tuple[np.ndarray, Reference]:
    """Scores with ties, NaN where nothing is judged; a class that is not known, one that never sounds."""
    rng = np.random.default_rng(seed)
    mask = np.arange(T) < rng.integers(1, T + 1, N)[:, None]
    mask[3] = False  # a clip without strong labels
    active = (rng.random((N, T, K)) < 0.3) & mask[:, :, None]
    active[:, :, 4] = False
    known = np.arange(K) != 2
    scores = (rng.random((N, T, K)) + 0.4 * active).round(decimals)
    scores[~mask] = np.nan
    return scores, Reference(active, mask, known)


def test_a_pair_of_clip_and_class_is_scikit_learns_area_under_the_curve() -> None:
    scores, reference = case()
    found = within_clips(scores, reference)
    expected = {}
    for clip in range(N):
        there = reference.mask[clip]
        for k in (0, 1, 3, 4):
            sounds = reference.active[clip, there, k]
            if sounds.any() and not sounds.all():
                expected[clip, k] = roc_auc_score(sounds, scores[clip, there, k])
    pairs = zip(found.clip.tolist(), found.label.tolist(), strict=True)
    assert dict(zip(pairs, found.auc.tolist(), strict=True)) == pytest.approx(expected, rel=1e-12)
    assert len(expected) > 50
    by_class = found.by_class(K)
    for k in (0, 1, 3):
        mean = np.mean([auc for (_, label), auc in expected.items() if label == k])
        assert by_class[k] == pytest.approx(mean, rel=1e-12)
    assert np.isnan(by_class[[2, 4]]).all()


def test_within_clips_is_blind_to_what_a_clip_says_and_to_the_order_of_segments() -> None:
    scores, reference = case(decimals=9)
    plain = within_clips(scores, reference).auc
    raised = scores + np.random.default_rng(1).random((N, 1, K))
    np.testing.assert_array_equal(within_clips(raised, reference).auc, plain)
    backwards = Reference(reference.active[:, ::-1], reference.mask[:, ::-1], reference.known)
    np.testing.assert_allclose(within_clips(scores[:, ::-1], backwards).auc, plain, rtol=1e-12)


def test_one_number_under_every_segment_says_nothing_of_when() -> None:
    scores, reference = case()
    repeated = np.broadcast_to(np.random.default_rng(2).random((N, 1, K)), scores.shape)
    assert set(within_clips(repeated, reference).auc) == {0.5}
    judged = judge(repeated, reference, num_resamples=5)
    assert judged.values["within_clips"] == 0.5
    assert set(judged.resampled["within_clips"]) == {0.5}


def test_clips_of_one_segment_have_no_figure_within() -> None:
    scores, reference = case()
    one = Reference(reference.active[:, :1], reference.mask[:, :1], reference.known)
    judged = judge(scores[:, :1], one, num_resamples=5)
    assert np.isnan(judged.values["within_clips"])
    assert np.isnan(judged.resampled["within_clips"]).all()
    assert judged.values["auc"] > 0.5
    assert judged.num_pairs == judged.num_classes_within == 0


def test_resamples_are_the_figures_of_the_drawn_clips() -> None:
    scores, reference = case()
    judged = judge(scores, reference, num_resamples=6, seed=3)
    metrics = evaluate_segments(
        scores, reference.active, mask=reference.mask, known=reference.known
    )
    assert judged.values["average_precision"] == metrics.macro_average_precision
    assert judged.values["auc"] == metrics.macro_auc
    labelled = np.flatnonzero(reference.mask.any(axis=1))
    counts = clip_counts(len(labelled), 6, seed=3)
    for i in range(6):
        drawn = np.repeat(labelled, counts[:, i])
        of_drawn = Reference(reference.active[drawn], reference.mask[drawn], reference.known)
        again = judge(scores[drawn], of_drawn, num_resamples=1).values
        for name in FIGURES:
            assert judged.resampled[name][i] == pytest.approx(again[name], rel=1e-9), name


def test_differences_are_paired() -> None:
    scores, reference = case(decimals=9)
    better = scores + 0.3 * reference.active
    found = compare(
        {"same": 3 * scores, "floor": scores, "better": better}, reference, floor="floor"
    )
    for name in FIGURES:
        assert found["differences"]["same"][name] == 0
        assert found["differences"]["same"][f"{name}_interval"] == [0, 0]
        low, high = found["differences"]["better"][f"{name}_interval"]
        one, other = (found["scores"][n][name] for n in ("better", "floor"))
        assert found["differences"]["better"][name] == pytest.approx(one - other)
        assert 0 < low < one - other < high, name
    assert found["num_clips"] == N - 1
    assert found["num_segments"] == reference.mask.sum()
    assert found["num_classes"] == found["num_classes_within_clips"] == 3


def test_clips_without_strong_labels_do_not_matter() -> None:
    scores, reference = case()
    labelled = reference.mask.any(axis=1)
    few = dataclasses.replace(
        reference, active=reference.active[labelled], mask=reference.mask[labelled]
    )
    one, other = (
        compare({"a": s}, r, floor="a") for s, r in ((scores, reference), (scores[labelled], few))
    )
    assert one == other


def test_what_cannot_be_judged_is_refused() -> None:
    scores, reference = case()
    with raises_user_error("scores is [30, 6, 5], but the reference [30, 7, 5]"):
        within_clips(scores[:, :6], reference)
    with raises_user_error("there is no score 'b' to compare with; there are a"):
        compare({"a": scores}, reference, floor="b")
