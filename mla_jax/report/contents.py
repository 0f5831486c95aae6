"""What a report shows: its runs, each with its evaluation. `gather` makes a `Report`, `page` renders it."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.config import Config
from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.evaluation import metrics
from mla_jax.evaluation.bootstrap import bootstrap_map, interval
from mla_jax.evaluation.metrics import Metrics
from mla_jax.explain.certain import CertainSegment
from mla_jax.explain.examples import ExampleClip
from mla_jax.explain.levels import LevelShares, level_shares
from mla_jax.localization.events import Reference
from mla_jax.recordings.encoder_files import DEFAULT as DEFAULT_FILES
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.report.sound import ClipSound
from mla_jax.report.when import When, when
from mla_jax.runs.folder import RunFolder, classes_of
from mla_jax.runs.names import workdirs_of
from mla_jax.runs.tagging_model import TaggingModel
from mla_jax.runs.trained import TrainedModel
from mla_jax.runs.use import open_model
from mla_jax.storage import files


@dataclasses.dataclass(frozen=True, eq=False)
class EvalData:
    """The clips that a report's runs are evaluated on.

    Attributes:
      path: where they lie.
      clips: N of them.
      labels: [N, num_classes] bool.
      counts: [N, num_resamples] from `clip_counts`, the same for every run.
      chosen: indices of the classes whose precision-recall curves are shown.
      truth: when the sounds truly occur; None where that is not known.
      segment_seconds: from one segment to the next; None where that is not known.
    """

    path: str
    clips: ClipSet
    labels: np.ndarray
    counts: np.ndarray
    chosen: list[int]
    truth: Reference | None
    segment_seconds: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class ReportRun:
    """A run: what is in its folder, and an evaluation of it. Or the average of several, as one model.

    Attributes:
      name: what the report calls it, unlike any other's.
      path: its folder; of an average that of its first run.
      config: its settings; of an average those of its first run.
      results: what its results.json holds; {} before it is finished, and of an average.
      log: the entries of its metrics.jsonl; none of an average.
      trained: its checkpoint, the best by validation or the newest; None if it has none.
      levels: how it weighs its levels; None of a single level, or without a checkpoint.
      metrics: on the clips of the report, or those of results.json; None without an evaluation.
      step: the checkpoint that the metrics are of; 0 if there are none.
      resampled: [num_resamples] mAP on resamples of the clips, the same for all runs; or None.
      chosen_probs: [num_clips, num_chosen] probabilities of the report's chosen classes; or None.
      when: how well it tells when classes sound; None without strong labels.
      members: the runs of an average; none of a run.
    """

    name: str
    path: Path
    config: Config
    results: dict[str, Any]
    log: list[dict[str, Any]]
    trained: TaggingModel | None = None
    levels: LevelShares | None = None
    metrics: Metrics | None = None
    step: int = 0
    resampled: np.ndarray | None = None
    chosen_probs: np.ndarray | None = None
    when: When | None = None
    members: tuple["ReportRun", ...] = ()

    @classmethod
    def open(
        cls,
        name: str,
        workdir: str | Path,
        *,
        restore: bool = True,
        allow_other_embeddings: bool = False,
        encoder_files: EncoderFiles = DEFAULT_FILES,
    ) -> "ReportRun":
        """Reads a run's folder, its checkpoint too if `restore` asks for that; evaluates nothing.

        Raises:
          UserError: it is no run, or damaged; or an average of runs that cannot be averaged.
        """
        runs = [cls._read(run, run) for run in workdirs_of(workdir)]
        found = dataclasses.replace(runs[0], name=name)
        if len(runs) > 1:
            found = cls(name, runs[0].path, runs[0].config, {}, [], members=tuple(runs))
        if not (restore and all(RunFolder(run.path).has_model() for run in runs)):
            return found
        trained = open_model(
            workdir, allow_other_embeddings=allow_other_embeddings, encoder_files=encoder_files
        )
        return dataclasses.replace(found, trained=trained, levels=level_shares(trained))

    @classmethod
    def _read(cls, name: str, workdir: str) -> "ReportRun":
        folder = RunFolder(workdir)
        config, results = folder.config(), folder.results() or {}
        return cls(name, folder.path, config, results, folder.metrics())

    def alone(self) -> tuple["ReportRun", ...]:
        """The runs that it is made of: of a run, itself."""
        return self.members or (self,)

    def with_results(self) -> "ReportRun":
        """With the evaluation that results.json holds, if it has one."""
        results = self.results
        if "mAP" not in results:
            return self
        resampled = results.get("bootstrap_mAP")
        return dataclasses.replace(
            self,
            metrics=Metrics(
                mAP=results["mAP"],
                AUC=results["AUC"],
                d_prime=results["d_prime"],
                mean_class_d_prime=results.get("mean_class_d_prime", np.nan),
                num_clips=results["num_clips"],
                average_precision=self._column("average_precision"),
                auc=self._column("AUC"),
                class_d_prime=self._column("d_prime"),
                num_positives=self._column("num_positives").astype(np.int64),
                num_known=self._num_known(),
            ),
            step=results["step"],
            resampled=None if resampled is None else np.array(resampled, float),
        )

    def with_evaluation(self, probs: np.ndarray, data: EvalData) -> "ReportRun":
        """With an evaluation of its checkpoint on these clips, of these probabilities."""
        assert self.trained is not None
        told = None if data.truth is None else when(self.trained, data.clips, data.truth)
        return dataclasses.replace(
            self,
            levels=level_shares(self.trained, data.clips),
            metrics=metrics.evaluate(probs, data.labels, data.clips.label_mask),
            step=self.trained.step if isinstance(self.trained, TrainedModel) else 0,
            resampled=bootstrap_map(probs, data.labels, data.counts, data.clips.label_mask),
            chosen_probs=probs[:, data.chosen],
            when=told,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Every field of the config, as `section.field`; those in which an average's runs differ as text."""
        if self.members:
            return _together([one.settings for one in self.members])
        return {
            f"{section}.{name}": value
            for section, fields in self.config.to_dict().items()
            for name, value in fields.items()
        }

    @property
    def classes(self) -> ClassList | None:
        """The run's classes, if it says."""
        if self.trained is not None:
            return self.trained.classes
        return classes_of(self.results)

    @property
    def num_train_clips(self) -> np.ndarray | None:
        """[num_classes] how many training clips each class has, if the run says."""
        rows = self.results.get("classes")
        return self._column("num_train_clips") if rows and "num_train_clips" in rows[0] else None

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mAP, if there are resamples."""
        if self.resampled is None or self.metrics is None:
            return None
        return interval(self.resampled, self.metrics.mAP, within=(0.0, 1.0))

    def _num_known(self) -> np.ndarray:
        """[num_classes] clips of which it is known whether they have the class; rows that do not say: all."""
        rows, all_clips = self.results["classes"], self.results["num_clips"]
        return np.array([row.get("num_known", all_clips) for row in rows], np.int64)

    def _column(self, name: str) -> np.ndarray:
        """A number of each class in results.json, [num_classes] float64; NaN where it is not defined."""
        return np.array([files.number(row[name]) for row in self.results["classes"]], float)


def _together(settings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The settings of several runs in one: what is the same as it is, what differs one after the other."""
    names = dict.fromkeys(name for of_run in settings for name in of_run)
    found: dict[str, Any] = {}
    for name in names:
        values = list(dict.fromkeys(of_run.get(name) for of_run in settings))
        found[name] = values[0] if len(values) == 1 else ", ".join(map(str, values))
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """A report of one or several runs on the same classes.

    Attributes:
      runs: in the order they were given.
      classes: the classes of all of them.
      data: the clips that the runs are evaluated on; None where there are none.
      chosen: indices of the classes whose precision-recall curves are shown.
      examples: clips of the first run.
      notes: what is left out, and why; each a sentence.
      sounds: of each example its sound, or None; empty where no recordings are known.
      written: the day; None leaves it out.
      certain: of the chosen classes the segments in which the first run is most certain of them.
      apart: names of the runs whose scores are of other clips than those of the first run that has any.
    """

    runs: list[ReportRun]
    classes: ClassList
    data: EvalData | None
    examples: list[ExampleClip]
    notes: list[str]
    sounds: tuple[ClipSound | None, ...] = ()
    written: datetime.date | None = None
    certain: Mapping[int, list[CertainSegment]] = dataclasses.field(default_factory=dict)
    apart: tuple[str, ...] = ()

    def examples_with_sound(self) -> list[tuple[ExampleClip, ClipSound | None]]:
        """The examples, each with its sound if that is known."""
        sounds = self.sounds or (None,) * len(self.examples)
        return list(zip(self.examples, sounds, strict=True))

    @property
    def num_train_clips(self) -> np.ndarray | None:
        """[num_classes] of the first run that says."""
        return next((r.num_train_clips for r in self.runs if r.num_train_clips is not None), None)
