"""Evaluating models while they are trained, and the average of their probabilities over the evaluations."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.errors import UserError
from mla_jax.evaluation.metrics import Metrics, evaluate
from mla_jax.inference.predictor import Predictor
from mla_jax.parallel import processes
from mla_jax.storage import files


class Evaluation(NamedTuple):
    """Models on each set of clips; by set, a list with one item for each model.

    Attributes:
      step: of the models.
      probs: clip probabilities, [clips, classes] float32.
      scores: made of them.
    """

    step: int
    probs: dict[str, list[np.ndarray]]
    scores: dict[str, list[Metrics]]

    def of(self, i: int) -> "Evaluation":
        """That of the i-th model alone."""
        probs = {name: [of_set[i]] for name, of_set in self.probs.items()}
        return Evaluation(
            self.step, probs, {name: [of_set[i]] for name, of_set in self.scores.items()}
        )

    def entry(self, i: int) -> dict[str, float]:
        """What the log says of the i-th model, such as `eval_mAP`."""
        return {
            f"{name}_{metric}": getattr(scores[i], metric)
            for name, scores in self.scores.items()
            for metric in ("mAP", "AUC", "d_prime")
        }


class Evaluator:
    """Evaluates models on sets of clips, of which each process takes its share.

    Attributes:
      labels: by set, [clips, classes] bool.
      known: by set, [clips, classes] bool, which labels are known; None: all.
    """

    def __init__(self, sets: dict[str, ClipSet]) -> None:
        self.labels = {name: clips.multi_hot() for name, clips in sets.items()}
        self.known = {name: clips.label_mask for name, clips in sets.items()}
        self._shares = {
            name: clips[processes.own_share(len(clips))] for name, clips in sets.items()
        }

    def start(self, step: int, predictors: Sequence[Predictor]) -> Callable[[], Evaluation]:
        """Gives the device all clips at once, for each model.

        Returns:
          A function that blocks until the probabilities are there, and scores them. Any thread may call it;
          with several processes only the main thread.
        """
        pending = {
            name: [predictor.start(clips) for predictor in predictors]
            for name, clips in self._shares.items()
        }

        def finish() -> Evaluation:
            found = Evaluation(step, {}, {})
            for name, labels in self.labels.items():
                probs = [processes.gather_shares(wait(), len(labels)) for wait in pending[name]]
                found.probs[name] = probs
                known = self.known[name]
                found.scores[name] = [evaluate(of_model, labels, known) for of_model in probs]
            return found

        return finish


class AveragedPredictions:
    """Sums the probabilities of models over all their evaluations, and keeps the sums in a folder.

    The published programs report the average.

    Attributes:
      steps: of the evaluations so far.
      counts: how many of them count for each model, always the first ones.
    """

    def __init__(self, folder: Path) -> None:
        self.steps: list[int] = []
        self.counts: list[int] = []
        self._folder = folder
        self._sums: np.ndarray | None = None

    def add(self, step: int, probs: Sequence[np.ndarray], counts: Sequence[bool] = ()) -> None:
        """Adds an evaluation, and writes the sums.

        Args:
          step: of the models.
          probs: [clips, classes] of each model.
          counts: which models it counts for; of those that it does not, no later one does. Empty: all.
        """
        added = np.stack(probs)
        counted = list(counts) or [True] * len(probs)
        added[~np.array(counted)] = 0
        self._sums = added if self._sums is None else self._sums + added
        self.steps.append(step)
        before = self.counts or [0] * len(probs)
        self.counts = [b + c for b, c in zip(before, counted, strict=True)]
        with files.replacing(self._file(step), binary=True) as file:
            np.savez(file, sums=self._sums, steps=np.array(self.steps), counts=self.counts)
        # Two checkpoints are kept, and one may still be in writing.
        for old in self._folder.glob("sums-*.npz"):
            if int(old.stem.removeprefix("sums-")) not in self.steps[-3:]:
                old.unlink()

    def restore(self, step: int) -> None:
        """Goes back to the sums as of a step; raises a UserError if they cannot be read."""
        path = self._file(step)
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
                self._sums, self.steps = kept["sums"], kept["steps"].tolist()
                # Older files have none: all counted.
                all_count = np.full(len(kept["sums"]), len(self.steps))
                self.counts = kept.get("counts", all_count).tolist()
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} cannot be read ({error}); remove {self._folder} to train its seeds again"
            ) from error

    def mean(self, i: int) -> np.ndarray:
        """The average of the i-th model, [clips, classes] float32."""
        assert self._sums is not None
        mean: np.ndarray = self._sums[i] / self.counts[i]
        return mean

    def steps_of(self, i: int) -> list[int]:
        """The steps that the average of the i-th model is of."""
        return self.steps[: self.counts[i]]

    def _file(self, step: int) -> Path:
        return self._folder / f"sums-{step}.npz"
