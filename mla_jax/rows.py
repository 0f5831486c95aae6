"""A row of a table: one setting trained with several seeds, each of which ends as a finished run.

    folder/seed0/       a run's folder as `mla_jax.runs` has it, with the checkpoint of the last step
    folder/.training/   the state of seeds that are being trained, to go on from; removed in the end

Several seeds may train together in one compiled program. Beside the figures of the last step, a run's
`results.json` has those of the average of all its evaluations' probabilities, as the published programs
report them, and the mAP on resamples of the eval clips.
"""

import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mla_jax import files, paths
from mla_jax.config import Config
from mla_jax.errors import UserError
from mla_jax.evaluation import report
from mla_jax.evaluation.bootstrap import bootstrap_map, clip_counts
from mla_jax.evaluation.metrics import Metrics
from mla_jax.evaluation.metrics import evaluate as evaluate_scores
from mla_jax.evaluation.predict import predict
from mla_jax.locks import one_writer
from mla_jax.models.multi_level import build_model, num_parameters
from mla_jax.progress import Progress
from mla_jax.run_data import RunData
from mla_jax.session import checkpoint_meta, results_of
from mla_jax.training.checkpoints import Checkpoints
from mla_jax.training.interruption import InterruptedRunError
from mla_jax.training.loop import fit
from mla_jax.training.metrics_log import MetricsLog
from mla_jax.training.state import TrainState, fresh_state, stack_states, unstack_state
from mla_jax.training.window import Record, Window

NUM_RESAMPLES = 200

Say = Callable[[str], None]


def seed_folder(folder: Path, seed: int) -> Path:
    """Where the run of a seed lies."""
    return folder / f"seed{seed}"


def train_row(
    config: Config,
    seeds: Sequence[int],
    folder: str | Path,
    data: RunData,
    *,
    together: int = 1,
    say: Say = print,
    should_stop: Callable[[], bool] | None = None,
) -> list[dict[str, Any]]:
    """Trains what is not yet trained of a row, going on where it stopped.

    Args:
      config: the setting; its seed is not looked at, and it is evaluated every `eval_every` steps.
      seeds: of the weights, the batches and the dropout.
      folder: the row's folder.
      data: with an eval split.
      together: how many seeds train in one program.
      say: takes a line for the user.
      should_stop: asked about once a second whether to leave.

    Returns:
      What results.json holds, for every seed.

    Raises:
      InterruptedRunError: `should_stop` said so; the row is saved as of its last evaluation.
      UserError: there is no eval split, the folder holds other settings, or training diverged.
    """
    if data.eval is None:
        raise UserError("a row needs clips to be evaluated on: give data.eval")
    folder = paths.as_path(folder)
    _require_same_setting(config, seeds, folder)
    left = [s for s in seeds if not (seed_folder(folder, s) / "results.json").exists()]
    if not left:
        say(f"{folder} is finished")
    with one_writer(folder):
        for start in range(0, len(left), together):
            group = _Group(config, left[start : start + together], folder, data, say)
            group.train(should_stop)
    return [files.read_json(seed_folder(folder, s) / "results.json") for s in seeds]


def _of_seed(config: Config, seed: int) -> Config:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))


def _require_same_setting(config: Config, seeds: Sequence[int], folder: Path) -> None:
    for seed in seeds:
        path = seed_folder(folder, seed) / "config.json"
        if path.exists() and Config.from_dict(files.read_json(path)) != _of_seed(config, seed):
            raise UserError(
                f"{path.parent} holds a run with other settings; give another workdir, or remove it"
            )


