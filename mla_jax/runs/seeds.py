"""A row of a table: one setting trained with several seeds, each of which ends as a finished run.

    folder/seed0/       the run of a seed, with the checkpoints of its last step and of its best by validation
    folder/.training/   the state of the seeds in training, to go on from; removed in the end

Several seeds may train together in one program; with `train.patience` each has its own end, and they train on
until the last has come to it. The results of a seed are those of the step that validation chose, where clips
are held out. They also have its scores at its last step; those of the average of its evaluations'
probabilities, as the published programs report them; the mAP of both on resamples of the eval clips; and the
average precisions on two halves of the eval clips, by a hash of the video id.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mla_jax.config import Config
from mla_jax.data.splits import hash_fractions
from mla_jax.errors import UserError
from mla_jax.evaluation import summaries
from mla_jax.evaluation.bootstrap import bootstrap_map, clip_counts
from mla_jax.evaluation.metrics import evaluate
from mla_jax.runs.checkpoints import Checkpoints, require_readable_later
from mla_jax.runs.data import RunData
from mla_jax.runs.evaluation import AveragedPredictions
from mla_jax.runs.fingerprint import require_same
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.results import checkpoint_meta
from mla_jax.runs.session import Say, Session, ShouldStop, with_seed
from mla_jax.storage import paths
from mla_jax.storage.locks import one_writer

_LAST = ("mAP", "AUC", "d_prime")


def train_row(
    config: Config,
    seeds: Sequence[int],
    folder: str | Path,
    data: RunData,
    *,
    together: int = 1,
    say: Say = print,
    should_stop: ShouldStop | None = None,
) -> list[dict[str, Any]]:
    """Trains those seeds of a row that are not finished, going on where they stopped.

    Args:
      config: the setting; its seed is not looked at, and it is evaluated every `eval_every` steps.
      seeds: of the weights, the batches and the dropout.
      folder: the row's folder.
      data: with eval clips.
      together: how many seeds train in one program.
      say: takes a line for the user.
      should_stop: asked about once a second whether to leave.

    Returns:
      The results of each seed's run.

    Raises:
      InterruptedRunError: `should_stop` said so; the row is saved as of its last evaluation.
      InUseError: another process trains it.
      UserError: there are no eval clips, the folder holds other settings, or training diverged.
    """
    if data.eval is None:
        raise UserError("a row needs clips to be evaluated on: give data.eval")
    folder = paths.as_path(folder)
    require_readable_later(folder)
    runs = {seed: RunFolder(folder / f"seed{seed}") for seed in seeds}
    for seed, run in runs.items():
        run.require_same_settings(with_seed(config, seed))
    with one_writer(folder):
        finished = {seed: results for seed, run in runs.items() if (results := run.results())}
        for seed, results in finished.items():
            require_same(results, data.sets(), runs[seed], ("train", "validation", "eval"))
        left = [seed for seed in seeds if seed not in finished]
        if not left:
            say(f"{folder} is finished")
        for start in range(0, len(left), together):
            group = {seed: runs[seed] for seed in left[start : start + together]}
            _train_together(config, group, folder, data, say, should_stop)
    return [results for run in runs.values() if (results := run.results()) is not None]


def _train_together(
    config: Config,
    runs: dict[int, RunFolder],
    folder: Path,
    data: RunData,
    say: Say,
    should_stop: ShouldStop | None,
) -> None:
    """Trains some seeds in one program to the last step, and leaves a finished run for each."""
    for seed, run in runs.items():
        run.write_config(with_seed(config, seed))
    training = folder / ".training" / "-".join(map(str, runs))
    average = AveragedPredictions(training)

    def say_of_row(line: str) -> None:
        say(f"{folder.name} {line}")

    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(Checkpoints(training / "checkpoints", keep=2))
        if checkpoints.latest_step() is None:
            _leave_others(runs, training, say_of_row)
        chosen = [
            stack.enter_context(Checkpoints(run.checkpoints, keep=1)) for run in runs.values()
        ]
        session = Session(config, runs, data, checkpoints, say_of_row, average, chosen)
        session.train(should_stop)
        results = session.results()
        for i, run in enumerate(runs.values()):
            results[i] |= _more_results(session, average, i)
            run.write_results(results[i])
    paths.remove_folder(training)
    if training.parent.exists() and not any(training.parent.iterdir()):
        training.parent.rmdir()  # in a bucket there are no empty folders


def _leave_others(runs: dict[int, RunFolder], training: Path, say: Say) -> None:
    """Removes what is left of trainings of these seeds that were begun otherwise, as with other seeds.

    Their state goes too: it could not go on without the checkpoints and the logs of its seeds.
    """
    for other in sorted(training.parent.iterdir()) if training.parent.exists() else ():
        if other != training and set(other.name.split("-")) & {str(seed) for seed in runs}:
            say(f"begins anew; what was trained of seeds {other.name} is removed")
            paths.remove_folder(other)
    for run in runs.values():
        if run.checkpoints.exists():
            paths.remove_folder(run.checkpoints)


def _more_results(session: Session, average: AveragedPredictions, i: int) -> dict[str, Any]:
    """What a row's results have beyond those of any run; saves the last state of the seed."""
    labels, known = session.labels["eval"], session.known["eval"]
    seed, run = list(session.runs.items())[i]
    last, checkpoints = session.each_state(session.state)[i], session.chosen[i]
    ends_here = average.steps_of(i)[-1] == int(last.step) or not checkpoints.steps()
    if ends_here and int(last.step) not in checkpoints.steps():
        meta = checkpoint_meta(with_seed(session.config, seed), session.data)
        checkpoints.save(last, meta)
    assert session.data.eval is not None
    probs, mean = session.finals[i].probs["eval"][0], average.mean(i)
    counts = clip_counts(len(labels))
    of_last = next(e for e in run.metrics() if e["step"] == average.steps_of(i)[-1])
    return {
        "last": {"step": of_last["step"]} | {s: of_last[f"eval_{s}"] for s in _LAST},
        "average": {
            **summaries.summarize(evaluate(mean, labels, known)),
            "steps_averaged": average.steps_of(i),
            "bootstrap_mAP": bootstrap_map(mean, labels, counts, known),
        },
        "seeds_together": len(session.runs),
        "bootstrap_mAP": bootstrap_map(probs, labels, counts, known),
        "halves": _halves(probs, labels, known, session.data.eval.video_ids),
    }


def _halves(
    probs: np.ndarray, labels: np.ndarray, known: np.ndarray | None, video_ids: np.ndarray
) -> list[np.ndarray]:
    """The average precision of each class on two halves of the clips; of none if one is empty."""
    first = hash_fractions(video_ids) < 0.5
    if first.all() or not first.any():
        return []
    return [
        evaluate(probs[h], labels[h], None if known is None else known[h]).average_precision
        for h in (first, ~first)
    ]


def seeds_that_fit() -> int:
    """How many seeds to train in one program: all on an accelerator, one on a CPU.

    On a CPU one seed keeps every core busy, and several together are slower than one after the other.
    """
    return 1 if jax.default_backend() == "cpu" else 2**31
