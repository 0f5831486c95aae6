"""Learning curves and ablations, of the results of runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mla_jax as mla
from experiments.table import ablation, comparison, curve, figure
from experiments.table.comparison import row_of
from tests.experiments.test_table import columns, results_of

CLIPS = np.array([100.0, 200.0, 400.0, 800.0])


@pytest.mark.parametrize("name", curve.LAWS)
def test_a_law_goes_through_points_that_follow_it(name: str) -> None:
    law = curve.LAWS[name]
    line = law.to_line(np.array(0.2)) - np.array([0.0, 0.02, 0.04, 0.06]) * np.sign(
        law.to_line(np.array(0.2)) - law.to_line(np.array(0.3))
    )
    scores = law.to_score(line)
    assert np.all(np.diff(scores) > 0)
    found = curve.extrapolate(law, CLIPS, np.stack([scores, scores]), np.array([100, 1600, 3200]))
    expected = law.to_score(line[0] + (line[1] - line[0]) * np.array([0, 4, 5]))
    np.testing.assert_allclose(found, [expected, expected])


def test_a_power_law_never_comes_to_one() -> None:
    scores = np.array([0.2, 0.4, 0.6, 0.7])
    (far,) = curve.extrapolate(curve.LAWS["power"], CLIPS, scores, np.array([1e12]))
    assert 0.9 < far < 1
    (far,) = curve.extrapolate(curve.LAWS["logarithmic"], CLIPS, scores, np.array([1e12]))
    assert far > 1


def rows(spread: float, seeds: int = 3) -> list[tuple[float, dict[str, Any]]]:
    """Rows of four shares whose mAP rises by 0.05 with each doubling."""
    made = []
    for i, share in enumerate((0.125, 0.25, 0.5, 1.0)):
        luck = spread * np.random.default_rng(i).normal(size=seeds)
        results = [results_of(s, 0.2 + 0.05 * i + luck[s]) for s in range(seeds)]
        for of_seed in results:
            of_seed["clips"] = {"train": int(CLIPS[i]), "eval": 40}
        made.append((share, row_of(f"6-A+data.train_fraction={share}", mla.Config(), results)))
    return made


def test_a_curve_has_its_points_and_both_laws(tmp_path: Path) -> None:
    made = curve.curve_of(rows(0.0)[::-1], to=1600)
    assert [point["clips"] for point in made["rows"]] == CLIPS.tolist()
    exact = made["laws"]["logarithmic"]
    assert exact["mAP"] == pytest.approx(0.40)
    assert exact["largest_misfit"] == pytest.approx(0, abs=1e-9)
    assert 0.38 < made["laws"]["power"]["mAP"] < 0.40
    assert exact["low"] < exact["mAP"] < exact["high"]
    text = curve.markdown(made)
    assert "Extrapolated to 1,600 clips, 2 times the most that were trained on" in text
    assert "neither is known to hold" in text
    figure.learning_curve({"row": "6-A", **made}, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_seeds_that_differ_leave_the_law_open() -> None:
    def width(spread: float, seeds: int = 3) -> float:
        law = curve.curve_of(rows(spread, seeds), to=1600)["laws"]["power"]
        return float(law["high"] - law["low"])

    assert width(0.0) < width(0.01)
    one = curve.curve_of(rows(0.01, seeds=1), to=1600)
    assert "clips alone" in curve.markdown(one)
    alone = curve.curve_of(rows(0.0)[:1])
    assert alone["laws"] == {}
    assert "Extrapolated" not in curve.markdown(alone)


def test_an_ablation_says_what_each_change_costs() -> None:
    whole = [results_of(s, 0.5 + 1e-4 * s) for s in range(3)]
    worse = [results_of(s, 0.4 + 1e-4 * s) for s in range(3)]
    made = ablation.ablation_of(
        [row_of("6-A", mla.Config(), whole), row_of("6-A+optim.l2=0.1", mla.Config(), worse)]
    )
    table = columns(ablation.markdown(made))
    assert table["row"] == ["6-A", "with optim.l2=0.1"]
    assert table["change"] == ["-", "-0.1000"]
    assert table["real"] == ["-", "yes"]
    low, high = (float(end) for end in table["its 95 % interval"][1].split(" to "))
    assert low < -0.1 < high < 0
    assert made["rows"][1]["change"] == comparison.difference_of(
        row_of("6-A+optim.l2=0.1", mla.Config(), worse), row_of("6-A", mla.Config(), whole)
    )
