"""The tables and sentences of a report about when: figures of each run, and who is ahead of whom."""

import itertools
from collections.abc import Iterator

from mla_jax.localization.figures import FIGURES, Judged
from mla_jax.report.contents import Report
from mla_jax.report.tables import Pair, Table, make_table, number, signed, span_text
from mla_jax.report.when import When
from mla_jax.runs.when import FLOOR, SHOWN

_NAMES = dict(zip(FIGURES, ("average precision", "AUC", "d-prime", "within clips"), strict=True))
_COMPARED = ("average_precision", "within_clips")

Judgements = dict[str, When]


def judgements(report: Report) -> Judgements:
    """How well each run tells when, by its name; of those that were judged."""
    return {run.name: run.when for run in report.runs if run.when is not None}


def figures(report: Report) -> Table | None:
    """A row for each run and score of segments, the floor last; None where nothing was judged."""
    rows = [
        [run, score, *(_with_interval(judged, figure) for figure in FIGURES)]
        for run, told in judgements(report).items()
        for score, judged in told.judged.items()
    ]
    head = ["run", "score", *_NAMES.values()]
    caption = f"Scores of {_unit(report)} against strong labels, with 95 % intervals"
    return make_table(caption, head, rows, head) if rows else None


def _with_interval(judged: Judged, figure: str) -> str:
    made = judged.with_intervals()
    return f"{number(made[figure])} ({span_text(made[f'{figure}_interval'])})"


def differences(report: Report) -> Table | None:
    """A row for each two that are compared: scores of a run, and runs by their scores."""
    rows = [
        [
            f"{names[0]} \N{MINUS SIGN} {names[1]}",
            of,
            *(_verdict(a, b, names, f) for f in _COMPARED),
        ]
        for of, names, a, b in _compared(judgements(report))
    ]
    head = ["compared", "of", *(_NAMES[figure] for figure in _COMPARED)]
    return make_table("Who tells better when", head, rows, head) if rows else None


def _compared(told: Judgements) -> Iterator[tuple[str, tuple[str, str], Judged, Judged]]:
    """What the two have in common, their names, and their figures."""
    scores = [score for one in told.values() for score in one.judged]
    others = [score for score in dict.fromkeys(scores) if score not in (SHOWN, FLOOR)]
    for run, one in told.items():
        for a, b in [(SHOWN, FLOOR), *((SHOWN, other) for other in others)]:
            yield run, (a, b), one.judged[a], one.judged[b]
    for (a, of_a), (b, of_b) in itertools.combinations(told.items(), 2):
        for score in (SHOWN, *others):
            yield score, (a, b), of_a.judged[score], of_b.judged[score]


def _verdict(a: Judged, b: Judged, names: tuple[str, str], figure: str) -> str:
    pair = pair_of(names, a, b, figure)
    return f"{signed(pair.difference)} ({span_text(pair.span, '+')}): {pair.verdict}"


def pair_of(names: tuple[str, str], a: Judged, b: Judged, figure: str) -> Pair:
    """Two that were judged by the same clips, by one figure."""
    found = a.minus(b)
    low, high = found[f"{figure}_interval"]
    return Pair(*names, found[figure], (low, high))


def decided(report: Report) -> Table | None:
    """A row for each run: what its default score is worth where scores above 0.5 count as sounding."""
    columns = {
        "macro F1": "macro_f1",
        "micro F1": "micro_f1",
        "error rate": "error_rate",
        "micro AP": "micro_average_precision",
        "clips": "num_clips",
        _unit(report): "num_segments",
        "classes": "num_classes",
    }
    rows = [
        [run, *(number(getattr(told.decided, name)) for name in columns.values())]
        for run, told in judgements(report).items()
    ]
    return make_table(f"Decisions by {SHOWN}", ["run", *columns], rows) if rows else None


def _unit(report: Report) -> str:
    seconds = report.data.segment_seconds if report.data else None
    return "seconds" if seconds in (None, 1.0) else f"segments of {seconds:g} s"
