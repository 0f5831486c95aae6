"""Intervals over clips and seeds."""

import numpy as np
import pytest

from mla_jax.evaluation.over_seeds import SeedScores, difference, mean_over_seeds

RESAMPLES = 200


def scores(
    rng: np.random.Generator, values: list[float], clips: np.ndarray, own: float = 0.0
) -> SeedScores:
    """Scores of seeds that move with the clips alike, and each a little by itself."""
    noise = own * rng.normal(size=(len(values), RESAMPLES))
    return SeedScores(np.array(values), np.array(values)[:, None] + clips + noise)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_model_does_not_differ_from_itself(rng: np.random.Generator) -> None:
    clips = 0.01 * rng.normal(size=RESAMPLES)
    for values in ([0.3], [0.3, 0.31, 0.29]):
        model = scores(rng, values, clips, own=0.001)
        found = difference(model, model)
        assert found.estimate == 0
        assert found.low <= 0 <= found.high
        assert not found.real


def test_the_difference_is_paired_over_clips_and_changes_sign(rng: np.random.Generator) -> None:
    """What the clips do to both models alike takes nothing from what is known of the difference."""
    clips = 0.01 * rng.normal(size=RESAMPLES)
    one = scores(rng, [0.31], clips, own=0.0005)
    other = scores(rng, [0.30], clips, own=0.0005)
    found, back = difference(one, other), difference(other, one)
    assert found.real
    assert found.high - found.low < 0.004 < mean_over_seeds(one).high - mean_over_seeds(one).low
    assert (back.estimate, back.low, back.high) == pytest.approx(
        (-found.estimate, -found.high, -found.low), abs=1e-3
    )


def test_one_seed_says_nothing_of_others(rng: np.random.Generator) -> None:
    clips = 0.01 * rng.normal(size=RESAMPLES)
    one, three = scores(rng, [0.3], clips), scores(rng, [0.29, 0.3, 0.31], clips)
    assert not mean_over_seeds(one).over_seeds
    assert mean_over_seeds(three).over_seeds
    assert not difference(one, three).over_seeds
    assert difference(three, three).over_seeds


def test_seeds_that_differ_more_widen_the_interval(rng: np.random.Generator) -> None:
    clips = 0.001 * rng.normal(size=RESAMPLES)

    def width(values: list[float]) -> float:
        found = mean_over_seeds(scores(rng, values, clips))
        return found.high - found.low

    widths = [width([0.3, 0.3 + by, 0.3 - by]) for by in (0.0, 0.001, 0.01)]
    assert widths[0] < widths[1] < widths[2]
    assert width([0.3, 0.31, 0.29, 0.3, 0.31, 0.29]) < widths[2]


def test_ninety_five_of_a_hundred_intervals_hold_the_truth(rng: np.random.Generator) -> None:
    held = 0
    for _ in range(400):
        luck = rng.normal()  # of the clips that there are
        clips = rng.normal(size=RESAMPLES)
        one = scores(rng, list(luck + rng.normal(size=3)), clips)
        other = scores(rng, list(rng.normal(size=3)), np.zeros(RESAMPLES))
        found = difference(one, other)
        held += found.low <= 0 <= found.high
    assert 0.925 < held / 400 < 0.985


def test_what_is_not_defined_has_no_interval() -> None:
    nothing = SeedScores(np.array([np.nan]), np.full((1, RESAMPLES), np.nan))
    found = mean_over_seeds(nothing)
    assert np.isnan([found.estimate, found.low, found.high]).all()
    assert not found.real
