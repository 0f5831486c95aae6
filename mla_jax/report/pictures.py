"""The pictures of a report, each with a caption, and a description for readers who cannot see it."""

import base64
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from mla_jax.explain.examples import ExampleClip
from mla_jax.explain.levels import LevelShares
from mla_jax.report.contents import Report
from mla_jax.report.figures import attention, classes, curves, levels, style
from mla_jax.report.sound import ClipSound

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CSS_PIXELS = 96  # of an inch


@dataclasses.dataclass(frozen=True)
class Picture:
    """What the template puts into the page.

    Attributes:
      title, caption, alt: its name, the text under it, and a description of what it shows.
      base64: the SVG document.
      width, height: in CSS pixels.
    """

    title: str
    caption: str
    alt: str
    base64: str
    width: int
    height: int


def _picture(figure: "Figure", title: str, caption: str, alt: str) -> Picture:
    # Not inline, where the ids of one picture would clash with those of the others.
    width, height = (round(float(inches) * _CSS_PIXELS) for inches in figure.get_size_inches())
    data = base64.b64encode(style.to_svg(figure).encode()).decode()
    return Picture(title, caption, alt, data, width, height)


def pictures(report: Report) -> dict[str, Any]:
    """By place in the page: `curves` and `intervals` (or None), `classes`, `levels`, `examples` (lists)."""
    return {
        "curves": _curves(report),
        "intervals": _intervals(report),
        "classes": _classes(report),
        "levels": [
            _levels(run.name, run.levels, report.classes.shown_names)
            for run in report.runs
            if run.levels is not None
        ],
        "examples": [
            _example(example, report.classes.shown_names, sound)
            for example, sound in report.examples_with_sound()
        ],
    }


def _curves(report: Report) -> Picture | None:
    logs = {run.name: run.log for run in report.runs if run.log}
    if not logs:
        return None
    ends = "; ".join(
        f"{name} ends at step {lines[-1]['step']:,}"
        + (f" with loss {lines[-1]['loss']:.4f}" if lines[-1].get("loss") is not None else "")
        for name, lines in logs.items()
    )
    return _picture(
        curves.training_curves(logs),
        "Training curves",
        "Training loss and mAP by step.",
        f"Training loss and mAP by step. {ends}.",
    )


def _intervals(report: Report) -> Picture | None:
    shown = {
        run.name: (run.metrics.mAP, *span)
        for run in report.runs
        if run.metrics is not None and (span := run.interval())
    }
    if len(shown) < 2:
        return None
    told = "; ".join(
        f"{n} {v:.3f} ({low:.3f} to {high:.3f})" for n, (v, low, high) in shown.items()
    )
    return _picture(
        classes.intervals(shown, "mAP, with its 95 % interval"),
        "mAP by run",
        "mAP of every run with its 95 % interval. Paired differences are narrower: see the comparison.",
        f"mAP with 95 % intervals: {told}.",
    )


def _classes(report: Report) -> list[Picture]:
    precision = {
        run.name: run.metrics.average_precision for run in report.runs if run.metrics is not None
    }
    if not precision:
        return []
    trained = report.num_train_clips
    first = next(iter(precision.values()))
    defined = first[~np.isnan(first)]
    middle = f"median {np.median(defined):.3f}" if len(defined) else "none is defined"
    few = " The first four runs are drawn." if len(precision) > 4 else ""
    made = [
        _picture(
            classes.precision_by_rank(precision, trained),
            "Average precision by class",
            f"Average precision of every class, sorted; below, how many training clips it has.{few}",
            f"Average precision of {len(defined)} classes, sorted: {middle}, from {_extremes(defined)}.",
        )
    ]
    if trained is not None and (trained > 0).any():
        made.append(
            _picture(
                classes.precision_by_frequency(precision, trained),
                "Average precision and frequency",
                "A point is a class. The line joins the medians of groups of classes, from rare to frequent."
                + few,
                "Average precision of the classes against their number of training clips; "
                + _trend(first, trained),
            )
        )
    return made + _precision_recall(report)


def _extremes(values: np.ndarray) -> str:
    return f"{values.max():.3f} to {values.min():.3f}" if len(values) else "nothing"


