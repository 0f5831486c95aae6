"""The rules by which validation ends a run and chooses its step."""

import math

import numpy as np
import pytest

from mla_jax.runs.convergence import end_of, is_best, scored


def test_a_run_ends_after_so_many_evaluations_without_a_better_one() -> None:
    scores = [(10, 0.1), (20, 0.3), (30, 0.3), (40, 0.2), (50, 0.4), (60, 0.1), (70, 0.1)]
    assert [end_of(scores, patience) for patience in (0, 1, 2, 3)] == [None, 30, 40, None]
    assert end_of([], 1) is None
    assert end_of([(1, math.nan), (2, math.nan)], 2) == 2


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_the_end_does_not_change_with_what_comes_later(patience: int) -> None:
    """So a run that went on, as beside slower seeds, has the end that it has alone."""
    values = np.random.default_rng(0).random(60)
    scores = [(i, float(v)) for i, v in enumerate(values)]
    end = end_of(scores, patience)
    assert end is not None
    for length in range(1, 60):
        assert end_of(scores[:length], patience) == (end if length > end else None)


def test_the_best_is_the_latest_of_equal_ones() -> None:
    assert is_best([(1, 0.2)])
    assert is_best([(1, 0.2), (2, 0.2)])
    assert not is_best([(1, 0.2), (2, 0.1)])
    assert not is_best([(1, math.nan)])
    assert is_best([(1, math.nan), (2, 0.1)])


def test_a_log_has_scores_where_it_was_evaluated() -> None:
    assert scored([{"step": 1}, {"step": 2, "validation_mAP": 0.5}]) == [(2, 0.5)]
