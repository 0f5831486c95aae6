"""A trained run in use: restore it, evaluate it. `mla_jax.tagging` tags clips with it."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from mla_jax import files, paths
from mla_jax.config import Config, DataConfig
from mla_jax.data import sources
from mla_jax.data.clips import ClipSet
from mla_jax.data.labels import ClassList
from mla_jax.data.skipped import Skipped, list_beside
from mla_jax.environment import environment
from mla_jax.errors import UserError
from mla_jax.evaluation import metrics, report
from mla_jax.evaluation.predict import average_predictions, predict
from mla_jax.evaluation.segments import SegmentOutput, predict_segments
from mla_jax.models.multi_level import MultiLevelModel, Variables, build_model, init_variables
from mla_jax.progress import Progress
from mla_jax.training.checkpoints import Checkpoints, DamagedCheckpointError
from mla_jax.training.state import TrainState, init_state


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A model restored from a run's checkpoint, with all that is needed to use it.

    Attributes:
      model, variables: what `model.apply` takes.
      classes: the classes that it was trained for, in index order.
      config: the settings that it was trained with.
      step: which checkpoint it is.
      num_features: M, the size of an embedding vector.
      max_segments: T, how many segments the clips had that it was trained on.
    """

    model: MultiLevelModel
    variables: Variables
    classes: ClassList
    config: Config
    step: int
    num_features: int
    max_segments: int

    @classmethod
    def open(cls, workdir: str | Path, step: int = 0) -> "TrainedModel":
        """Restores step `step`; 0: the best by validation if the run has validation, else the newest.

        Raises:
          UserError: there is no such run or checkpoint, or it is damaged.
        """
        with _checkpoints(workdir) as checkpoints:
            return _restore(checkpoints, _choose_steps(checkpoints, step)[0])

    def open_clips(
        self,
        path: str,
        *,
        needs_labels: bool = True,
        bad_records: str = "",
        skipped: list[Skipped] | None = None,
    ) -> ClipSet:
        """Opens data for this model, with the settings that it was trained with.

        Clips that are only to be tagged may do without labels (`needs_labels=False`). `bad_records`,
        error or skip, may be another than in training; what is left out is appended to `skipped`.

        Raises:
          UserError: the data cannot be read, or the class list beside it is not the model's.
        """
        sources.require_same_classes(path, self.classes)
        return sources.open_clips(
            path,
            self._data_config(bad_records),
            len(self.classes),
            skipped,
            needs_labels=needs_labels,
        )

    def stream_clips(self, path: str, *, bad_records: str = "") -> sources.ClipStream:
        """Opens data to be tagged as a stream, in bounded memory: clips of any length, labelled or not.

        Raises:
          UserError: as `open_clips`; what only shows in reading is raised as chunks are taken.
        """
        sources.require_same_classes(path, self.classes)
        return sources.stream_clips(
            path,
            self._data_config(bad_records),
            len(self.classes),
            num_features=self.num_features,
            needs_labels=False,
        )

    def _data_config(self, bad_records: str) -> DataConfig:
        config = self.config.data
        return dataclasses.replace(config, bad_records=bad_records) if bad_records else config

    def predict(
        self, clips: ClipSet, on_progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Clip probabilities, [num_clips, num_classes] float32."""
        return predict(
            self.model,
            self.variables,
            clips,
            use_mask=self.config.data.mask,
            on_progress=on_progress,
        )

    def predict_segments(self, clips: ClipSet, *, with_levels: bool = False) -> SegmentOutput:
        """Scores of segments, [num_clips, time, num_classes]; `mla_jax.evaluation.segments` says more."""
        return predict_segments(
            self.model,
            self.variables,
            clips,
            use_mask=self.config.data.mask,
            with_levels=with_levels,
        )


def _checkpoints(workdir: str | Path) -> Checkpoints:
    folder = paths.as_path(workdir) / "checkpoints"
    if not folder.parent.is_dir():
        raise UserError(f"{workdir} does not exist; give the folder of a run")
    if not folder.is_dir():
        raise UserError(f"{workdir} is no run: it has no checkpoints; train one there first")
    return Checkpoints(folder, read_only=True)


def _choose_steps(checkpoints: Checkpoints, step: int = 0, average_from: int = 0) -> list[int]:
    """The steps to use: `step`, or all from `average_from` on, or the best, or the newest."""
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"{checkpoints.folder} has no checkpoint yet; train for longer")
    if average_from:
        chosen = [s for s in steps if s >= average_from]
        if not chosen:
            raise UserError(
                f"{checkpoints.folder} keeps no checkpoint from step {average_from} on; it has {steps}"
            )
        if steps[0] > average_from:
            logging.warning(
                "the oldest checkpoint kept is of step %d, so nothing from step %d to there is averaged; "
                "--config.train.keep_checkpoints=0 keeps all in training",
                steps[0],
                average_from,
            )
        return chosen
    return [step or checkpoints.best_step() or steps[-1]]


def _restore(checkpoints: Checkpoints, step: int) -> TrainedModel:
    try:
        return _read(checkpoints, step)
    except DamagedCheckpointError as error:
        others = [s for s in checkpoints.steps() if s != step]
        raise UserError(
            f"{error}; choose another with --step, there are {others}"
            if others
            else f"{error}, and there is no other"
        ) from error


def _read(checkpoints: Checkpoints, step: int) -> TrainedModel:
    meta = checkpoints.read_meta(step)
    config = Config.from_dict(meta["config"])
    classes = ClassList(tuple(meta["classes"]["mids"]), tuple(meta["classes"]["names"]))
    model = build_model(config.model, len(classes))

    def fresh() -> TrainState:
        prior = np.full(len(classes), 0.5)
        variables = init_variables(model, 0, meta["num_features"], class_prior=prior)
        return init_state(variables, config.optim)

    state = checkpoints.restore(step, jax.eval_shape(fresh))
    return TrainedModel(
        model=model,
        variables=state.variables,
        classes=classes,
        config=config,
        step=step,
        num_features=meta["num_features"],
        # Runs of older versions do not say; of packed clips their config does not either.
        max_segments=meta.get("max_segments", config.data.max_segments),
    )


def evaluate(
    workdir: str | Path,
    data: str,
    *,
    step: int = 0,
    average_from: int = 0,
    bad_records: str = "",
    output: str | Path = "",
) -> dict[str, Any]:
    """Evaluates a run's checkpoint on `data`, or the average of its predictions over checkpoints.

    Args:
      workdir: the run.
      data: a packed folder, records, or an HDF5 or .npz file.
      step: which checkpoint; 0: the best by validation, else the newest.
      average_from: if given, the mean of the probabilities of all checkpoints from this step on.
      bad_records: error or skip; as in training if not given.
      output: if given, a JSON file of what is returned; records that were left out are listed beside it.

    Returns:
      The figures: mAP, AUC, d_prime, num_clips, skipped_records, step, steps_averaged, classes, ...

    Raises:
      UserError: the run or the data cannot be used.
    """
    with _checkpoints(workdir) as checkpoints:
        steps = _choose_steps(checkpoints, step, average_from)
        trained = _restore(checkpoints, steps[0])
        skipped: list[Skipped] = []
        clips = trained.open_clips(data, bad_records=bad_records, skipped=skipped)
        progress = Progress("predict", len(steps) * len(clips), "clips")

        def advance(before: int, done: int) -> None:
            progress.update(before + done)

        def predictions() -> Iterator[np.ndarray]:
            for i, s in enumerate(steps):
                current = trained if i == 0 else _restore(checkpoints, s)
                yield current.predict(clips, partial(advance, i * len(clips)))

        probs = average_predictions(predictions())
        progress.close()
    scores = metrics.evaluate(probs, clips.multi_hot())
    results = {
        **report.summarize(scores),
        "skipped_records": len(skipped),
        "step": steps[-1],
        "steps_averaged": steps,
        "workdir": str(workdir),
        "data": data,
        **environment(),
        "classes": report.per_class(scores, trained.classes),
    }
    if output:
        files.write_json(output, results)
        list_beside(output, skipped)
    return results
