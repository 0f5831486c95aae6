r"""A learning curve: the score against the number of training clips, and what two laws make of it.

Neither law is known to hold. Both are fitted by least squares to the few points that there are:

    power         1 - mAP = c n^(-a)      a line through log(1 - mAP) over log n
    logarithmic   mAP = b + a log n       a line through mAP over log n

Their intervals are the fits' on draws of clips and seeds (`mla_jax.evaluation.over_seeds`): they say how well
the points determine each law, and nothing of whether it holds beyond the last point. How far the two laws are
apart says more of that.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.table.comparison import Row, hardware
from mla_jax.commands.markdown import markdown_table
from mla_jax.evaluation.bootstrap import interval
from mla_jax.evaluation.over_seeds import draws, mean_over_seeds
from mla_jax.storage import files

FULL = 2_063_949
"""Clips of AudioSet's balanced and unbalanced train, as released."""

_Scores = Callable[[np.ndarray], np.ndarray]


class Law(NamedTuple):
    """A law that is a line over the logarithm of the number of clips.

    Attributes:
      to_line: what lies on the line, of mAP.
      to_score: the mAP, of what lies on the line.
    """

    to_line: _Scores
    to_score: _Scores


_TINY = 1e-9  # a draw far out may lie above 1

LAWS = {
    "power": Law(lambda score: np.log(np.maximum(1 - score, _TINY)), lambda line: 1 - np.exp(line)),
    "logarithmic": Law(lambda score: score, lambda line: line),
}


def extrapolate(law: Law, clips: np.ndarray, scores: np.ndarray, to: np.ndarray) -> np.ndarray:
    """What a law that is fitted to some points says of other numbers of clips.

    Args:
      law: the law.
      clips: [points] numbers of clips, at least two different ones.
      scores: [..., points] mAP.
      to: [others] numbers of clips.

    Returns:
      [..., others] mAP.
    """
    x = np.log(clips)
    y = law.to_line(scores)
    centred = x - x.mean()
    slope = (y * centred).sum(axis=-1, keepdims=True) / (centred**2).sum()
    line = y.mean(axis=-1, keepdims=True) + slope * (np.log(to) - x.mean())
    return law.to_score(line)


def curve_of(rows: Sequence[tuple[float, Row]], to: int = FULL) -> dict[str, Any]:
    """The curve as plain values.

    Args:
      rows: the share of the training clips, and the row (`experiments.table.comparison.row_of`) of each.
      to: the number of clips that the laws are asked about.
    """
    rows = sorted(rows, key=lambda item: item[0])
    points = [_point(share, row) for share, row in rows]
    clips = np.array([point["clips"] for point in points], float)
    made: dict[str, Any] = {"rows": points, "extrapolated_to": to, "laws": {}}
    if len(set(clips)) < 2:
        return made
    scores = np.array([point["mAP"] for point in points])
    drawn = np.stack([draws(row["scores"], i) for i, (_, row) in enumerate(rows)], axis=-1)
    for name, law in LAWS.items():
        (at,) = extrapolate(law, clips, scores, np.array([to]))
        low, high = interval(extrapolate(law, clips, drawn, np.array([to]))[:, 0], float(at))
        fitted = extrapolate(law, clips, scores, clips)
        made["laws"][name] = {
            "mAP": float(at),
            "low": low,
            "high": high,
            "largest_misfit": float(np.abs(fitted - scores).max()),
        }
    return made


def _point(share: float, row: Row) -> dict[str, Any]:
    certain = mean_over_seeds(row["scores"])
    return {
        "name": row["name"],
        "share": share,
        "clips": row["clips"]["train"],
        "mAP": certain.estimate,
        "low": certain.low,
        "high": certain.high,
        "over_seeds": certain.over_seeds,
        "seeds": row["seeds"],
        "chosen_steps": row["chosen_steps"],
        "steps": row["steps"],
        "seconds": row["seconds"],
        **{key: row[key] for key in ("config", "device", "processor", "versions")},
    }


def markdown(curve: dict[str, Any]) -> str:
    """The points, and below them what the laws say of the number of clips they are extrapolated to."""
    lines = [
        {
            "training clips": f"{point['clips']:,}",
            "mAP": files.number(point["mAP"]),
            "95 % interval": _interval(point) + ("" if point["over_seeds"] else ", clips alone"),
            "chosen step": f"{np.mean(point['chosen_steps']):,.0f}",
            "steps": f"{np.mean(point['steps']):,.0f}",
            "seeds": len(point["seeds"]),
            "seconds": f"{np.mean(point['seconds']):,.0f}",
            "on": hardware(point),
        }
        for point in curve["rows"]
    ]
    largest = max(point["clips"] for point in curve["rows"])
    to = curve["extrapolated_to"]
    told = [
        f"- {name}: {files.number(law['mAP']):.3f} ({_interval(law)}); it misses the points by up to "
        f"{files.number(law['largest_misfit']):.4f}"
        for name, law in curve["laws"].items()
    ]
    if not told:
        return markdown_table(lines)
    head = (
        f"Extrapolated to {to:,} clips, {to / largest:.0f} times the most that were trained on, by two laws "
        "of which neither is known to hold there (the intervals are of clips and seeds, not of the law):"
    )
    return "\n".join([markdown_table(lines), "", head, "", *told])


def _interval(values: dict[str, Any]) -> str:
    return " to ".join(f"{files.number(values[end]):.3f}" for end in ("low", "high"))
