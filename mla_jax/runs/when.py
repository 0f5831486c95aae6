"""How well a model tells when classes sound, on clips that have strong labels."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.data.segment_seconds import known_segment_seconds
from mla_jax.errors import UserError
from mla_jax.inference.segment_scores import DEFAULT_SCORE, SEGMENT_SCORES
from mla_jax.localization.choose_rules import choose_rules
from mla_jax.localization.event_metrics import Collars, event_metrics, require_library
from mla_jax.localization.event_rules import EventRules
from mla_jax.localization.events import Reference
from mla_jax.localization.figures import compare
from mla_jax.localization.rule_files import read_rules, write_rules
from mla_jax.localization.truth import read_truth
from mla_jax.runs.averaged import members_of
from mla_jax.runs.folder import require_output
from mla_jax.runs.tagging_model import TaggingModel
from mla_jax.runs.thresholds import kept_thresholds
from mla_jax.runs.trained import TrainedModel

SHOWN = DEFAULT_SCORE
"""The score that `predict` writes and maps show."""

FLOOR = "clip"
"""The score that others must beat: a clip's probability under each of its segments."""


def scores_by_name(model: TaggingModel, clips: ClipSet) -> dict[str, np.ndarray]:
    """Every score of segments that there is (`mla_jax.inference.segment_scores`), [clips, time, classes]."""
    made = {}
    for name in SEGMENT_SCORES:
        if name != FLOOR:
            output = model.predict_segments(clips, score=name)
            made[name] = output.scores
    return made | {FLOOR: np.broadcast_to(output.probs[:, None], output.scores.shape)}


@dataclasses.dataclass(frozen=True)
class WhenOptions:
    """By what a model is judged, of the clips that it is evaluated on.

    Attributes:
      events: strong labels of some of the clips, a file or a folder (`mla_jax.localization.strong_labels`).
      segment_seconds: from one segment to the next, where neither clips nor model say it.
      write_rules: a file to write rules of events to, chosen on these strong labels.
      rules: a file of rules of events, for `collar`; "": the thresholds that the run chose on clips, or 0.5.
      collar: seconds that events may begin and end beside the true ones; given, event-based figures are made.
    """

    events: str | Path
    segment_seconds: float | None = None
    write_rules: str | Path = ""
    rules: str = ""
    collar: float | None = None

    def __post_init__(self) -> None:
        if self.collar is not None and not 0 < self.collar < math.inf:
            raise UserError(f"collar={self.collar:g} is not valid: it must be seconds, above 0")
        if self.rules and self.collar is None:
            raise UserError(
                f"{self.rules} makes events, which are judged with collars: give collar too"
            )

    @property
    def files(self) -> tuple[str | Path, ...]:
        """What is read or written by the way, so that an output must be another file."""
        return self.events, self.rules, self.write_rules


def judge_when(model: TaggingModel, clips: ClipSet, options: WhenOptions) -> dict[str, Any]:
    """Judges the segment scores of a model by strong labels.

    Only the clips and the classes that have strong labels are judged, and only these clips' scores are made.

    Args:
      model: the model.
      clips: the clips, of which some have strong labels.
      options: what they are judged by.

    Returns:
      What `mla_jax.localization.figures.compare` returns, of the scores of `scores_by_name`; `strong_labels`;
      `segment_seconds`; with a collar `events`, what `mla_jax.localization.event_metrics` returns; and
      `notes`, sentences of what is left out.

    Raises:
      UserError: the strong labels cannot be used, nothing can be judged by them, or a file cannot be written.
    """
    events = options.events
    if options.write_rules:
        require_output(options.write_rules, [events, options.rules])
    seconds = known_segment_seconds(
        clips.embedding, model.embedding, stated=options.segment_seconds
    )
    truth, notes = read_truth(events, model.classes, clips, seconds)
    rows, reference = truth.labelled()
    if not reference.active.any():
        raise UserError(f"{events}: no class sounds in any of the clips, so nothing can be judged")
    if options.collar is not None:
        require_library()
    rules = read_rules(options.rules, model.classes, DEFAULT_SCORE) if options.rules else None
    scores = scores_by_name(model, clips[rows])
    if options.write_rules:
        notes.append(_choose_rules(model, scores[DEFAULT_SCORE], reference, options))
    of_events = {}
    if options.collar is not None:
        assert seconds is not None, "strong labels are read with it"
        rules = rules or _rules_of_clips(model)
        collars = Collars(options.collar, options.collar)
        of_events = {
            "events": event_metrics(scores[DEFAULT_SCORE], reference, rules, seconds, collars)
        }
    return {
        "strong_labels": str(events),
        "segment_seconds": seconds,
        **compare(scores, reference, floor=FLOOR),
        **of_events,
        "notes": notes,
    }


def _rules_of_clips(model: TaggingModel) -> EventRules:
    """One threshold for each class: those that the run chose on clips if it keeps them, else 0.5."""
    of_clips = kept_thresholds(model.name, model) if isinstance(model, TrainedModel) else None
    start = np.full(len(model.classes), 0.5) if of_clips is None else of_clips
    return EventRules(start, start)


def _choose_rules(
    model: TaggingModel, scores: np.ndarray, reference: Reference, options: WhenOptions
) -> str:
    """Writes rules of events that are chosen on strong labels; a sentence of what they are."""
    chosen = choose_rules(scores, reference, _rules_of_clips(model).start)
    rules = chosen.rules
    by_class = [str(options.events) if active else "clips, or 0.5" for active in chosen.num_active]
    about = {
        "score": DEFAULT_SCORE,
        "maximises": "F1 of the segments of each class",
        "num_clips": len(scores),
        "held_out_macro_F1": chosen.held_out_f1,
        "models": [{"workdir": one.name, "step": one.step} for one in members_of(model)],
        "by_class": {
            "chosen_on": by_class,
            "F1": chosen.f1.tolist(),
            "num_active_segments": chosen.num_active.tolist(),
        },
    }
    write_rules(options.write_rules, rules, model.classes, about)
    share = np.nanmedian(np.where(chosen.num_active > 0, rules.keep / rules.start, np.nan))
    return (
        f"{options.write_rules} has rules of events for {len(by_class):,} classes, "
        f"{np.count_nonzero(chosen.num_active):,} of them chosen on these strong labels: smoothing "
        f"{rules.smoothing}, keep {share:g} of the threshold that begins one; macro F1 of segments on clips "
        f"that they were not chosen on {chosen.held_out_f1:.3f}."
    )
