"""A run's folder: which files it has, what they hold, and when two runs are the same.

config.json             the settings
metrics.jsonl           the log: a line for each entry, with its step
tensorboard/            the same numbers for TensorBoard
checkpoints/            a folder for each step that is kept
model.npz               instead of them: a model that was given away, without its training state
damaged/                checkpoints that could not be read, moved out of the way
skipped_records.jsonl   the records left out of the data with `bad_records=skip`
not_finite.json         the batch whose loss or gradient was not finite
thresholds.json         a threshold for each class, chosen on the validation split
results.json            the final evaluation; the run is finished when it is there
"""

import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from mla_jax.config import Config
from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.data.skipped import SKIPPED_FILE, Skipped, list_beside
from mla_jax.errors import UserError
from mla_jax.runs.metrics_log import METRICS_FILE, TENSORBOARD_FOLDER, read_metrics
from mla_jax.runs.names import folder_of
from mla_jax.storage import files, outputs, paths
from mla_jax.storage.locks import LOCK_FILE

_MOST_NAMED = 5  # runs of a folder in a message

MAY_CHANGE = (
    "train.steps",
    "train.log_every",
    "train.eval_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.patience",
    "train.devices",
    "data.eval",
    "data.placement",
)
"""Settings with which a run may go on: its length, and what is seen and kept of it, not its steps.

Where the learning rate falls over `train.steps`, that number decides every step, and may not change.
"""

SCORES = ("mAP", "AUC", "d_prime", "mean_class_d_prime", "average_precision")
"""What results hold that may be NaN, where a class has no positives or no negatives."""

_DATA_FILES = (FILE_NAME, SKIPPED_FILE, "manifest.json")
_DATA_ENDINGS = (".npy", ".npz", ".h5", ".hdf5", ".tfrecord", ".tfrecords")


