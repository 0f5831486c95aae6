"""Scores in words: what is not defined is said."""

import math

from mla_jax.evaluation.summaries import in_words

SCORES = {"mAP": 0.5, "AUC": 0.75, "d_prime": 0.954, "num_clips": 1234}


def test_scores_are_one_line() -> None:
    assert in_words(SCORES) == "mAP 0.5000, AUC 0.7500, d-prime 0.954, 1,234 clips"


def test_what_is_not_defined_is_said_and_not_printed_as_a_number() -> None:
    undefined = in_words({**SCORES, "mAP": math.nan, "AUC": math.nan, "d_prime": math.nan})
    assert undefined.startswith("no score of 1,234 clips")
    perfect = in_words({**SCORES, "AUC": 1.0, "d_prime": math.inf})
    assert "no d-prime (it is infinite where AUC is 1)" in perfect
    assert "inf," not in perfect
    assert "nan" not in undefined
