"""A run's folder as a report sees it: what is there is read, what is not is noted."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax import files, inside
from mla_jax.config import Config
from mla_jax.data.clips import ClipSet
from mla_jax.data.labels import ClassList
from mla_jax.errors import UserError
from mla_jax.evaluation import metrics
from mla_jax.evaluation.bootstrap import bootstrap_map
from mla_jax.evaluation.report_data import ReportRun
from mla_jax.progress import Progress
from mla_jax.trained import TrainedModel
from mla_jax.training.metrics_log import read_metrics


@dataclasses.dataclass(frozen=True, eq=False)
class FoundRun:
    """What is in a run's folder.

    Attributes:
      name: what to call it.
      path: the folder.
      config: its settings.
      results: what its results.json holds; {} before it is finished.
      records: the lines of its metrics.jsonl.
      trained: its checkpoint, the best by validation or the newest; None if it has none.
      notes: what it lacks; each a sentence.
    """

    name: str
    path: Path
    config: Config
    results: dict[str, Any]
    records: list[dict[str, Any]]
    trained: TrainedModel | None
    notes: list[str]

    @classmethod
    def open(cls, name: str, path: Path, *, restore: bool = True) -> "FoundRun":
        """Reads a run's folder, its checkpoint too if that is asked for.

        Raises:
          UserError: it is no run, or damaged.
        """
        if not (path / "config.json").is_file():
            what = "is no run: it has no config.json" if path.is_dir() else "does not exist"
            raise UserError(f"{path} {what}; give the folder of a run")
        config = Config.from_dict(files.read_json(path / "config.json"))
        notes = []
        results = {}
        if (path / "results.json").exists():
            results = files.read_json(path / "results.json")
        else:
            notes.append(f"{name} has no results.json: it is not finished.")
        trained = None
        if restore and any(p.name.isdigit() for p in (path / "checkpoints").glob("[0-9]*")):
            trained = TrainedModel.open(path)
        elif restore:
            notes.append(f"{name} has no checkpoint: it is not evaluated here.")
        records = read_metrics(path / "metrics.jsonl")
        return cls(name, path, config, results, records, trained, notes)

    @property
    def classes(self) -> ClassList | None:
        """The run's classes, if it says."""
        if self.trained is not None:
            return self.trained.classes
        rows = self.results.get("classes")
        if not rows:
            return None
        return ClassList(tuple(r["mid"] for r in rows), tuple(r["name"] for r in rows))

    @property
    def num_train_clips(self) -> np.ndarray | None:
        """[num_classes] how many training clips each class has, if the run says."""
        return self._column("num_train_clips")

    def _column(self, name: str) -> np.ndarray | None:
        rows = self.results.get("classes") or []
        if not rows or name not in rows[0]:
            return None
        return np.array([np.nan if row[name] is None else row[name] for row in rows], float)

    def bare(self) -> ReportRun:
        """Without figures."""
        values = self.config.to_dict()
        settings = {f"{s}.{name}": v for s, fields in values.items() for name, v in fields.items()}
        facts = {k: v for k, v in self.results.items() if k != "classes"}
        names: tuple[str, ...] = ()
        shares = inside.shares_of_levels(self.trained) if self.trained else None
        if shares is not None:
            names = inside.level_names(self.config.model)
        return ReportRun(
            self.name,
            str(self.path),
            settings,
            facts,
            self.records,
            num_train_clips=self.num_train_clips,
            level_names=names,
            level_shares=shares,
        )

    def from_results(self) -> ReportRun:
        """With the figures of results.json."""
        run, results = self.bare(), self.results
        if results.get("mAP") is None:
            return run
        kept = results.get("bootstrap_mAP")
        return dataclasses.replace(
            run,
            figures={k: results[k] for k in ("mAP", "AUC", "d_prime", "num_clips")},
            step=results["step"],
            average_precision=self._column("average_precision"),
            auc=self._column("AUC"),
            num_positives=self._column("num_positives"),
            resampled=None if kept is None else np.array(kept, float),
        )

    def predict(self, clips: ClipSet) -> np.ndarray:
        """Clip probabilities, [num_clips, num_classes] float32."""
        assert self.trained is not None
        progress = Progress(f"predict with {self.name}", len(clips), "clips")
        probs = self.trained.predict(clips, progress.update)
        progress.close()
        return probs

    def scored(
        self,
        probs: np.ndarray,
        labels: np.ndarray,
        counts: np.ndarray,
        chosen: Sequence[int],
        clips: ClipSet,
    ) -> ReportRun:
        """With the figures of these probabilities.

        Args:
          probs: [num_clips, num_classes] from `predict`.
          labels: [num_clips, num_classes] bool.
          counts: [num_clips, num_resamples] from `clip_counts`.
          chosen: indices of the classes whose probabilities are kept.
          clips: which clips they are.
        """
        assert self.trained is not None
        scores = metrics.evaluate(probs, labels)
        run = self.bare()
        if run.level_shares is not None:
            shares = inside.shares_of_levels(self.trained, clips)
            by_variance = self.config.model.attend_to == "decisions"
            run = dataclasses.replace(run, level_shares=shares, levels_by_variance=by_variance)
        return dataclasses.replace(
            run,
            figures={
                "mAP": scores.mAP,
                "AUC": scores.AUC,
                "d_prime": scores.d_prime,
                "num_clips": scores.num_clips,
            },
            step=self.trained.step,
            average_precision=scores.average_precision,
            auc=scores.auc,
            num_positives=scores.num_positives,
            resampled=bootstrap_map(probs, labels, counts),
            chosen_scores=probs[:, chosen],
        )