class _Group:
    """Seeds that train together."""

    def __init__(
        self, config: Config, seeds: Sequence[int], folder: Path, data: RunData, say: Say
    ) -> None:
        assert data.eval is not None
        self.config = _of_seed(config, seeds[0])
        self.seeds, self.folder, self.data, self.say = list(seeds), folder, data, say
        self.eval, self.labels = data.eval, data.eval.multi_hot()
        self.model = build_model(config.model, data.train.num_classes)
        self.state_folder = folder / ".training" / "-".join(map(str, seeds))
        self.scores: list[Metrics] = []
        self.sums: list[np.ndarray] = []
        self.probs: list[np.ndarray] = []
        self.steps_averaged: list[int] = []

    def train(self, should_stop: Callable[[], bool] | None) -> None:
        """Trains to the last step and leaves a finished run for every seed."""
        for seed in self.seeds:
            config = _of_seed(self.config, seed)
            files.write_json(seed_folder(self.folder, seed) / "config.json", config.to_dict())
        with Checkpoints(self.state_folder / "checkpoints", keep=2) as checkpoints:
            state = self._fresh()
            restored = checkpoints.restore_newest(state, self.say)
            if restored is not None:
                state, _ = restored
                self._restore_sums(int(state.step))
                self.say(f"{self.folder}: going on from step {int(state.step)}")
            logs = [MetricsLog(seed_folder(self.folder, s), int(state.step)) for s in self.seeds]
            try:
                state = self._fit(state, checkpoints, logs, should_stop)
                self._finish(state, [float(log.records[-1]["seconds"]) for log in logs])
            finally:
                for log in logs:
                    log.close()
        paths.remove_folder(self.state_folder)
        above = self.state_folder.parent
        if above.exists() and not any(above.iterdir()):  # a bucket has no empty folders
            above.rmdir()

    def _fresh(self) -> TrainState:
        states = [
            fresh_state(self.model, self.data.train, _of_seed(self.config, s)) for s in self.seeds
        ]
        # A single seed trains as any run does, to the same bits.
        return stack_states(states) if len(states) > 1 else states[0]

    def _each(self, state: TrainState) -> list[TrainState]:
        if len(self.seeds) == 1:
            return [state]
        return [unstack_state(state, i) for i in range(len(self.seeds))]

    def _fit(
        self,
        state: TrainState,
        checkpoints: Checkpoints,
        logs: list[MetricsLog],
        should_stop: Callable[[], bool] | None,
    ) -> TrainState:
        before = float(logs[0].records[-1]["seconds"]) if logs[0].records else 0.0
        progress = Progress("train", self.config.train.steps, "steps", start=int(state.step))

        def on_record(state: TrainState, record: Record) -> None:
            record["seconds"] += before
            for i, log in enumerate(logs):
                log.write({k: v[i] if isinstance(v, list) else v for k, v in record.items()})
            if "eval_mAP" in record:
                progress.close()
                for seed, scores in zip(self.seeds, self.scores, strict=True):
                    self.say(
                        f"{self.folder.name} seed {seed}, step {record['step']}: mAP {scores.mAP:.4f}"
                    )
                # The sums first: a checkpoint without them could not be gone on from.
                self._save_sums(record["step"])
                for log in logs:
                    log.publish()
                checkpoints.save(state, checkpoint_meta(self.config, self.data))

        def on_stop(state: TrainState, window: Window, seconds: float) -> None:
            raise InterruptedRunError(checkpoints.latest_step() or 0)

        try:
            return fit(
                self.model,
                state,
                self.data.train,
                self.config,
                seeds=self.seeds if len(self.seeds) > 1 else None,
                evaluate=self._evaluate,
                on_record=on_record,
                on_progress=lambda step, loss: progress.update(step, f"loss {loss:.4f}"),
                should_stop=should_stop,
                on_stop=on_stop,
            )
        finally:
            progress.close()

    def _predict(self, state: TrainState) -> list[np.ndarray]:
        mask = self.config.data.mask
        return [
            predict(self.model, one.variables, self.eval, use_mask=mask)
            for one in self._each(state)
        ]

    def _evaluate(self, state: TrainState) -> Record:
        self.probs = self._predict(state)
        before = self.sums or [np.zeros_like(probs) for probs in self.probs]
        self.sums = [a + b for a, b in zip(before, self.probs, strict=True)]
        self.steps_averaged.append(int(state.step))
        self.scores = [evaluate_scores(probs, self.labels) for probs in self.probs]
        return {
            "eval_mAP": [s.mAP for s in self.scores],
            "eval_AUC": [s.AUC for s in self.scores],
            "eval_d_prime": [s.d_prime for s in self.scores],
        }

    def _save_sums(self, step: int) -> None:
        path = self.state_folder / f"sums-{step}.npz"
        with files.replacing(path, binary=True) as file:
            np.savez(file, sums=np.stack(self.sums), steps=np.array(self.steps_averaged))
        # Those of the two checkpoints that are kept, and of the one that is being written.
        kept = self.steps_averaged[-3:]
        for old in self.state_folder.glob("sums-*.npz"):
            if int(old.stem.removeprefix("sums-")) not in kept:
                old.unlink()

    def _restore_sums(self, step: int) -> None:
        path = self.state_folder / f"sums-{step}.npz"
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
                self.sums, self.steps_averaged = list(kept["sums"]), kept["steps"].tolist()
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} cannot be read ({error}); remove {self.state_folder} to train its seeds again"
            ) from error

    def _finish(self, state: TrainState, seconds: list[float]) -> None:
        if not self.probs:  # it had come to the last step before
            self.probs = self._predict(state)
            self.scores = [evaluate_scores(probs, self.labels) for probs in self.probs]
        counts = clip_counts(len(self.eval), NUM_RESAMPLES)
        for i, (seed, one) in enumerate(zip(self.seeds, self._each(state), strict=True)):
            config, folder = _of_seed(self.config, seed), seed_folder(self.folder, seed)
            with Checkpoints(folder / "checkpoints", keep=1) as checkpoints:
                if checkpoints.latest_step() is None:
                    checkpoints.save(one, checkpoint_meta(config, self.data))
            results = results_of(
                config,
                self.data,
                "eval",
                self.scores[i],
                step=int(one.step),
                step_chosen_by="last step",
                steps_trained=int(one.step),
                parameters=num_parameters(one.variables),
                seconds=seconds[i],
            )
            average = evaluate_scores(self.sums[i] / len(self.steps_averaged), self.labels)
            results["average"] = {
                **report.summarize(average),
                "steps_averaged": self.steps_averaged,
            }
            results["seeds_together"] = len(self.seeds)
            results["bootstrap_mAP"] = bootstrap_map(self.probs[i], self.labels, counts).tolist()
            files.write_json(folder / "results.json", results)


def seeds_that_fit() -> int:
    """How many seeds to train in one program: all on an accelerator, one on a CPU.

    On a CPU one seed keeps every core busy, and several together are slower than one after the other.
    """
    return 1 if jax.default_backend() == "cpu" else 2**31
