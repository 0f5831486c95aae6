"""A run while it is trained: evaluates, records and saves as the loop goes on."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from mla_jax.config import Config
from mla_jax.environment import environment
from mla_jax.evaluation import report
from mla_jax.evaluation.metrics import Metrics
from mla_jax.evaluation.metrics import evaluate as evaluate_scores
from mla_jax.evaluation.predict import start_prediction
from mla_jax.models.multi_level import MultiLevelModel, num_parameters
from mla_jax.progress import Progress
from mla_jax.run_data import RunData
from mla_jax.training import processes
from mla_jax.training.checkpoints import Checkpoints
from mla_jax.training.interruption import InterruptedRunError
from mla_jax.training.loop import due, fit
from mla_jax.training.metrics_log import MetricsLog, NoLog
from mla_jax.training.state import TrainState
from mla_jax.training.window import Record, Window

Say = Callable[[str], None]


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


class Session:
    """A run while it is trained: evaluates, records and saves as the loop goes on."""

    def __init__(
        self,
        model: MultiLevelModel,
        data: RunData,
        config: Config,
        checkpoints: Checkpoints,
        log: MetricsLog | NoLog,
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
        progress = Progress(
            "train",
            self.config.train.steps,
            "steps",
            start=int(state.step),
            shown=processes.is_main(),
        )

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
                processes.on_main(self.log.publish)
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
        """The same, while the steps go on, where that saves time: not where they share the processor.

        Nor with several processes, whose threads would come to the gathering of results in different orders.
        """
        if jax.default_backend() == "cpu" or processes.several():
            return self.evaluate(state)
        return self.worker.submit(self._score, int(state.step), self._predictions(state))

    def _predictions(self, state: TrainState) -> dict[str, Callable[[], np.ndarray]]:
        """Begins to predict this process's part of each set; what waits for the probabilities."""
        mask, variables = self.config.data.mask, processes.own_copy(state.variables)
        return {
            name: start_prediction(self.model, variables, processes.own_part(clips), use_mask=mask)
            for name, (clips, _) in self.sets.items()
        }

    def _score(self, step: int, predictions: dict[str, Callable[[], np.ndarray]]) -> Record:
        record: Record = {}
        for name, (_, labels) in self.sets.items():
            probs = processes.gather_parts(predictions[name](), len(labels))
            scores = self.scores[name] = evaluate_scores(probs, labels)
            record[f"{name}_mAP"] = scores.mAP
            record[f"{name}_AUC"] = scores.AUC
            record[f"{name}_d_prime"] = scores.d_prime
        self.scored_step = step
        return record

    def save_if_due(self, state: TrainState, record: Record) -> None:
        """Saves a checkpoint at its steps, and wherever validation may choose the step."""
        choosable = "validation_mAP" in record
        if choosable or due(record["step"], self.config.train.checkpoint_every, self.config):
            processes.on_main(self.log.publish)
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