class RunFolder:
    """The folder of a run, on a disk or in a bucket; it need not exist yet. Or of a model of the package.

    Attributes:
      path: the folder; the other attributes are the files and folders in it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = paths.as_path(folder_of(path))
        self.config_file = self.path / "config.json"
        self.metrics_file = self.path / METRICS_FILE
        self.tensorboard = self.path / TENSORBOARD_FOLDER
        self.checkpoints = self.path / "checkpoints"
        self.model_file = self.path / "model.npz"
        self.skipped_file = self.path / SKIPPED_FILE
        self.not_finite_file = self.path / "not_finite.json"
        self.thresholds_file = self.path / "thresholds.json"
        self.results_file = self.path / "results.json"

    def __str__(self) -> str:
        return str(self.path)

    def config(self) -> Config:
        """The settings of the run; a UserError if there is none here."""
        self._require(self.config_file, "it has no config.json; give the folder of a run")
        values = files.read_json(self.config_file)
        with files.taken_as(self.config_file, "the settings of a run; give the folder of a run"):
            return Config.from_dict(values)

    def write_config(self, config: Config) -> None:
        """Writes the settings, which begins a run."""
        files.write_json(self.config_file, config.to_dict())

    def require_same_settings(self, config: Config, may_change: Collection[str] = ()) -> None:
        """Checks the settings of the run here, if one was begun; those in `may_change` may differ.

        Raises:
          UserError: others differ; the message names them.
        """
        if self.config_file.exists():
            _require_same(self.path, "a run", _flat(self.config()), _flat(config), may_change)

    def require_can_go_on(self, config: Config) -> None:
        """Checks that the run here, if one was begun, can go on with these settings (`MAY_CHANGE`).

        Raises:
          UserError: others differ; the message names them.
        """
        self.require_same_settings(config, MAY_CHANGE)
        if config.optim.schedule == "constant" or not self.config_file.exists():
            return
        if (begun := self.config().train.steps) != config.train.steps:
            raise UserError(
                f"{self} was begun with train.steps={begun}, over which its learning rate falls to zero "
                f"(optim.schedule={config.optim.schedule}): it cannot go on to {config.train.steps}; give "
                "that number, or another --workdir"
            )

    def metrics(self) -> list[dict[str, Any]]:
        """The entries of the log, each with its `step`; none if there is no log."""
        return read_metrics(self.metrics_file)

    def has_model(self) -> bool:
        """Whether there is a model here: the run has come to a checkpoint, or a model was given away."""
        return self.has_checkpoints() or self.model_file.exists()

    def has_checkpoints(self) -> bool:
        """Whether the run has come to a checkpoint."""
        return any(p.name.isdigit() for p in self.checkpoints.glob("[0-9]*"))

    def require_model(self) -> None:
        """Raises a UserError if there is no run here, or one that was never trained."""
        if not self.model_file.exists():
            self._require(self.checkpoints, "it has no checkpoints; train one there first")

    def require_trainable(self) -> None:
        """Raises a UserError if a model was put here that nothing can be trained into."""
        if self.model_file.exists():
            raise UserError(
                f"{self} holds a model without the state of its training, which cannot go on; give another "
                "--workdir"
            )

    def results(self) -> dict[str, Any] | None:
        """The final evaluation, with NaN for what is not defined; None if the run is not finished.

        Raises:
          UserError: the file is damaged, or of another kind.
        """
        if not self.results_file.exists():
            return None
        results: dict[str, Any] = files.read_json(self.results_file)
        kind = "a run's results; move it away, and train writes them again from the last checkpoint"
        with files.taken_as(self.results_file, kind):
            for needed in ("step", "steps_trained", "evaluated_on"):
                results[needed]
            for scores in (
                results,
                results.get("average", {}),
                results.get("last", {}),
                *results["classes"],
            ):
                scores |= {k: math.nan for k in SCORES if k in scores and scores[k] is None}
            for part in (results, results.get("average", {})):
                if "bootstrap_mAP" in part:
                    part["bootstrap_mAP"] = [files.number(v) for v in part["bootstrap_mAP"]]
            if "halves" in results:
                results["halves"] = [[files.number(v) for v in half] for half in results["halves"]]
        return results

    def write_results(self, results: dict[str, Any]) -> None:
        """Writes the final evaluation, with which the run is finished."""
        files.write_json(self.results_file, results)

    def owns(self, path: Path) -> bool:
        """Whether a local path without links is that of a file of the run, or in one of its folders."""
        return any(path == own or own in path.parents for own in map(paths.resolved, self._own()))

    def _own(self) -> Iterable[Path]:
        files_and_folders = [value for value in vars(self).values() if value is not self.path]
        return [*files_and_folders, self.path / "damaged", self.path / LOCK_FILE]

    def _require(self, path: Path, otherwise: str) -> None:
        if not self.path.is_dir():
            raise UserError(f"{self} does not exist; give the folder of a run")
        if not path.exists():
            inside = sorted(p.name for p in self.path.iterdir() if RunFolder(p).has_model())
            if inside:
                more = ", ..." if len(inside) > _MOST_NAMED else ""
                names = ", ".join(inside[:_MOST_NAMED]) + more
                raise UserError(
                    f"{self} is no run, but the folder of runs; give one of them: {names}"
                )
            raise UserError(f"{self} is no run: {otherwise}")


def require_output(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Looks at a file that the user wants written, before the work begins.

    Args:
      path: the file.
      inputs: what the user wants read, which must not be overwritten: files, globs, folders of data.

    Raises:
      UserError: it cannot be written, is read, belongs to data, or is a run's own.
    """
    outputs.require_writable(path, inputs)
    if paths.is_remote(path):
        return
    target = paths.resolved(path)
    if target.exists() and (target.name in _DATA_FILES or target.suffix in _DATA_ENDINGS):
        raise UserError(f"{path} belongs to data that are there; give another output")
    for folder in target.parents:
        run = RunFolder(folder)
        if run.config_file.is_file() and run.owns(target):
            raise UserError(
                f"{path} is a file that the run in {folder} keeps for itself; give another output"
            )


def list_skipped(output: str | Path, skipped: Sequence[Skipped]) -> None:
    """Lists the records that were left out beside an output; nothing lies beside a stream."""
    if outputs.is_stream(output):
        return
    try:
        list_beside(output, skipped)
    except OSError as error:  # the longer name is too long
        if skipped:
            raise UserError(
                f"the records left out cannot be listed beside {output}: {error.strerror or error}"
            ) from error


def claim(file: Path, settings: dict[str, Any], what: str) -> None:
    """Keeps the settings that a folder is made with in a JSON file there.

    Raises:
      UserError: the file has other settings; the message says `what` the folder holds, such as "a table".
    """
    if file.exists():
        kept = files.read_json(file)
        with files.taken_as(file, f"of {what}; give another --workdir"):
            _require_same(file.parent, what, kept, settings)
    else:
        files.write_json(file, settings)


def _require_same(
    folder: Path,
    what: str,
    old: dict[str, Any],
    new: dict[str, Any],
    may_change: Collection[str] = (),
) -> None:
    differing = [
        f"{name} (was {old.get(name)!r}, now {new.get(name)!r})"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and name not in may_change
    ]
    if differing:
        raise UserError(
            f"{folder} holds {what} with other settings: {', '.join(differing)}; give another --workdir, "
            "or the same settings to go on"
        )


def _flat(config: Config) -> dict[str, Any]:
    return {
        f"{section}.{name}": value
        for section, fields in config.to_dict().items()
        for name, value in fields.items()
    }


def classes_of(results: dict[str, Any]) -> ClassList | None:
    """The classes that `RunFolder.results` are of; None if they do not say."""
    rows = results.get("classes")
    if not rows:
        return None
    return ClassList(tuple(r["mid"] for r in rows), tuple(r["name"] for r in rows))
