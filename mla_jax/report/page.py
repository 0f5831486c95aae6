"""A report as one HTML page that loads nothing.

Everything that comes from data goes through Jinja2's escaping; only the page's own style and script are
put in as they are, and a policy in the page lets no other script run and nothing be fetched.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import mla_jax
from mla_jax.report import pictures, strips, tables, when_tables
from mla_jax.report.contents import Report
from mla_jax.report.summary import summary

_FOLDER = Path(__file__).parent / "template"


def render(report: Report) -> str:
    """The page as HTML; equal reports give equal text."""
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
    )
    style, script = (_part(name) for name in ("page.css", "page.js"))
    context = _context(report)
    return pages.get_template("page.html").render(
        **context,
        parts=_parts(context),
        style=style,
        script=script,
        style_hash=_policy_hash(style),
        script_hash=_policy_hash(script),
        version=mla_jax.__version__,
    )


def _part(name: str) -> Markup:
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))


def _policy_hash(text: str) -> str:
    """The hash by which a content security policy names an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _context(report: Report) -> dict[str, Any]:
    """What the template shows, by the names that it has there."""
    names = [run.name for run in report.runs]
    drawn = pictures.pictures(report)
    return {
        "first": names[0],
        "title": f"Report: {names[0]}" if len(names) == 1 else f"Report of {len(names)} runs",
        "summary": summary(report),
        "results": tables.results(report),
        "results_note": tables.results_note(report),
        "comparison": tables.comparison(report),
        "when": when_tables.figures(report),
        "when_differences": when_tables.differences(report),
        "when_decided": when_tables.decided(report),
        "facts": tables.facts(report),
        "differing": tables.settings(report, only_differing=True),
        "settings": tables.settings(report),
        "classes": tables.classes(report),
        "pictures": drawn,
        "examples": [
            {
                "title": f"{example.kind.capitalize()}: {strips.clip_name(example)}",
                "labels": [
                    report.classes.shown_names[k]
                    for k, labelled in zip(example.classes, example.is_label, strict=True)
                    if labelled
                ],
                "map": strips.map_of(example, report.classes.shown_names),
                "picture": picture,
                "mp3": base64.b64encode(sound.mp3).decode() if sound else "",
            }
            for (example, sound), picture in zip(
                report.examples_with_sound(), drawn["examples"], strict=True
            )
        ],
        "examples_notes": [
            f"Clips as {names[0]} hears them: the best, the typical and the worst. A clip is good where its "
            "labels stand out: the mean probability of the labels minus the highest of any other class, from "
            "1 (best) to \N{MINUS SIGN}1 (worst). Typical clips are next to the median. Of clips with equal "
            "labels one is taken.",
            _CELLS,
            _FRAMES if any(one.events is not None for one in report.examples) else "",
        ],
        "inside_note": pictures.meaning_of_maps(report.examples),
        "certain": [
            strips.certain_class(report.classes.shown_names[k], found, _segment_seconds(report))
            for k, found in report.certain.items()
        ],
        "notes": report.notes,
    }


_CELLS = (
    "Under each class is every run's score of each second, all on one scale: white is 0, dark blue is 1. "
    "Point at a cell, or tap it, to read its score. The number before a row is what the run says of the clip."
)
_FRAMES = "A frame is when the class truly sounds, which no model was told."


def _segment_seconds(report: Report) -> float | None:
    return report.data.segment_seconds if report.data else None


def _parts(context: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """The id and title of every part that is there."""
    there = {
        "results": ("Results", True),
        "comparison": ("Comparison", context["comparison"]),
        "when": ("When", context["when"]),
        "examples": ("Example clips", context["examples"]),
        "certain": ("Classes across clips", context["certain"]),
        "classes": ("Classes", context["classes"]),
        "training": ("What was trained on what", True),
        "levels": ("Inside the models", context["pictures"]["levels"]),
        "notes": ("What is not here", context["notes"]),
    }
    return [(part, name) for part, (name, shown) in there.items() if shown]
