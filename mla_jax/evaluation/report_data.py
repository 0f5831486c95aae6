"""What a report shows, as plain values: gathered by `mla_jax.reporting`, drawn by `html_report`."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from mla_jax.evaluation.bootstrap import interval


@dataclasses.dataclass(frozen=True, eq=False)
class ReportRun:
    """A run.

    Attributes:
      name: what the report calls it, unlike any other's.
      workdir: its folder, as it was given.
      settings: every field of its config, as `section.field`.
      facts: what its results.json holds, or {}; see `mla_jax.session.results_of`.
      records: the lines of its metrics.jsonl.
      figures: `mAP`, `AUC`, `d_prime`, `num_clips` on the clips of the report, or {} without an evaluation.
      step: the checkpoint that the figures are of; 0 if there are none.
      average_precision, auc, num_positives: [num_classes], or None without an evaluation.
      num_train_clips: [num_classes], or None where the run does not say.
      resampled: [num_resamples] mAP on resamples of the clips, the same for all runs; or None.
      chosen_scores: [num_clips, num_chosen] probabilities of the report's chosen classes; or None.
      level_names: of a model of several levels, shallowest first; else ().
      level_shares: [num_levels, num_classes] (`mla_jax.evaluation.levels`), or None.
      levels_by_variance: whether these are `variance_shares`, of clips, or `weight_shares`, without any.
      segment_figures: how well it tells when (`mla_jax.timing.segment_figures`), or {} without strong labels.
    """

    name: str
    workdir: str
    settings: dict[str, Any]
    facts: dict[str, Any]
    records: list[dict[str, Any]]
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)
    step: int = 0
    average_precision: np.ndarray | None = None
    auc: np.ndarray | None = None
    num_positives: np.ndarray | None = None
    num_train_clips: np.ndarray | None = None
    resampled: np.ndarray | None = None
    chosen_scores: np.ndarray | None = None
    level_names: tuple[str, ...] = ()
    level_shares: np.ndarray | None = None
    levels_by_variance: bool = False
    segment_figures: dict[str, float] = dataclasses.field(default_factory=dict)

    def mean_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mAP, if there are resamples."""
        if self.resampled is None:
            return None
        return interval(self.resampled, self.figures["mAP"])


class ClipMap(NamedTuple):
    """Numbers of a clip by class and second.

    Attributes:
      values: [rows, time].
      kind: probability (0 to 1), weight (0 and up) or signed (above and below 0).
    """

    values: np.ndarray
    kind: str


@dataclasses.dataclass(frozen=True, eq=False)
class ExampleClip:
    """A clip, and what a run makes of it.

    Attributes:
      kind: why it is shown: best, typical or worst.
      video_id, start_time: which clip it is; seconds into the video.
      score: what it was chosen by (`mla_jax.evaluation.examples.clip_scores`).
      classes: indices of the classes that its maps show, its labels and those that the run finds.
      is_label: of these.
      probabilities: [rows] the clip's, of these.
      maps: by title, of these classes; see `attention_map`.
      events: [rows, time] bool, when they truly sound; None where that is not known.
    """

    kind: str
    video_id: str
    start_time: float
    score: float
    classes: list[int]
    is_label: list[bool]
    probabilities: np.ndarray
    maps: dict[str, ClipMap]
    events: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """A report of one or several runs on the same classes.

    Attributes:
      runs: in the order they were given.
      class_ids, class_names: of every class, in index order.
      data: which clips the runs are scored on, in words; empty without them.
      chosen: indices of the classes whose precision-recall curves are shown.
      chosen_labels: [num_clips, len(chosen)] bool, or None without the clips.
      examples: clips of the first run.
      notes: what is left out, and why; each a sentence.
    """

    runs: list[ReportRun]
    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    data: str
    chosen: list[int]
    chosen_labels: np.ndarray | None
    examples: list[ExampleClip]
    notes: list[str]
