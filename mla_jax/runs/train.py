"""Training a run in its folder, or going on with it. `mla_jax.runs.use` uses what was trained."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax

from mla_jax.config import Config
from mla_jax.data.skipped import write_skipped
from mla_jax.errors import UserError
from mla_jax.models.multi_level import num_parameters
from mla_jax.parallel import processes
from mla_jax.parallel.mesh import make_mesh
from mla_jax.progress import silent
from mla_jax.runs import thresholds
from mla_jax.runs.checkpoints import Checkpoints, require_readable_later
from mla_jax.runs.convergence import end_of, scored
from mla_jax.runs.data import RunData
from mla_jax.runs.environment import describe_devices
from mla_jax.runs.fingerprint import fingerprint, require_same
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.session import Say, Session, ShouldStop
from mla_jax.storage import files
from mla_jax.storage.locks import one_writer
from mla_jax.training.loop import NotFiniteError
from mla_jax.training.memory import estimate_memory


def train(
    config: Config,
    workdir: str | Path,
    *,
    allow_other_embeddings: bool = False,
    say: Say = print,
    should_stop: ShouldStop | None = None,
) -> dict[str, Any]:
    """Trains a run, or goes on with it, and evaluates it.

    In a run of several processes (`mla_jax.parallel.processes.join`) each of them calls it with the same
    arguments; the main one writes and speaks.

    Args:
      config: the settings.
      workdir: the run's folder; made if need be. All processes must see the same one.
      allow_other_embeddings: whether embeddings that differ in meaning, of eval data or of what the run began
        with, are used all the same.
      say: takes a line for the user.
      should_stop: asked about once a second whether to save and leave, for instance a `StopOnSignal`.

    Returns:
      The results, as results.json has them.

    Raises:
      InterruptedRunError: `should_stop` said so; the run is saved at the step it had come to.
      UserError: the data cannot be used, the workdir is in use or holds a run with other settings, no
        checkpoint is whole, one cannot be written, or training diverged; several processes were given
        different data or settings, or do not see the same workdir.
    """
    folder = processes.together(lambda: RunFolder(workdir))
    processes.together(folder.require_trainable)
    say = say if processes.is_main() else silent
    processes.require_same("the settings", json.dumps(config.to_dict()).encode())
    results, is_finished = processes.from_main(lambda: _found(folder, config))
    if results is not None and is_finished:
        say(f"{folder} is finished: {results['steps_trained']} steps; see {folder.results_file}")
        if processes.is_main():
            _warn_of_changed_data(folder, config, results, say)
        return results
    processes.together(lambda: require_readable_later(folder.path))
    data = processes.together(
        lambda: RunData.open(config, allow_other_embeddings=allow_other_embeddings)
    )
    for name, clips in data.sets().items():
        same = f"{fingerprint(clips)} {clips.embedding!r}"
        processes.require_same(f"the {name} clips", same.encode())
    say(data.describe())
    # Only now, so that a mistake in the settings leaves no folder behind.
    with processes.main_enters(lambda: one_writer(folder.path)):
        processes.on_main(lambda: _begin(folder, config, data))
        processes.together(lambda: _require_shared(folder, config))
        return _train(config, folder, data, say, should_stop)


def _found(folder: RunFolder, config: Config) -> tuple[dict[str, Any] | None, bool]:
    """The results that are there already, and whether there is no more to do."""
    results = _results_of_same(folder, config)
    return results, results is not None and _is_finished(folder, config, results)


def _is_finished(folder: RunFolder, config: Config, results: dict[str, Any]) -> bool:
    """Whether a run with results has no more to do: it may be given more steps or patience, or eval data."""
    if config.data.eval and results["evaluated_on"] != "eval":
        return False
    if results["steps_trained"] >= config.train.steps:
        return True
    return end_of(scored(folder.metrics()), config.train.patience) is not None


def _warn_of_changed_data(
    folder: RunFolder, config: Config, results: dict[str, Any], say: Say
) -> None:
    """Says that results are of other data than those that are there now, or that this cannot be told."""
    if "fingerprints" not in results:
        return
    try:
        sets = RunData.open(config).sets()
    except UserError as error:
        say(
            f"warning: its data cannot be opened any more, so whether they are the same is not known: {error}"
        )
        return
    try:
        require_same(results, sets, folder, ("train", "validation", "eval"))
    except UserError as error:
        say(f"warning: {error}")


def _results_of_same(folder: RunFolder, config: Config) -> dict[str, Any] | None:
    """The results that are there already; a UserError if they, or the checkpoints, are of another run."""
    # A run that never came to a checkpoint has nothing that other settings could spoil.
    if folder.has_checkpoints():
        folder.require_can_go_on(config)
    return folder.results()


def _begin(folder: RunFolder, config: Config, data: RunData) -> None:
    _results_of_same(folder, config)  # another process may have begun a run meanwhile
    write_skipped(folder.skipped_file, data.skipped)
    folder.write_config(config)


def _require_shared(folder: RunFolder, config: Config) -> None:
    if not folder.config_file.exists() or folder.config() != config:
        raise UserError(
            f"process {jax.process_index()} does not see what process 0 has written in {folder}; give a "
            "workdir that all machines share, such as gs://bucket/folder"
        )


def _train(
    config: Config,
    folder: RunFolder,
    data: RunData,
    say: Say,
    should_stop: ShouldStop | None,
) -> dict[str, Any]:
    with Checkpoints(folder.checkpoints, keep=config.train.keep_checkpoints) as checkpoints:
        session = Session(config, {config.train.seed: folder}, data, checkpoints, say)
        # A run that is made longer is not finished any more.
        processes.on_main(lambda: folder.results_file.unlink(missing_ok=True))
        size = num_parameters(session.state.variables)
        devices = describe_devices(config.train.devices)
        say(f"{config.model.architecture}, {size:,} parameters, on {devices}")
        say(str(estimate_memory(config, data.train, size, make_mesh(config.train.devices))))
        try:
            session.train(should_stop)
        except NotFiniteError as error:
            processes.on_main(partial(_list_batch, error, folder, data))
            raise
        (results,) = session.results()
    processes.on_main(lambda: _write_results(session, folder, results))
    return results


def _list_batch(error: NotFiniteError, folder: RunFolder, data: RunData) -> None:
    """Lists the clips of the error's batch in a file, and raises the error with the file's name."""
    clips = [
        {"row": int(i), "video_id": data.train.video_ids[i].decode(errors="replace")}
        for i in error.rows
    ]
    what = {"step": error.step, "loss": str(error.loss), "grad_norm": str(error.grad_norm)}
    files.write_json(folder.not_finite_file, {**what, "clips": clips})
    raise UserError(f"{error}; {folder.not_finite_file} names all of them") from error


def _write_results(session: Session, folder: RunFolder, results: dict[str, Any]) -> None:
    (evaluation,), name = session.finals, "validation"
    if name in session.labels:
        chosen = thresholds.choose(
            evaluation.probs[name][0],
            session.labels[name],
            session.data.classes,
            evaluation.step,
            session.known[name],
        )
        files.write_json(folder.thresholds_file, chosen)
    folder.write_results(results)  # last: the run is finished when they are there