def _trend(precision: np.ndarray, trained: np.ndarray) -> str:
    defined = ~np.isnan(precision) & (trained > 0)
    if defined.sum() < 3 or np.ptp(trained[defined]) == 0 or np.ptp(precision[defined]) == 0:
        return "too few classes for a trend."
    ranks = [np.argsort(np.argsort(v[defined], kind="stable")) for v in (precision, trained)]
    return f"rank correlation of the first run {np.corrcoef(ranks[0], ranks[1])[0, 1]:.2f}."


def _precision_recall(report: Report) -> list[Picture]:
    probs = {run.name: run.chosen_probs for run in report.runs if run.chosen_probs is not None}
    if report.data is None or not probs:
        return []
    chosen, mask = report.data.chosen, report.data.clips.label_mask
    names = [report.classes.shown_names[k] for k in chosen]
    known = None if mask is None else mask[:, chosen]
    return [
        _picture(
            curves.precision_recall(names, report.data.labels[:, chosen], probs, known),
            "Precision and recall",
            "Precision against recall of some classes, with their number of eval clips.",
            f"Precision-recall curves of {', '.join(names)}.",
        )
    ]


def _levels(name: str, weighed: LevelShares, class_names: tuple[str, ...]) -> Picture:
    shares = weighed.shares
    what = "share of the weights"
    how = "A share is the norm of a level's weights out of the sum over levels."
    if weighed.by_variance:
        what = "share of the logit's variance"
        how = (
            "A share is how much of what moves the class's logit from clip to clip comes through the level: "
            "its covariance with the logit, out of the logit's variance."
        )
    medians = np.nanmedian(shares, axis=1)
    told = ", ".join(f"{n}: {m:.0%}" for n, m in zip(weighed.names, medians, strict=True))
    leaders = [
        f"{level}: {', '.join(class_names[k] for k in levels.favourites(shares[[i]], 3))}"
        for i, level in enumerate(weighed.names)
    ]
    return _picture(
        levels.level_weights(shares, class_names, weighed.names, what=what),
        f"Levels of {name}",
        f"{name}: how the output layer weighs the levels, class by class. At the left all classes, at "
        f"the right those that favour a level most; dotted: all levels alike. {how} It is not what the class "
        "would lose without the level: levels are built on each other.",
        f"Median share of each level: {told}. Classes that favour it most: {'; '.join(leaders)}.",
    )


_MEANINGS = {
    "probability": (
        "A segment's score is made of what the model says of the clip, of the segment and of its neighbours, "
        "on the scale of probabilities."
    ),
    "weight": "Attention is how much each segment counts; it sums to one along a row.",
    "signed": (
        "The others are what a segment adds to the class's logit through a level, against the clip's mean "
        "segment: orange speaks for the class, purple against it."
    ),
}


def _example(
    example: ExampleClip, class_names: tuple[str, ...], sound: ClipSound | None
) -> Picture:
    names = [class_names[k] for k in example.classes]
    unit = "segments" if example.segment_seconds is None else "seconds"
    told = "; ".join(
        f"{name}{' (label)' if labelled else ''} {p:.2f}"
        for name, labelled, p in zip(names, example.is_label, example.probabilities, strict=True)
    )
    return _picture(
        attention.attention_map(
            example.maps,
            names,
            example.is_label,
            probabilities=example.probabilities,
            events=example.events,
            seconds=example.segment_seconds,
            log_mel=None if sound is None else sound.log_mel,
            frame_seconds=0.0 if sound is None else sound.frame_seconds,
        ),
        f"Clip {example.video_id}",
        f"Its labels stand out by {example.score:+.2f}.".replace("-", "\N{MINUS SIGN}"),
        f"Maps of classes by {unit}. Probabilities: {told}.",
    )


def meaning_of_maps(examples: list[ExampleClip]) -> str:
    """The text that explains the pictures of the examples, once for all of them."""
    kinds = dict.fromkeys(one.kind for example in examples for one in example.maps.values())
    marks = "In the maps a dot marks the labels; the numbers are the clip's probabilities."
    if any(example.events is not None for example in examples):
        marks += " A frame is when the class truly sounds, which no model was told."
    return " ".join([marks, *(_MEANINGS[kind] for kind in kinds)])
