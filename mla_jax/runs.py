"""A run in a folder: train it, or go on with it. `mla_jax.trained` is what comes after.

The rooms are wired together here and there; the command-line programs only turn flags into a call.

    workdir/config.json     the settings, as used
    workdir/metrics.jsonl   a line for every record, each with its step
    workdir/tensorboard/    the same for TensorBoard
    workdir/checkpoints/    state, settings, class list and checksum of a step
    workdir/skipped_records.jsonl   what was left out of the data, with `bad_records=skip`
    workdir/results.json    the final evaluation; its presence says that the run is finished
"""

import dataclasses
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mla_jax import files, paths
from mla_jax.config import Config
from mla_jax.data.skipped import SKIPPED_FILE, write_skipped
from mla_jax.environment import environment
from mla_jax.errors import UserError
from mla_jax.evaluation import report
from mla_jax.evaluation.metrics import Metrics
from mla_jax.evaluation.metrics import evaluate as evaluate_scores
from mla_jax.evaluation.predict import start_prediction
from mla_jax.locks import one_writer
from mla_jax.models.multi_level import (
    MultiLevelModel,
    build_model,
    num_parameters,
)
from mla_jax.progress import Progress
from mla_jax.run_data import RunData
from mla_jax.training.checkpoints import Checkpoints
from mla_jax.training.interruption import InterruptedRunError
from mla_jax.training.loop import NotFiniteError, due, fit
from mla_jax.training.metrics_log import MetricsLog
from mla_jax.training.state import TrainState, fresh_state
from mla_jax.training.window import Record, Window

Say = Callable[[str], None]

# A run may go on with another value of these: they change its length, what is seen of it and what is kept,
# not its path.
_MAY_CHANGE = (
    "train.steps",
    "train.log_every",
    "train.eval_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "data.eval",
    "data.placement",
    "train.devices",
)


def checkpoint_meta(config: Config, data: RunData) -> dict[str, Any]:
    """What is kept beside the state of a checkpoint, so that it can be used without the run."""
    return {
        "config": config.to_dict(),
        "classes": dataclasses.asdict(data.classes),
        "num_features": data.train.num_features,
        "max_segments": data.train.max_segments,
    }


def results_of(
    config: Config,
    data: RunData,
    evaluated_on: str | None,
    scores: Metrics | None,
    *,
    step: int,
    step_chosen_by: str,
    steps_trained: int,
    parameters: int,
    seconds: float,
) -> dict[str, Any]:
    """What results.json holds of a finished run; without figures where nothing was evaluated."""
    classes: list[dict[str, Any]] = []
    if scores is not None:
        classes = report.per_class(scores, data.classes, data.train.class_counts())
    return {
        **(report.summarize(scores) if scores is not None else {}),
        "step": step,
        "step_chosen_by": step_chosen_by,
        "evaluated_on": evaluated_on,
        "steps_trained": steps_trained,
        "clips": data.sizes(),
        "seed": config.train.seed,
        "architecture": config.model.architecture,
        "parameters": parameters,
        "seconds": seconds,
        **environment(),
        "classes": classes,
    }


