"""A row of a table: one setting trained with several seeds, each of which ends as a finished run.

    folder/seed0/       the run of a seed, with the checkpoint of the last step
    folder/.training/   the state of the seeds in training, to go on from; removed in the end

Several seeds may train together in one program. The results of each also have the mAP on resamples of the
eval clips, and the scores of the average of all its evaluations' probabilities, as the published programs
report them.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from mla_jax.config import Config
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
      UserError: there are no eval clips, the folder holds other settings, or training diverged.
    """
    if data.eval is None:
        raise UserError("a row needs clips to be evaluated on: give data.eval")
    data = dataclasses.replace(data, validation=None)  # which would choose the step
    folder = paths.as_path(folder)
    require_readable_later(folder)
    runs = {seed: RunFolder(folder / f"seed{seed}") for seed in seeds}
    for seed, run in runs.items():
        run.require_same_settings(with_seed(config, seed))
    finished = {seed: results for seed, run in runs.items() if (results := run.results())}
    for seed, results in finished.items():
        require_same(results, data.sets(), runs[seed], ("train", "eval"))
    left = [seed for seed in seeds if seed not in finished]
    if not left:
        say(f"{folder} is finished")
    with one_writer(folder):
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

    with Checkpoints(training / "checkpoints", keep=2) as checkpoints:
        session = Session(config, runs, data, checkpoints, say_of_row, average)
        session.train(should_stop)
        _finish(session, average)
    paths.remove_folder(training)
    if training.parent.exists() and not any(training.parent.iterdir()):
        training.parent.rmdir()  # in a bucket there are no empty folders


def _finish(session: Session, average: AveragedPredictions) -> None:
    """Writes the last checkpoint and the results of each seed."""
    results, labels, known = session.results(), session.labels["eval"], session.known["eval"]
    assert session.evaluation is not None
    states, counts = session.each_state(session.state), clip_counts(len(labels))
    for i, (seed, run) in enumerate(session.runs.items()):
        with Checkpoints(run.checkpoints, keep=1) as checkpoints:
            if checkpoints.latest_step() is None:
                meta = checkpoint_meta(with_seed(session.config, seed), session.data)
                checkpoints.save(states[i], meta)
        of_average = summaries.summarize(evaluate(average.mean(i), labels, known))
        resampled = bootstrap_map(session.evaluation.probs["eval"][i], labels, counts, known)
        results[i] |= {
            "average": {**of_average, "steps_averaged": average.steps},
            "seeds_together": len(session.runs),
            "bootstrap_mAP": resampled,
        }
        run.write_results(results[i])


def seeds_that_fit() -> int:
    """How many seeds to train in one program: all on an accelerator, one on a CPU.

    On a CPU one seed keeps every core busy, and several together are slower than one after the other.
    """
    return 1 if jax.default_backend() == "cpu" else 2**31
