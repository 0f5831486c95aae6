"""Training the runs of one seed, or of several in one program: evaluates, logs and saves on the way."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp

from mla_jax.config import Config
from mla_jax.data.class_list import ClassList
from mla_jax.data.same_embedding import require_same_embedding
from mla_jax.errors import UserError
from mla_jax.inference.predictor import Predictor
from mla_jax.models.multi_level import build_model
from mla_jax.parallel import processes
from mla_jax.parallel.signals import InterruptedRunError
from mla_jax.progress import Progress
from mla_jax.runs import fingerprint
from mla_jax.runs.checkpoints import Checkpoints
from mla_jax.runs.convergence import Scored, end_of, is_best, scored
from mla_jax.runs.data import RunData
from mla_jax.runs.evaluation import AveragedPredictions, Evaluation, Evaluator
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.metrics_log import MetricsLog
from mla_jax.runs.results import checkpoint_meta, results_of
from mla_jax.runs.saved_weights import embedding_of
from mla_jax.training.loop import NotFiniteError, Trainer, due, next_stop
from mla_jax.training.state import TrainState, fresh_state, stack_states, unstack_state

Say = Callable[[str], None]
ShouldStop = Callable[[], bool]
LogEntry = dict[str, Any]


def with_seed(config: Config, seed: int) -> Config:
    """The same settings with another seed."""
    return dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))


class Session:
    """Trains runs that differ in their seeds alone, all in one program.

    It begins anew, or goes on from the newest checkpoint that is whole; a UserError says if none is.

    Attributes:
      config: the settings, with the first seed.
      runs: the folder of each seed's run.
      data: its validation and eval clips are evaluated, if there are any.
      checkpoints: of `state`.
      say: takes a line for the user.
      average: sums the probabilities of the eval clips, if given. Checkpoints are then saved at evaluations
        only, the steps for which there are sums to go on from.
      chosen: of each seed, the checkpoints among which is that of its best step by validation; those of
        `state` themselves where there is one seed alone.
      state: the newest state; of several seeds a stack (`stack_states`).
      evaluation: of the newest step that was evaluated; None if none was.
      finals: of each seed, the evaluation of the state that its results are of, once they are there.
      labels: of each set that is evaluated, [clips, classes] bool.
      seconds: how long the runs have trained, as the log says.
    """

    def __init__(
        self,
        config: Config,
        runs: Mapping[int, RunFolder],
        data: RunData,
        checkpoints: Checkpoints,
        say: Say,
        average: AveragedPredictions | None = None,
        chosen: Sequence[Checkpoints] = (),
    ) -> None:
        self.config = with_seed(config, next(iter(runs)))
        self.runs, self.data, self.checkpoints, self.say = runs, data, checkpoints, say
        self.average, self.chosen = average, list(chosen) or [checkpoints]
        self.evaluation: Evaluation | None = None
        self.finals: list[Evaluation] = []
        self._scored: list[list[Scored]] = [[] for _ in runs]
        self._end: TrainState | None = None
        self.seconds = 0.0
        self._evaluator = Evaluator(data.evaluated())
        self.labels, self.known = self._evaluator.labels, self._evaluator.known
        self._logs: list[MetricsLog] = []
        self._pending: tuple[TrainState, LogEntry, Future[Evaluation]] | None = None
        self._model = build_model(config.model, data.train.num_classes)
        states = [fresh_state(self._model, data.train, with_seed(config, seed)) for seed in runs]
        # The state of a single seed is no stack: it trains to the bits of any other run.
        self.state = stack_states(states) if len(states) > 1 else states[0]
        self._meta = checkpoint_meta(self.config, data)
        self._left: dict[str, Any] = {}
        self._require_same_data()
        restored = checkpoints.restore_newest(self.state, say)
        if restored is not None:
            self.state, meta = restored
            require_same_embedding(
                "the training data",
                data.train.embedding,
                "those that the run began with",
                embedding_of(meta),
                allow_other=data.allow_other_embeddings,
            )
            self._left = meta.get("window", {})
            if average is not None:
                average.restore(int(self.state.step))
            say(f"going on from step {int(self.state.step)} of {config.train.steps}")

    def _require_same_data(self) -> None:
        """Checks that the run, if there is one to go on with, was made with these classes and clips.

        Other eval clips change no step, so they are only warned of, unless predictions of them are summed.
        """
        meta = self.checkpoints.newest_meta()
        if meta is None:
            return
        kept = ClassList(tuple(meta["classes"]["mids"]), tuple(meta["classes"]["names"]))
        where, sets = self.checkpoints.folder.parent, self.data.sets()
        kept.require_same(self.data.classes, f"{where}: the class list of its data, as it is now,")
        fingerprint.require_same(meta, sets, where, ("train", "validation"))
        try:
            fingerprint.require_same(meta, sets, where, ("eval",))
        except UserError as error:
            if self.average is not None:
                raise
            self.say(f"warning: {error}")

    def each_state(self, state: TrainState) -> list[TrainState]:
        """The states of the seeds in a state of the session."""
        if len(self.runs) == 1:
            return [state]
        return [unstack_state(state, i) for i in range(len(self.runs))]

    def ends(self) -> list[int | None]:
        """The step at which each seed has converged (`train.patience`); None if it has not."""
        return [end_of(scores, self.config.train.patience) for scores in self._scored]

    def train(self, should_stop: ShouldStop | None = None) -> None:
        """Trains to the last step, or until every seed has converged.

        Raises:
          InterruptedRunError: `should_stop`, asked about once a second, said so in this process or another.
          NotFiniteError: training diverged.
        """
        steps, begin = self.config.train.steps, int(self.state.step)
        with contextlib.ExitStack() as stack:
            self._scored = processes.together(lambda: self._scores_before(begin))
            if None not in self.ends():
                self._end = self.state
            self._logs = processes.together(lambda: self._open_logs(stack, begin))
            self._progress = Progress(
                "train", steps, "steps", start=begin, shown=processes.is_main()
            )
            stack.callback(self._progress.close)
            self._worker = stack.enter_context(ThreadPoolExecutor(1, "evaluation"))
            trainer = Trainer(
                self._model,
                self.state,
                self.data.train,
                self.config,
                seeds=list(self.runs),
                history=self._left.get("steps"),
            )
            stack.enter_context(trainer)
            self._began = time.monotonic() - max(self.seconds, self._left.get("seconds", 0.0))
            try:
                while trainer.step < steps and self._end is None:
                    self._advance(trainer, should_stop)
                    if self._end is None:
                        self._log(trainer)
            except NotFiniteError:
                self._settle()
                raise
            self._settle()
            self.state = trainer.state if self._end is None else self._end

    def _scores_before(self, step: int) -> list[list[Scored]]:
        return [
            scored(entry for entry in run.metrics() if entry["step"] <= step)
            for run in self.runs.values()
        ]

    def _open_logs(self, stack: contextlib.ExitStack, step: int) -> list[MetricsLog]:
        """A log for each run; in processes other than the main one there are none."""
        if not processes.is_main():
            return []
        logs = [stack.enter_context(MetricsLog(run.path, step)) for run in self.runs.values()]
        if logs[0].entries:
            self.seconds = float(logs[0].entries[-1]["seconds"])
        return logs

    def _advance(self, trainer: Trainer, should_stop: ShouldStop | None) -> None:
        """Makes the steps up to the next log entry."""
        stop = next_stop(trainer.step, self.config.train, evaluates=bool(self.labels))
        while trainer.step < stop and self._end is None:
            if processes.anywhere(should_stop is not None and should_stop()):
                self._settle()
                self._save_and_leave(trainer)
            loss = trainer.advance(stop)
            self._progress.update(trainer.step, f"loss {loss:.4f}")
            if self._pending is not None and self._pending[2].done():
                self._settle()
        self._settle()

    def _save_and_leave(self, trainer: Trainer) -> None:
        if self.average is not None or self._end is not None:
            raise InterruptedRunError(self.checkpoints.latest_step() or 0)
        if trainer.step not in self.checkpoints.steps():
            seconds = time.monotonic() - self._began
            left = {"seconds": seconds, "steps": trainer.history()}
            self._save(trainer.state, {"window": left}, stopped=True)
        raise InterruptedRunError(trainer.step)

    def _log(self, trainer: Trainer) -> None:
        """Writes a log entry, with an evaluation if one is due."""
        train, state = self.config.train, trainer.state
        entry = trainer.log_entry() | {"seconds": time.monotonic() - self._began}
        if not self.labels or not due(trainer.step, train.eval_every, train):
            self._write(state, entry)
        # On a CPU the steps need the processor themselves; threads of several processes would come to the
        # gathering of their shares in different orders.
        elif jax.default_backend() == "cpu" or processes.several():
            self._write(state, entry, self._evaluate(self.each_state(state))())
        else:
            evaluation = self._worker.submit(self._evaluate(self.each_state(state)))
            # The steps that follow take the memory of the state.
            self._pending = jax.tree.map(jnp.copy, state), entry, evaluation

    def _evaluate(self, states: Sequence[TrainState]) -> Callable[[], Evaluation]:
        """Begins to evaluate states of one step; returns a function that blocks until it is done."""
        mask = self.config.data.mask
        variables = [processes.own_copy(state.variables) for state in states]
        predictors = [Predictor(self._model, v, use_mask=mask) for v in variables]
        return self._evaluator.start(int(states[0].step), predictors)

    def _settle(self) -> None:
        """Waits for the evaluation that is not finished, if there is one, and writes its entry."""
        if self._pending is not None:
            (state, entry, evaluation), self._pending = self._pending, None
            self._write(state, entry, evaluation.result())

    def _write(
        self, state: TrainState, entry: LogEntry, evaluation: Evaluation | None = None
    ) -> None:
        """Writes the log entry of a step for each seed, and a checkpoint where one is due."""
        self.seconds = entry["seconds"]
        entries = [
            {name: value[i] if isinstance(value, list) else value for name, value in entry.items()}
            | (evaluation.entry(i) if evaluation is not None else {})
            for i in range(len(self.runs))
        ]
        for log, of_seed in zip(self._logs, entries, strict=False):
            log.write(of_seed)
        if evaluation is not None:
            self.evaluation = evaluation
            self._progress.close()
            for seed, of_seed in zip(self.runs, entries, strict=True):
                which = "" if self.average is None else f"seed {seed}, "  # a row has several
                self.say(which + _one_line(of_seed))
            self._choose(state, evaluation, entries)
        if self._saves_at(entry["step"], evaluated=evaluation is not None):
            self._save(state, validation_mAP=entries[0].get("validation_mAP"))

    def _choose(
        self, state: TrainState, evaluation: Evaluation, entries: Sequence[LogEntry]
    ) -> None:
        """Counts an evaluation for every seed that has not converged, and keeps what is best so far."""
        going_on = [end is None for end in self.ends()]
        if self.average is not None:
            self.average.add(evaluation.step, evaluation.probs["eval"], going_on)
        if "validation" not in self.labels:
            return
        for i, entry in enumerate(entries):
            self._scored[i] += scored([entry])
            kept = self.chosen[i]
            if kept is self.checkpoints or not going_on[i] or not is_best(self._scored[i]):
                continue
            if entry["step"] not in kept.steps():
                seed = list(self.runs)[i]
                meta = checkpoint_meta(with_seed(self.config, seed), self.data)
                score = entry["validation_mAP"]
                kept.save(self.each_state(state)[i], meta, validation_mAP=score)
                # What training goes on from, saved next, must never be there without it.
                kept.wait()
        if None not in self.ends():
            self._end = state

    def _saves_at(self, step: int, *, evaluated: bool) -> bool:
        """Whether to save a checkpoint: where one is due, and where validation may choose the step."""
        if self.average is not None:
            return evaluated
        train = self.config.train
        return due(step, train.checkpoint_every, train) or (
            evaluated and "validation" in self.labels
        )

    def _save(self, state: TrainState, more: dict[str, Any] | None = None, **how: Any) -> None:
        processes.on_main(self._publish_logs)
        self.checkpoints.save(state, self._meta | (more or {}), **how)

    def _publish_logs(self) -> None:
        for log in self._logs:
            log.publish()

    def results(self) -> list[dict[str, Any]]:
        """The results of each run at the step that validation chose, else at its last."""
        last, ends = int(self.state.step), self.ends()
        evaluated_on = next((name for name in ("eval", "validation") if name in self.labels), None)
        self.finals, results = [], []
        for i, (seed, state) in enumerate(zip(self.runs, self.each_state(self.state), strict=True)):
            best = self.chosen[i].best_step() if "validation" in self.labels else None
            if best is not None and best != last:
                state = self.chosen[i].restore(best, jax.eval_shape(lambda state=state: state))
            final = self._final(i, state)
            self.finals.append(final)
            results.append(
                results_of(
                    with_seed(self.config, seed),
                    self.data,
                    state,
                    final.scores[evaluated_on][0] if evaluated_on else None,
                    evaluated_on=evaluated_on,
                    step_chosen_by="last step" if best is None else "best validation mAP",
                    # Seeds that train together go on until the last of them has converged.
                    steps_trained=last if self.average is None else ends[i] or last,
                    ended_by="last step" if ends[i] is None else "patience",
                    seconds=self.seconds,
                )
            )
        return results

    def _final(self, i: int, state: TrainState) -> Evaluation:
        """The evaluation of the `i`-th run's state, made already or now."""
        if self.evaluation is not None and self.evaluation.step == int(state.step):
            return self.evaluation.of(i)
        return self._evaluate([state])()


def _one_line(entry: LogEntry) -> str:
    """What a log entry says to a person: scores that are not defined are left out."""
    return ", ".join(
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in entry.items()
        if name != "grad_norm" and math.isfinite(value)
    )
