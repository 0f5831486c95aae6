"""Rules of events in a file, by class, so that they can be chosen once and used on other data."""

from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.data.class_list import ClassList
from mla_jax.errors import UserError
from mla_jax.localization.event_rules import EventRules
from mla_jax.storage import files

_KIND = "rules of events, which mla-evaluate --write_rules makes"


def write_rules(
    path: str | Path, rules: EventRules, classes: ClassList, about: dict[str, Any] | None = None
) -> None:
    """Writes rules as JSON, with the names of their classes; infinity is 1e999.

    Args:
      path: the file; it is replaced in one move.
      rules: of these classes.
      classes: the classes.
      about: what else the file says, such as what the rules were chosen on; `by_class` there has a list for
        each entry that every class has.
    """
    told = dict(about or {})
    by_class = told.pop("by_class", {})
    rows = [
        {
            "index": k,
            "mid": classes.mids[k],
            "name": classes.names[k],
            "start": float(rules.start[k]),
            "keep": float(rules.keep[k]),
            **{name: values[k] for name, values in by_class.items()},
        }
        for k in range(len(classes))
    ]
    kept = {
        **told,
        "smoothing": rules.smoothing,
        "least_seconds": rules.least_seconds,
        "least_gap": rules.least_gap,
        "classes": rows,
    }
    files.write_json(path, kept)


def read_rules(path: str | Path, classes: ClassList, score: str = "") -> EventRules:
    """Reads rules for these classes.

    Args:
      path: the file.
      classes: the classes.
      score: the name of the segment score that they are to be used on; empty: any.

    Raises:
      UserError: the file cannot be read, holds no rules, or those of other classes or of another score.
    """
    kept = files.read_json(path)
    with files.taken_as(path, _KIND):
        rows = kept["classes"]
        of = ClassList(tuple(r["mid"] for r in rows), tuple(r["name"] for r in rows))
        classes.require_same(of, str(path))
        if score and kept.get("score", score) != score:
            raise UserError(
                f"{path} has thresholds of the segment score {kept['score']}, not of {score}; give rules "
                "that were chosen on that"
            )
        start, keep = (np.array([float(r[name]) for r in rows]) for name in ("start", "keep"))
        return EventRules(start, keep, kept["smoothing"], kept["least_seconds"], kept["least_gap"])
