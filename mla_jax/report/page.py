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
from mla_jax.explain.examples import ExampleClip
from mla_jax.report import pictures, tables
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
        "title": f"Report: {names[0]}" if len(names) == 1 else f"Report of {len(names)} runs",
        "summary": summary(report),
        "results": tables.results(report),
        "results_note": tables.results_note(report),
        "when": tables.segments(report),
        "comparison": tables.comparison(report),
        "facts": tables.facts(report),
        "differing": tables.settings(report, only_differing=True),
        "settings": tables.settings(report),
        "classes": tables.classes(report),
        "pictures": drawn,
        "examples": [
            {
                "title": f"{example.kind.capitalize()}: {example.video_id}, from {_seconds(example)} s",
                "labels": [
                    report.classes.shown_names[k]
                    for k, labelled in zip(example.classes, example.is_label, strict=True)
                    if labelled
                ],
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
            pictures.meaning_of_maps(report.examples),
        ],
        "notes": report.notes,
    }


def _seconds(example: ExampleClip) -> str:
    """When a clip begins, in full: of a time since 1970 too."""
    return f"{example.start_time:.6f}".rstrip("0").rstrip(".")


def _parts(context: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """The id and title of every part that is there."""
    there = {
        "results": ("Results", True),
        "comparison": ("Comparison", context["comparison"]),
        "examples": ("Example clips", context["examples"]),
        "when": ("When", context["when"]),
        "classes": ("Classes", context["classes"]),
        "training": ("What was trained on what", True),
        "levels": ("Inside the models", context["pictures"]["levels"]),
        "notes": ("What is not here", context["notes"]),
    }
    return [(part, name) for part, (name, shown) in there.items() if shown]
