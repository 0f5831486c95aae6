"""How a row of the benchmark is measured: ours and a named peer in turn, in one run, and their ratio."""

import dataclasses
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from mla_jax.environment import environment, package_version
from mla_jax.evaluation.report import markdown_table

Work = Callable[[], Any]


class NotMeasuredError(Exception):
    """What a row needs is not here: a peer that is not installed, or an accelerator."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the benchmark.

    Attributes:
      part: what is measured.
      peer: what it is measured against; '-' where it stands alone.
      ours_s, peer_s: median seconds of one piece of work; NaN where there is none.
      ratio: the median of peer over ours, pair by pair.
      spread: the smallest and the largest of these.
      work: how much one piece is.
      at_least: what the ratio or the seconds should reach, for the reader.
      limit_s, limit: the seconds that the machine's own limit allows, and how it was computed.
      notes: other figures, such as memory.
    """

    part: str
    peer: str
    ours_s: float
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
    """Times both in turn, after a run of each that does not count; fields of a `Row`.

    The machine's speed drifts, so each pair is compared by itself: a ratio of medians would mix its moments.

    Args:
      ours, peer: one piece of work each.
      repeats: how many pairs.
      limit: work at the machine's own limit, timed in turn with them, and how much of it one piece is.
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
    """Times work that has no peer; fields of a `Row`."""
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
    processor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        processor = names[0] if names else processor
    except OSError:
        pass  # not Linux
    return {"processor": processor, "threads": threads(), "system": platform.system(), **found}


def block(tree: Any) -> Any:
    """Waits for every array of a tree: JAX returns before the work is done."""
    return jax.block_until_ready(tree)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The Markdown table of a results file."""
    return markdown_table(_as_table(rows))


def _as_table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a results file, as a person reads them."""
    return [
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


def _also(notes: dict[str, Any]) -> str:
    """The figures that are worth a look beside the time."""
    shown = [
        f"{name} {value:,.3g}" if abs(value) < 1_000 else f"{name} {value:,.0f}"
        for name, value in notes.items()
        if isinstance(value, float) and name != "operations"
    ]
    return "; ".join(shown) or "-"


def _ratio(row: dict[str, Any]) -> str:
    if row["ratio"] is None or row["ratio"] != row["ratio"]:
        return row["notes"].get("not measured", "-")
    low, high = row["spread"]
    return f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"


def _share(row: dict[str, Any]) -> str:
    limit, ours = row["limit_s"], row["ours_s"]
    if limit is None or ours is None or limit != limit or ours != ours:
        return "-"
    return f"{limit / ours:.2f} of {row['limit']}"


def _duration(seconds: float | None) -> str:
    if seconds is None or seconds != seconds:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
