"""Maps in a report: every run's scores of the same classes, and what a cell of them says."""

from pathlib import Path

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.explain.certain import most_certain
from mla_jax.explain.examples import ExampleClip, Hears
from mla_jax.localization.events import Reference
from mla_jax.report.gather import gather
from mla_jax.report.strips import certain_class, map_of, strip
from tests.support.untrained import WORLD, K, make_runs, untrained_model

SCORES = np.array([0.1, 0.9, 0.25])
EVENTS = np.array([False, True, True])


def test_a_cell_says_second_class_score_and_what_the_clip_says() -> None:
    made = strip("Bell", SCORES, 0.4, EVENTS, 1.0)
    assert [cell.says for cell in made.cells] == [
        "0 to 1 s, Bell: 0.10; the clip 0.40; it does not sound",
        "1 to 2 s, Bell: 0.90; the clip 0.40; it truly sounds",
        "2 to 3 s, Bell: 0.25; the clip 0.40; it truly sounds",
    ]
    assert made.sounds == [(1, 2)]
    assert made.says == "scores, 1 s each: 0.10, 0.90, 0.25; truly sounds 1 to 3 s"
    unknown = strip("Bell", SCORES, 0.4, None, None)
    assert unknown.cells[1].says == "segment 2, Bell: 0.90; the clip 0.40"
    assert unknown.sounds == []


def test_darker_is_higher_on_one_scale_for_all() -> None:
    def lightness(colour: str) -> int:
        return sum(int(colour[i : i + 2], 16) for i in (1, 3, 5))

    low = strip("a", np.linspace(0, 0.5, 6), 0.0, None, None).cells
    whole = strip("b", np.linspace(0, 1, 11), 0.0, None, None).cells
    assert [cell.colour for cell in low] == [cell.colour for cell in whole[:6]]
    shades = [lightness(cell.colour) for cell in whole]
    assert shades == sorted(shades, reverse=True)
    assert len(set(shades)) == len(shades)


@pytest.mark.parametrize("time", [1, 119, 120, 121, 1000])
def test_long_clips_have_cells_of_several_segments_with_their_highest_score(time: int) -> None:
    scores = np.random.default_rng(0).random(time)
    made = strip("a", scores, 0.5, scores > 0.9, 0.5)
    assert len(made.cells) <= 120
    assert made.cells[0].start == 0
    ends = [cell.start + cell.length for cell in made.cells]
    assert ends == [*(cell.start for cell in made.cells[1:]), time]
    for cell in made.cells:
        highest = scores[cell.start : cell.start + cell.length].max()
        assert f"a: {highest:.2f};" in cell.says
        assert cell.says.endswith("truly sounds" if highest > 0.9 else "does not sound")


def test_every_run_has_a_row_under_every_class_of_a_clip() -> None:
    hears = tuple(Hears(run, np.array([0.5, 0.1]), np.full((2, 3), 0.5)) for run in "ab")
    example = ExampleClip(
        "best", 0, "v", 0.0, 1.0, [2, 0], [True, False], hears[0].probabilities, {}, hears=hears
    )
    made = map_of(example, ("x", "y", "z"))
    assert [(group.name, group.is_label) for group in made.groups] == [("z", True), ("x", False)]
    assert [[(r.run, r.probability) for r in g.rows] for g in made.groups] == [
        [("a", "0.50"), ("b", "0.50")],
        [("a", "0.10"), ("b", "0.10")],
    ]


def test_what_runs_hear_are_their_segment_scores(tmp_path: Path) -> None:
    folder = make_runs(tmp_path)
    clips = mla.open_packed(folder / "eval")
    report = gather([folder / "multi", folder / "single"])
    scores = {
        run.name: run.trained.predict_segments(clips).scores for run in report.runs if run.trained
    }
    for example in report.examples:
        assert [hears.run for hears in example.hears] == ["multi", "single"]
        for hears in example.hears:
            length = clips.num_segments[example.row]
            expected = scores[hears.run][example.row, :length, example.classes]
            np.testing.assert_allclose(hears.scores, expected, atol=1e-6)
    assert report.data is not None
    assert list(report.certain) == report.data.chosen


def test_the_most_certain_segments_are_the_highest_of_their_clips() -> None:
    world, model = mla.synthetic_clips(WORLD, "eval"), untrained_model(architecture="1-A")
    clips = world.clips[:20]  # no more than are looked at
    active, mask = world.events[:20], clips.mask()
    mask[3] = False
    truth = Reference(active, mask, np.arange(K) != 2)
    scores = np.where(clips.mask()[:, :, None], model.predict_segments(clips).scores, -1)
    found = most_certain(model, clips, model.predict(clips), [0, 2], truth)
    for k, ours in found.items():
        best = scores[:, :, k].max(axis=1)
        rows = np.argsort(-best, kind="stable")[:5]
        assert [one.video_id.encode() for one in ours] == clips.video_ids[rows].tolist()
        np.testing.assert_allclose([one.score for one in ours], best[rows], atol=1e-6)
        for row, one in zip(rows, ours, strict=True):
            known = k != 2 and row != 3
            sounds = active[row, scores[row, :, k].argmax(), k]
            assert one.sounds == (sounds if known else None)
            assert one.is_label == (k in clips.labels_of(row))
    told = certain_class("x", found[2], 1.0)
    assert told.summary == "x"
    assert {row.sounds for row in told.rows} == {"not known"}
