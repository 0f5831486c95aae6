"""Measures a row of the benchmark: ours and a named peer in turn, in one run, and their ratio."""

import dataclasses
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from mla_jax.commands.markdown import markdown_table
from mla_jax.runs.environment import environment, package_version

Work = Callable[[], Any]


class NotMeasuredError(Exception):
    """A peer is not installed, or there is no accelerator, so the row cannot be measured."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the benchmark.

    Attributes:
      ours_s, peer_s: median seconds of one piece of work; NaN if not measured.
      peer: what it is measured against; '-' if nothing.
      ratio: the median of peer over ours, pair by pair.
      spread: the smallest and the largest of these ratios.
      work: what one piece of work is.
      at_least: what the ratio or the seconds should reach, for the reader.
      limit_s, limit: the seconds that the machine itself needs at least, and for what.
      notes: other measurements, such as memory.
    """

    ours_s: float
    peer: str = "-"
    peer_s: float = float("nan")
    ratio: float = float("nan")
    spread: tuple[float, float] = (float("nan"), float("nan"))
    work: str = ""
    at_least: str = ""
    limit_s: float = float("nan")
    limit: str = ""
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)


def compare(
    ours: Work, peer: Work, repeats: int, limit: tuple[Work, float] | None = None
) -> dict[str, Any]:
    """Times both in turn, after one run of each that does not count; returns fields of a `Row`.

    The machine's speed drifts, so the ratio is taken of each pair, not of the medians.

    Args:
      ours, peer: one piece of work each.
      repeats: how many pairs.
      limit: work at the machine's own limit, timed in turn with them, and how often it fits into one piece.
    """
    works = (ours, peer, *([limit[0]] if limit else []))
    times = [[_seconds(work) for work in works] for _ in range(repeats + 1)][1:]
    ratios = [theirs / mine for mine, theirs, *_ in times]
    timed = {
        "ours_s": statistics.median(mine for mine, *_ in times),
        "peer_s": statistics.median(theirs for _, theirs, *_ in times),
        "ratio": statistics.median(ratios),
        "spread": (min(ratios), max(ratios)),
    }
    if limit:
        timed["limit_s"] = limit[1] * statistics.median(rest[0] for _, _, *rest in times)
    return timed


def alone(ours: Work, repeats: int) -> dict[str, Any]:
    """Times work that has no peer; returns fields of a `Row`."""
    ours()
    return {"ours_s": statistics.median(_seconds(ours) for _ in range(repeats))}


def _seconds(work: Work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def threads() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(peers: Sequence[str] = ()) -> dict[str, Any]:
    """The machine and the versions, for a results file; `peers` are packages beside ours."""
    found = environment()
    found["versions"] |= {name: package_version(name) for name in peers}
    return {"threads": threads(), "system": platform.system(), **found}


def block(tree: Any) -> Any:
    """Waits until every array of a tree is computed."""
    return jax.block_until_ready(tree)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The Markdown table of the rows of a results file, which name their part too."""
    return markdown_table(
        [
            {
                "part": row["part"],
                "work": row["work"],
                "ours": _duration(row["ours_s"]),
                "peer": row["peer"],
                "peer's": _duration(row["peer_s"]),
                "ratio": _ratio(row),
                "at least": row["at_least"] or "-",
                "of the limit": _share(row),
                "also": _also(row["notes"]),
            }
            for row in rows
        ]
    )


def _also(notes: dict[str, Any]) -> str:
    shown = [
        f"{name} {value:,.3g}" if abs(value) < 1_000 else f"{name} {value:,.0f}"
        for name, value in notes.items()
        if isinstance(value, float) and name != "operations"
    ]
    return "; ".join(shown) or "-"


def _ratio(row: dict[str, Any]) -> str:
    if not _measured(row["ratio"]):
        return row["notes"].get("not measured", "-")
    low, high = row["spread"]
    return f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"


def _share(row: dict[str, Any]) -> str:
    limit, ours = row["limit_s"], row["ours_s"]
    if not (_measured(limit) and _measured(ours)):
        return "-"
    return f"{limit / ours:.2f} of {row['limit']}"


def _measured(value: float | None) -> bool:
    """Whether there is a value: NaN in a row is null in a file."""
    return value is not None and value == value


def _duration(seconds: float | None) -> str:
    if seconds is None or not _measured(seconds):
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
