"""The paper's claims, judged by tables of which it is known what is true."""

from typing import Any

import numpy as np

from experiments.table import claims, paper
from mla_jax.config import ARCHITECTURES

FORM = "yu2018"


def table(
    scores: dict[str, float], half_width: float, seeds: int = 3, by_class: Any = None
) -> dict[str, Any]:
    """A table of rows with these mAPs, each pair with an interval of that half width."""
    names = list(scores)
    return {
        "rows": [{"name": f"{FORM}:{n}", "seeds": list(range(seeds))} for n in names],
        "differences": [
            {
                "a": f"{FORM}:{a}",
                "b": f"{FORM}:{b}",
                "mAP": scores[a] - scores[b],
                "low": scores[a] - scores[b] - half_width,
                "high": scores[a] - scores[b] + half_width,
                "over_seeds": seeds > 1,
            }
            for i, a in enumerate(names)
            for b in names[i + 1 :]
        ],
        "by_class": {} if by_class is None else {FORM: by_class},
    }


PAPER = {a: stated.mAP for a, stated in paper.OF_ARCHITECTURES.items()}


def verdicts(made: dict[str, Any]) -> list[str]:
    return [claim["verdict"] for claim in claims.judge(made)]


def test_the_papers_own_table_bears_its_claims_out() -> None:
    assert set(PAPER) == set(ARCHITECTURES)
    assert verdicts(table(PAPER, 0.001))[:3] == [claims.HOLDS] * 3


def test_wide_intervals_tell_nothing_and_the_contrary_is_seen() -> None:
    assert verdicts(table(PAPER, 0.1)) == [claims.CANNOT_TELL] * 4
    contrary = {a: -mAP for a, mAP in PAPER.items()}
    assert verdicts(table(contrary, 0.001))[:3] == [claims.DOES_NOT] * 3


def test_one_pair_of_many_must_stand_out_to_speak_against() -> None:
    """Of many pairs without a difference, some lie outside their own interval by chance."""
    one_against = PAPER | {"3-A-3-A": PAPER["2-A-1-A"] + 0.0011}
    (_, best, *_) = verdicts(table(one_against, 0.001))
    assert best == claims.CANNOT_TELL
    further = PAPER | {"3-A-3-A": PAPER["2-A-1-A"] + 0.002}
    (_, best, *_) = verdicts(table(further, 0.001))
    assert best == claims.DOES_NOT


def test_rows_that_are_missing_and_single_seeds_are_said() -> None:
    some = {a: PAPER[a] for a in ("3-A", "6-A", "2-A-1-A")}
    made = claims.judge(table(some, 0.001, seeds=1))
    assert [c["verdict"] for c in made] == [claims.CANNOT_TELL] * 4
    assert "missing: 9-A;" in made[2]["because"]
    assert "other seeds are not covered" in made[2]["because"]
    assert claims.judge(table({"3-A": 0.3}, 0.1)) == []
    assert "no claim can be judged" in claims.markdown(table({}, 0.1))


def halves(seed: int, preferences: np.ndarray, noise: float) -> np.ndarray:
    """[seeds, 2, classes]: each half of the clips sees the same preferences through noise of its own."""
    rng = np.random.default_rng(seed)
    return 0.3 + preferences + noise * rng.normal(size=(3, 2, len(preferences)))


def test_a_gain_is_what_clips_that_did_not_choose_confirm() -> None:
    rng, rows = np.random.default_rng(0), ("3-A", "6-A", "9-A")
    for spread, expected in ((0.0, (claims.CANNOT_TELL, claims.DOES_NOT)), (0.1, (claims.HOLDS,))):
        made = claims.gains_by_class(
            {
                f"{FORM}:{a}": halves(i, spread * rng.normal(size=300), 0.02)
                for i, a in enumerate(rows)
            }
        )
        found = claims.judge(table(dict.fromkeys(rows, 0.3), 0.1, by_class=made[FORM]))
        assert found[-1]["verdict"] in expected
    assert "among 3 architectures for each of 300 classes" in found[-1]["because"]


def test_a_class_that_is_undefined_in_a_half_is_left_out() -> None:
    some = halves(0, np.zeros(10), 0.1)
    some[:, 0, 3] = np.nan
    made = claims.gains_by_class({f"{FORM}:3-A": some, f"{FORM}:6-A": halves(1, np.zeros(10), 0.1)})
    assert made[FORM]["classes"] == 9
    assert claims.gains_by_class({f"{FORM}:3-A": some, "kong2017": some}) == {}