def train(
    config: Config,
    workdir: str | Path,
    *,
    say: Say = print,
    should_stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Trains a run, or goes on with it, and evaluates it.

    Args:
      config: the settings.
      workdir: the run's folder; made if need be.
      say: takes a line for the user.
      should_stop: asked about once a second whether to save and leave, for instance a `StopOnSignal`.

    Returns:
      What results.json holds.

    Raises:
      InterruptedRunError: `should_stop` said so; the run is saved at the step it had come to.
      UserError: the data cannot be used, the workdir is in use or holds a run with other settings, no
        checkpoint is whole, one cannot be written, or training diverged.
    """
    workdir = paths.as_path(workdir)
    results_path = workdir / "results.json"
    _require_same_run(workdir, config)
    if results_path.exists():
        results = files.read_json(results_path)
        if results["steps_trained"] >= config.train.steps:
            say(f"{workdir} is finished: {results['steps_trained']} steps; see {results_path}")
            return results
    data = RunData.open(config)
    say(data.describe())
    model = build_model(config.model, data.train.num_classes)
    # Only now, so that a mistake in the settings leaves no folder behind.
    with one_writer(workdir):
        _require_same_run(workdir, config)  # another may have begun one meanwhile
        write_skipped(workdir / SKIPPED_FILE, data.skipped)
        results = _train(config, workdir, model, data, say, should_stop)
        files.write_json(results_path, results)
    return results


def _train(
    config: Config,
    workdir: Path,
    model: MultiLevelModel,
    data: RunData,
    say: Say,
    should_stop: Callable[[], bool] | None,
) -> dict[str, Any]:
    files.write_json(workdir / "config.json", config.to_dict())
    with Checkpoints(workdir / "checkpoints", keep=config.train.keep_checkpoints) as checkpoints:
        state = fresh_state(model, data.train, config)
        window: dict[str, Any] = {}
        restored = checkpoints.restore_newest(state, say)
        if restored is not None:
            state, meta = restored
            window = meta.get("window", {})
            say(f"going on from step {int(state.step)} of {config.train.steps}")
        # A run made longer is not finished any more.
        (workdir / "results.json").unlink(missing_ok=True)
        say(
            f"{config.model.architecture}, {num_parameters(state.variables):,} parameters, on "
            f"{jax.devices()[0].device_kind} ({jax.devices()[0].platform})"
        )
        with MetricsLog(workdir, int(state.step)) as log:
            session = _Session(model, data, config, checkpoints, log, say)
            try:
                state = session.fit(state, window, should_stop)
            except NotFiniteError as error:
                raise _named(error, workdir, data) from error
            return session.results(state)


def _named(error: NotFiniteError, workdir: Path, data: RunData) -> UserError:
    """The same error, with a file of the whole batch."""
    path = workdir / "not_finite.json"
    files.write_json(
        path,
        {
            "step": error.step,
            "loss": str(error.loss),
            "grad_norm": str(error.grad_norm),
            "clips": [
                {"row": int(i), "video_id": data.train.video_ids[i].decode(errors="replace")}
                for i in error.rows
            ],
        },
    )
    return UserError(f"{error}; {path} names all of them")


def _require_same_run(workdir: Path, config: Config) -> None:
    path = workdir / "config.json"
    # A run that never came to a checkpoint has nothing that other settings could spoil.
    if not path.exists() or not any(
        p.name.isdigit() for p in (workdir / "checkpoints").glob("[0-9]*")
    ):
        return
    old, new = (_flat(c) for c in (files.read_json(path), config.to_dict()))
    differing = [
        f"{name} (was {old.get(name)!r}, now {new.get(name)!r})"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and name not in _MAY_CHANGE
    ]
    if differing:
        raise UserError(
            f"{workdir} holds a run with other settings: {', '.join(differing)}; give another workdir, "
            "or the same settings to go on"
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


class _Session:
    """A run while it is trained: evaluates, records and saves as the loop goes on."""

    def __init__(
        self,
        model: MultiLevelModel,
        data: RunData,
        config: Config,
        checkpoints: Checkpoints,
        log: MetricsLog,
        say: Say,
    ) -> None:
        self.model, self.data, self.config = model, data, config
        self.checkpoints, self.log, self.say = checkpoints, log, say
        self.sets = {
            name: (clips, clips.multi_hot())
            for name, clips in (("validation", data.validation), ("eval", data.eval))
            if clips is not None
        }
        self.scores: dict[str, Metrics] = {}
        self.scored_step = -1
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="evaluation")

    def fit(
        self,
        state: TrainState,
        window: dict[str, Any],
        should_stop: Callable[[], bool] | None,
    ) -> TrainState:
        """Trains to the last step, or saves and raises InterruptedRunError.

        Args:
          state: where to begin.
          window: what a stopped run left of the steps since its last record: `seconds`, and a Window.
          should_stop: as `fit` takes it.
        """
        seconds_before = max(self.seconds, window.get("seconds", 0.0))
        progress = Progress("train", self.config.train.steps, "steps", start=int(state.step))

        def on_record(state: TrainState, record: Record) -> None:
            record["seconds"] += seconds_before
            self.log.write(record)
            if self.scored_step == record["step"]:
                progress.close()
                self.say(_one_line(record))
            self.save_if_due(state, record)

        def on_stop(state: TrainState, window: Window, seconds: float) -> None:
            step = int(state.step)
            if step not in self.checkpoints.steps():
                left = {"seconds": seconds_before + seconds, "steps": window.to_json()}
                meta = checkpoint_meta(self.config, self.data) | {"window": left}
                self.log.publish()
                self.checkpoints.save(state, meta, stopped=True)
            raise InterruptedRunError(step)

        try:
            return fit(
                self.model,
                state,
                self.data.train,
                self.config,
                evaluate=self.evaluate_meanwhile if self.sets else None,
                on_record=on_record,
                on_progress=lambda step, loss: progress.update(step, f"loss {loss:.4f}"),
                should_stop=should_stop,
                on_stop=on_stop,
                window=Window.from_json(window["steps"]) if window else None,
            )
        finally:
            self.worker.shutdown()
            progress.close()

    @property
    def seconds(self) -> float:
        """How long the run has trained, over all its parts."""
        return float(self.log.records[-1]["seconds"]) if self.log.records else 0.0

    def evaluate(self, state: TrainState) -> Record:
        """Scores validation and eval."""
        return self._score(int(state.step), self._predictions(state))

    def evaluate_meanwhile(self, state: TrainState) -> Record | Future[Record]:
        """The same, while the steps go on, where that saves time: not where they share the processor."""
        if jax.default_backend() == "cpu":
            return self.evaluate(state)
        return self.worker.submit(self._score, int(state.step), self._predictions(state))

    def _predictions(self, state: TrainState) -> dict[str, Callable[[], np.ndarray]]:
        """Begins to predict each set; what waits for the probabilities."""
        mask = self.config.data.mask
        return {
            name: start_prediction(self.model, state.variables, clips, use_mask=mask)
            for name, (clips, _) in self.sets.items()
        }

    def _score(self, step: int, predictions: dict[str, Callable[[], np.ndarray]]) -> Record:
        record: Record = {}
        for name, (_, labels) in self.sets.items():
            scores = self.scores[name] = evaluate_scores(predictions[name](), labels)
            record[f"{name}_mAP"] = scores.mAP
            record[f"{name}_AUC"] = scores.AUC
            record[f"{name}_d_prime"] = scores.d_prime
        self.scored_step = step
        return record

    def save_if_due(self, state: TrainState, record: Record) -> None:
        """Saves a checkpoint at its steps, and wherever validation may choose the step."""
        choosable = "validation_mAP" in record
        if choosable or due(record["step"], self.config.train.checkpoint_every, self.config):
            self.log.publish()
            self.checkpoints.save(
                state,
                checkpoint_meta(self.config, self.data),
                validation_mAP=record.get("validation_mAP"),
            )

    def results(self, state: TrainState) -> dict[str, Any]:
        """Figures of the chosen step on the eval split, or on validation where there is none."""
        steps_trained = int(state.step)
        best = self.checkpoints.best_step() if "validation" in self.sets else None
        if best is not None and best != steps_trained:
            state = self.checkpoints.restore(best, jax.eval_shape(lambda: state))
        if self.scored_step != int(state.step):
            self.evaluate(state)
        evaluated_on = next((name for name in ("eval", "validation") if name in self.sets), None)
        return results_of(
            self.config,
            self.data,
            evaluated_on,
            self.scores[evaluated_on] if evaluated_on else None,
            step=int(state.step),
            step_chosen_by="last step" if best is None else "best validation mAP",
            steps_trained=steps_trained,
            parameters=num_parameters(state.variables),
            seconds=self.seconds,
        )


def _one_line(record: Record) -> str:
    shown = {name: value for name, value in record.items() if name != "grad_norm"}
    return ", ".join(
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in shown.items()
    )
