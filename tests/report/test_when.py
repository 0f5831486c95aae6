"""The part When of a report: figures are those of `evaluate --events`, verdicts those of intervals."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.localization.figures import FIGURES, judge
from mla_jax.report import when_tables
from mla_jax.report.contents import Report
from mla_jax.report.gather import gather
from mla_jax.report.summary import summary
from mla_jax.report.when import When, when
from mla_jax.runs.when import WhenOptions, judge_when
from tests.support.untrained import WORLD, make_runs, write_truth


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_runs(tmp_path_factory.mktemp("runs"))
    write_truth(folder, folder / "eval")
    return folder


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    return gather([folder / "multi", folder / "single"], events=folder / "events.tsv")


def told(report: Report, run: int) -> When:
    found = report.runs[run].when
    assert found is not None
    return found


def test_figures_are_those_of_the_evaluation(report: Report, folder: Path) -> None:
    clips = mla.open_packed(folder / "eval")
    model = mla.TrainedModel.open(folder / "single")
    expected = judge_when(model, clips, WhenOptions(folder / "events.tsv"))["scores"]
    ours = told(report, 1)
    assert list(ours.judged) == list(expected) == ["in_context", "alone", "clip"]
    for name, judged in ours.judged.items():
        assert judged.with_intervals() == expected[name]


def test_the_table_has_every_run_and_score_with_intervals(report: Report) -> None:
    table = when_tables.figures(report)
    assert table is not None
    names = [(run.name, score) for run in report.runs for score in ("in_context", "alone", "clip")]
    assert [tuple(row[:2]) for row in table["rows"]] == names
    made = told(report, 0).shown.with_intervals()
    for figure, cell in zip(FIGURES, table["rows"][0][2:], strict=True):
        low, high = made[f"{figure}_interval"]
        assert cell == f"{made[figure]:.3f} ({low:.3f} to {high:.3f})"


def with_truth(report: Report) -> Report:
    """Of two runs the second all but knows the truth by its scores; its floor stays."""
    events = mla.synthetic_clips(WORLD, "eval").events
    data = report.data
    assert data is not None
    assert data.truth is not None
    noise = np.random.default_rng(0).normal(0, 0.3, events.shape)
    sure = judge(events + noise, data.truth)
    floor = told(report, 1).floor
    knows = When({"in_context": sure, "alone": sure, "clip": floor}, told(report, 1).decided)
    runs = [report.runs[0], dataclasses.replace(report.runs[1], when=knows)]
    return dataclasses.replace(report, runs=runs)


def test_verdicts_are_those_of_the_intervals(report: Report) -> None:
    table = when_tables.differences(with_truth(report))
    assert table is not None
    verdicts = {tuple(row[:2]): row[2:] for row in table["rows"]}
    minus = "\N{MINUS SIGN}"
    for cell in verdicts[f"in_context {minus} clip", "single"]:
        assert cell.endswith(": in_context is ahead")
    for cell in verdicts[f"in_context {minus} alone", "single"]:
        assert cell == "+0.000 (+0.000 to +0.000): not told apart"
    for cell in verdicts[f"multi {minus} single", "in_context"]:
        assert cell.startswith("-")
        assert cell.endswith(": single is ahead")


def test_the_first_paragraphs_say_who_is_best_at_when(report: Report) -> None:
    lines = " ".join(summary(with_truth(report)))
    assert "single is the best at saying when it is heard" in lines
    assert "It is ahead of multi (" in lines.split("when it is heard")[1]
    one = dataclasses.replace(report, runs=report.runs[:1])
    assert "multi says when it is heard, with an average precision" in " ".join(summary(one))


def test_where_nothing_sounds_nothing_is_judged(report: Report, folder: Path) -> None:
    data = report.data
    assert data is not None
    assert data.truth is not None
    silent = dataclasses.replace(data.truth, active=np.zeros_like(data.truth.active))
    assert when(mla.TrainedModel.open(folder / "single"), data.clips, silent) is None
