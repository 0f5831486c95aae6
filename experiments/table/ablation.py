"""A row and the same row without each of some settings: which of them the score is owed to."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.table.comparison import Row, difference_of, hardware
from mla_jax.commands.markdown import markdown_table
from mla_jax.evaluation.over_seeds import mean_over_seeds
from mla_jax.storage import files


def ablation_of(rows: Sequence[Row]) -> dict[str, Any]:
    """The rows as plain values, the first that which the others are taken from.

    Args:
      rows: from `experiments.table.comparison.row_of`.
    """
    whole = rows[0]
    return {
        "rows": [
            {
                **{key: row[key] for key in _KEPT},
                **dict(
                    zip(("mAP", "low", "high"), mean_over_seeds(row["scores"])[:3], strict=True)
                ),
                "over_seeds": len(row["seeds"]) > 1,
                "change": None if row is whole else difference_of(row, whole),
            }
            for row in rows
        ]
    }


_KEPT = (
    *("name", "config", "parameters", "clips", "seeds", "chosen_steps", "steps", "seconds"),
    *("device", "processor", "versions"),
)


def markdown(ablation: dict[str, Any]) -> str:
    """The rows with how much lower or higher each is than the first, and the interval of that."""
    whole = ablation["rows"][0]
    return markdown_table([_line(row, whole["name"]) for row in ablation["rows"]])


def _line(row: dict[str, Any], whole: str) -> dict[str, Any]:
    change = row["change"]
    covers = "" if row["over_seeds"] else ", clips alone"
    return {
        "row": row["name"] if change is None else f"with {row['name'].removeprefix(whole + '+')}",
        "mAP": files.number(row["mAP"]),
        "95 % interval": f"{_interval(row)}{covers}",
        "change": None if change is None else f"{files.number(change['mAP']):+.4f}",
        "its 95 % interval": None if change is None else _interval(change, "+.4f"),
        "real": None if change is None else ("yes" if change["real"] else "no"),
        "parameters": f"{row['parameters']:,}",
        "chosen step": f"{np.mean(row['chosen_steps']):,.0f}",
        "steps": f"{np.mean(row['steps']):,.0f}",
        "seeds": len(row["seeds"]),
        "seconds": f"{np.mean(row['seconds']):,.0f}",
        "on": hardware(row),
    }


def _interval(values: dict[str, Any], form: str = ".3f") -> str:
    return " to ".join(format(files.number(values[end]), form) for end in ("low", "high"))
