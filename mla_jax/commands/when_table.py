"""The figures of when, as lines for a person."""

from collections.abc import Iterator, Mapping
from typing import Any

_COLUMNS = {
    "average_precision": "AP",
    "auc": "AUC",
    "d_prime": "d-prime",
    "within_clips": "within clips",
}


def when_lines(when: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a table, of what `mla_jax.runs.when.judge_when` returned."""
    yield (
        f"when, by {when['strong_labels']}: {when['num_segments']:,} segments of {when['num_clips']:,} "
        f"clips, {when['num_classes']:,} classes; 95 % intervals over clips"
    )
    floor = when["floor"]
    rows = [("score of a segment", list(_COLUMNS.values()))]
    rows += [(name, _cells(figures)) for name, figures in when["scores"].items()]
    rows += [(f"{name} - {floor}", _cells(by)) for name, by in when["differences"].items()]
    widths = [max(len(cells[i]) for _, cells in rows) for i in range(len(_COLUMNS))]
    first = max(len(name) for name, _ in rows)
    for name, cells in rows:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        yield f"  {name.ljust(first)}  {'  '.join(padded)}".rstrip()
    if events := when.get("events"):
        yield (
            f"  events, by sed_scores_eval: F1 {events['macro_f1']:.3f} (mean of {events['num_classes']:,} "
            f"classes), {events['micro_f1']:.3f} (of all), within {events['collars']['onset']:g} s; PSDS 1 "
            f"{events['psds1']:.3f}, PSDS 2 {events['psds2']:.3f}"
        )


def _cells(figures: Mapping[str, Any]) -> list[str]:
    return [_cell(figures[name], figures[f"{name}_interval"]) for name in _COLUMNS]


def _cell(value: float, interval: list[float]) -> str:
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
