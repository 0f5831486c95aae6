"""A run in a folder: train it, or go on with it. `mla_jax.trained` is what comes after.

The rooms are wired together here and there; the command-line programs only turn flags into a call.

    workdir/config.json     the settings, as used
    workdir/metrics.jsonl   a line for every record, each with its step
    workdir/tensorboard/    the same for TensorBoard
    workdir/checkpoints/    state, settings, class list and checksum of a step
    workdir/skipped_records.jsonl   what was left out of the data, with `bad_records=skip`
    workdir/results.json    the final evaluation; its presence says that the run is finished
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax

from mla_jax import files, paths
from mla_jax.config import Config
from mla_jax.data.skipped import SKIPPED_FILE, write_skipped
from mla_jax.environment import describe_devices
from mla_jax.errors import UserError
from mla_jax.locks import one_writer
from mla_jax.models.multi_level import (
    MultiLevelModel,
    build_model,
    num_parameters,
)
from mla_jax.progress import silent
from mla_jax.run_data import RunData
from mla_jax.session import Session
from mla_jax.training import processes
from mla_jax.training.checkpoints import Checkpoints
from mla_jax.training.loop import NotFiniteError
from mla_jax.training.memory import estimate_memory
from mla_jax.training.mesh import make_mesh
from mla_jax.training.metrics_log import MetricsLog, NoLog
from mla_jax.training.state import fresh_state

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


def train(
    config: Config,
    workdir: str | Path,
    *,
    say: Say = print,
    should_stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Trains a run, or goes on with it, and evaluates it.

    In a run of several processes (`mla_jax.training.processes.join`) all of them call it alike; the main one
    writes and speaks.

    Args:
      config: the settings.
      workdir: the run's folder; made if need be. Several processes must all see it.
      say: takes a line for the user.
      should_stop: asked about once a second whether to save and leave, for instance a `StopOnSignal`.

    Returns:
      What results.json holds.

    Raises:
      InterruptedRunError: `should_stop` said so; the run is saved at the step it had come to.
      UserError: the data cannot be used, the workdir is in use or holds a run with other settings, no
        checkpoint is whole, one cannot be written, or training diverged; several processes were given
        different data or settings, or do not see the same workdir.
    """
    workdir = processes.together(lambda: paths.as_path(workdir))
    say = say if processes.is_main() else silent
    processes.require_same("the settings", json.dumps(config.to_dict()).encode())
    finished = processes.from_main(lambda: _finished(workdir, config))
    if finished is not None:
        say(f"{workdir} is finished: {finished['steps_trained']} steps; see {workdir}/results.json")
        return finished
    data = processes.together(lambda: RunData.open(config))
    for name, clips in data.sets().items():
        processes.require_same(f"the {name} clips", processes.fingerprint(clips))
    say(data.describe())
    model = build_model(config.model, data.train.num_classes)
    # Only now, so that a mistake in the settings leaves no folder behind.
    with processes.main_enters(lambda: one_writer(workdir)):
        processes.on_main(lambda: _begin(workdir, config, data))
        processes.together(lambda: _require_shared(workdir, config))
        results = _train(config, workdir, model, data, say, should_stop)
        processes.on_main(lambda: files.write_json(workdir / "results.json", results))
    return results


def _finished(workdir: Path, config: Config) -> dict[str, Any] | None:
    """What results.json holds of a run that has come to its end; of another than this an error."""
    _require_same_run(workdir, config)
    if not (workdir / "results.json").exists():
        return None
    results: dict[str, Any] = files.read_json(workdir / "results.json")
    return results if results["steps_trained"] >= config.train.steps else None


def _begin(workdir: Path, config: Config, data: RunData) -> None:
    _require_same_run(workdir, config)  # another may have begun one meanwhile
    write_skipped(workdir / SKIPPED_FILE, data.skipped)
    files.write_json(workdir / "config.json", config.to_dict())


def _require_shared(workdir: Path, config: Config) -> None:
    path = workdir / "config.json"
    if not path.exists() or files.read_json(path) != config.to_dict():
        raise UserError(
            f"process {jax.process_index()} does not see what process 0 has written in {workdir}; give a "
            "workdir that all machines share, such as gs://bucket/folder"
        )


def _train(
    config: Config,
    workdir: Path,
    model: MultiLevelModel,
    data: RunData,
    say: Say,
    should_stop: Callable[[], bool] | None,
) -> dict[str, Any]:
    with Checkpoints(workdir / "checkpoints", keep=config.train.keep_checkpoints) as checkpoints:
        state = fresh_state(model, data.train, config)
        window: dict[str, Any] = {}
        restored = checkpoints.restore_newest(state, say)
        if restored is not None:
            state, meta = restored
            window = meta.get("window", {})
            say(f"going on from step {int(state.step)} of {config.train.steps}")
        # A run made longer is not finished any more.
        processes.on_main(lambda: (workdir / "results.json").unlink(missing_ok=True))
        say(
            f"{config.model.architecture}, {num_parameters(state.variables):,} parameters, on "
            f"{describe_devices(config.train.devices)}"
        )
        mesh = make_mesh(config.train.devices)
        say(str(estimate_memory(config, data.train, num_parameters(state.variables), mesh)))
        with processes.together(lambda: _open_log(workdir, int(state.step))) as log:
            session = Session(model, data, config, checkpoints, log, say)
            try:
                state = session.fit(state, window, should_stop)
            except NotFiniteError as error:
                processes.on_main(partial(_tell_of, error, workdir, data))
                raise
            return session.results(state)


def _open_log(workdir: Path, step: int) -> MetricsLog | NoLog:
    return MetricsLog(workdir, step) if processes.is_main() else NoLog()


def _tell_of(error: NotFiniteError, workdir: Path, data: RunData) -> None:
    """Raises the same error, with a file of the whole batch."""
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
    raise UserError(f"{error}; {path} names all of them") from error


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
