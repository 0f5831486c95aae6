"""Rules chosen on strong labels: the best single threshold, and what smoothing and going on are for."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mla_jax.evaluation.thresholds import choose_thresholds
from mla_jax.localization.choose_rules import choose_rules, event_f1
from mla_jax.localization.event_rules import EventRules
from mla_jax.localization.events import Reference
from tests.support.helpers import raises_user_error

N, T, K = 60, 12, 3


def case(noise: float) -> tuple[np.ndarray, Reference]:
    """Long events, scores with noise of each segment's own; the last class never sounds."""
    rng = np.random.default_rng(0)
    begin, length = rng.integers(0, 8, (N, 1, K)), rng.integers(3, 9, (N, 1, K))
    place = np.arange(T)[None, :, None]
    active = (place >= begin) & (place < begin + length)
    active[:, :, 2] = False
    mask = np.arange(T) < rng.integers(6, T + 1, N)[:, None]
    active &= mask[:, :, None]
    scores = 0.5 * active + noise * rng.random((N, T, K))
    scores[~mask] = np.nan
    return scores, Reference(active, mask, np.array([True, True, False]))


def test_without_smoothing_and_going_on_they_are_the_best_single_thresholds() -> None:
    scores, reference = case(1.0)
    found = choose_rules(scores, reference, np.full(K, 0.7), smoothings=(1,), keeps=(1.0,))
    known = reference.mask
    plain = choose_thresholds(scores[known], reference.active[known])
    np.testing.assert_array_equal(found.rules.start[:2], plain[:2])
    np.testing.assert_array_equal(found.rules.keep, found.rules.start)
    assert found.rules.start[2] == found.rules.keep[2] == 0.7
    assert found.num_active.tolist() == [*reference.active.sum(axis=(0, 1))[:2], 0]
    for k in range(2):
        said = scores[known][:, k] >= plain[k]
        assert found.f1[k] == pytest.approx(f1_score(reference.active[known][:, k], said))
    assert np.isnan(found.f1[2])
    assert found.held_out_f1 <= np.nanmean(found.f1) + 0.02


def test_lone_wrong_scores_are_smoothed_and_clear_ones_left_alone() -> None:
    scores, reference = case(0.1)
    wrong = np.random.default_rng(2).random(scores.shape) < 0.15
    scores = np.where(wrong, 0.6 - scores, scores)
    noisy = choose_rules(scores, reference, np.ones(K))
    assert noisy.rules.smoothing > 1
    alone = choose_rules(scores, reference, np.ones(K), smoothings=(1,), keeps=(1.0,))
    assert noisy.held_out_f1 > alone.held_out_f1
    clear = choose_rules(*case(0.1), np.ones(K))
    assert (clear.rules.smoothing, clear.held_out_f1) == (1, 1.0)


def test_events_go_on_where_scores_fade() -> None:
    """Scores fall from the first segment of an event on; beside events there are lone low ones."""
    rng = np.random.default_rng(1)
    active = np.zeros((N, T, 1), bool)
    active[::2, 2:8] = True
    scores = 0.1 * rng.random((N, T, 1))
    scores[::2, 2:8] += np.linspace(0.8, 0.35, 6)[:, None]
    scores[1::2, rng.integers(0, T)] += 0.5
    found = choose_rules(
        scores, Reference(active, np.ones((N, T), bool), np.ones(1, bool)), np.ones(1)
    )
    assert found.rules.keep[0] < found.rules.start[0]
    assert found.held_out_f1 > 0.95


def test_the_f1_that_is_stated_is_of_other_clips() -> None:
    """Of scores that know nothing, thresholds of few clips look good on these clips alone."""
    rng = np.random.default_rng(3)
    active = rng.random((16, 5, 40)) < 0.05
    reference = Reference(active, np.ones((16, 5), bool), np.ones(40, bool))
    scores = rng.random(active.shape)
    found = choose_rules(scores, reference, np.ones(40), smoothings=(1,), keeps=(1.0,))
    assert found.held_out_f1 < 0.6 * np.nanmean(found.f1)


def test_f1_of_events_is_that_of_their_segments() -> None:
    scores, reference = case(1.0)
    rules = EventRules(np.full(K, 1.1), np.full(K, 0.6), smoothing=3)
    ours = event_f1(scores, reference, rules)
    smoothed = rules.smoothed(np.where(reference.mask, scores[:, :, 0], np.nan))
    said = smoothed >= 1.1
    for _ in range(T):
        said[:, 1:] |= said[:, :-1] & (smoothed[:, 1:] >= 0.6)
        said[:, :-1] |= said[:, 1:] & (smoothed[:, :-1] >= 0.6)
    known = reference.mask
    assert ours[0] == pytest.approx(f1_score(reference.active[:, :, 0][known], said[known]))


def test_there_must_be_something_to_choose_on() -> None:
    scores, reference = case(1.0)
    silent = Reference(np.zeros_like(reference.active), reference.mask, reference.known)
    with raises_user_error("no class sounds in any of the clips"):
        choose_rules(scores, silent, np.ones(K))
    one = Reference(reference.active[:1], reference.mask[:1], reference.known)
    found = choose_rules(scores[:1], one, np.ones(K))
    assert np.isnan(found.held_out_f1)
    assert found.f1[0] > 0
