"""A trained run in use: restore it, evaluate it, tag clips with it."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mla_jax import files
from mla_jax.config import Config
from mla_jax.data import sources
from mla_jax.data.clips import ClipSet
from mla_jax.data.labels import ClassList
from mla_jax.data.skipped import Skipped, list_beside
from mla_jax.environment import environment
from mla_jax.errors import UserError
from mla_jax.evaluation import metrics, report
from mla_jax.evaluation.predict import average_predictions, predict, predict_batches
from mla_jax.models.multi_level import MultiLevelModel, Variables, build_model, init_variables
from mla_jax.progress import Progress
from mla_jax.training.checkpoints import Checkpoints
from mla_jax.training.state import TrainState, init_state


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A model restored from a run's checkpoint, with all that is needed to use it.

    Attributes:
      model, variables: what `model.apply` takes.
      classes: the classes that it was trained for, in index order.
      config: the settings that it was trained with.
      step: which checkpoint it is.
    """

    model: MultiLevelModel
    variables: Variables
    classes: ClassList
    config: Config
    step: int

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
        config = self.config.data
        if bad_records:
            config = dataclasses.replace(config, bad_records=bad_records)
        return sources.open_clips(
            path, config, len(self.classes), skipped, needs_labels=needs_labels
        )

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


def _checkpoints(workdir: str | Path) -> Checkpoints:
    folder = Path(workdir) / "checkpoints"
    if not Path(workdir).is_dir():
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
        return chosen
    return [step or checkpoints.best_step() or steps[-1]]


def _restore(checkpoints: Checkpoints, step: int) -> TrainedModel:
    meta = checkpoints.read_meta(step)
    config = Config.from_dict(meta["config"])
    classes = ClassList(tuple(meta["classes"]["mids"]), tuple(meta["classes"]["names"]))
    model = build_model(config.model, len(classes))

    def fresh() -> TrainState:
        prior = np.full(len(classes), 0.5)
        variables = init_variables(model, 0, meta["num_features"], class_prior=prior)
        return init_state(variables, config.optim)

    state = checkpoints.restore(step, jax.eval_shape(fresh))
    return TrainedModel(model, state.variables, classes, config, step)


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


def predict_to_file(
    workdir: str | Path,
    data: str,
    output: str | Path,
    *,
    top_k: int = 5,
    step: int = 0,
    bad_records: str = "",
) -> int:
    """Writes the most probable labels of every clip as JSON Lines, a batch at a time.

    A line is `{"video_id": ..., "start_time": seconds, "labels": [{"index", "mid", "name",
    "probability"}, ...]}`, labels by falling probability. The file appears when it is complete; records
    that were left out (`bad_records="skip"`) are listed beside it.

    Returns:
      The number of clips.

    Raises:
      UserError: the run or the data cannot be used, or the output cannot be written.
    """
    trained = TrainedModel.open(workdir, step)
    skipped: list[Skipped] = []
    clips = trained.open_clips(data, needs_labels=False, bad_records=bad_records, skipped=skipped)
    top_k = min(top_k, len(trained.classes))
    progress = Progress("predict", len(clips), "clips")
    done = 0
    with files.replacing(output) as file:
        for probs in predict_batches(
            trained.model, trained.variables, clips, use_mask=trained.config.data.mask
        ):
            for i, row in enumerate(probs, start=done):
                file.write(json.dumps(_tagged(clips, i, row, trained.classes, top_k)) + "\n")
            done += len(probs)
            progress.update(done)
    progress.close()
    list_beside(output, skipped)
    return done


def _tagged(
    clips: ClipSet, i: int, probs: np.ndarray, classes: ClassList, top_k: int
) -> dict[str, Any]:
    """One line: clip `i` and its `top_k` labels; equal probabilities in index order."""
    return {
        "video_id": clips.video_ids[i].decode(errors="replace"),
        "start_time": float(clips.start_times[i]),
        "labels": [
            {
                "index": int(k),
                "mid": classes.mids[k],
                "name": classes.names[k],
                "probability": round(float(probs[k]), 6),
            }
            for k in np.argsort(-probs, kind="stable")[:top_k]
        ],
    }
