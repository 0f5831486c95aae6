"""A run's folder: which files it has, what they hold, and when two runs are the same.

config.json             the settings
metrics.jsonl           the log: a line for each entry, with its step
tensorboard/            the same numbers for TensorBoard
checkpoints/            a folder for each step that is kept
damaged/                checkpoints that could not be read, moved out of the way
skipped_records.jsonl   the records left out of the data with `bad_records=skip`
not_finite.json         the batch whose loss or gradient was not finite
thresholds.json         a threshold for each class, chosen on the validation split
results.json            the final evaluation; the run is finished when it is there
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from mla_jax.config import Config
from mla_jax.data.skipped import SKIPPED_FILE
from mla_jax.errors import UserError
from mla_jax.runs.metrics_log import METRICS_FILE, TENSORBOARD_FOLDER, read_metrics
from mla_jax.storage import files, paths

MAY_CHANGE = (
    "train.steps",
    "train.log_every",
    "train.eval_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.devices",
    "data.eval",
    "data.placement",
)
"""Settings with which a run may go on: its length, and what is seen and kept of it, not its steps."""


class RunFolder:
    """The folder of a run, on a disk or in a bucket; it need not exist yet.

    Attributes:
      path: the folder; the other attributes are the files and folders in it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = paths.as_path(path)
        self.config_file = self.path / "config.json"
        self.metrics_file = self.path / METRICS_FILE
        self.tensorboard = self.path / TENSORBOARD_FOLDER
        self.checkpoints = self.path / "checkpoints"
        self.skipped_file = self.path / SKIPPED_FILE
        self.not_finite_file = self.path / "not_finite.json"
        self.thresholds_file = self.path / "thresholds.json"
        self.results_file = self.path / "results.json"

    def __str__(self) -> str:
        return str(self.path)

    def config(self) -> Config:
        """The settings of the run.

        Raises:
          UserError: there is no run here, or its settings cannot be read.
        """
        self._require(self.config_file, "it has no config.json; give the folder of a run")
        return Config.from_dict(files.read_json(self.config_file))

    def write_config(self, config: Config) -> None:
        """Writes the settings, which begins a run."""
        files.write_json(self.config_file, config.to_dict())

    def require_same_settings(self, config: Config, may_change: Collection[str] = ()) -> None:
        """Checks that the run here has these settings, if one was begun.

        Args:
          config: the settings.
          may_change: those that may differ, such as `MAY_CHANGE`.

        Raises:
          UserError: another one differs.
        """
        if self.config_file.exists():
            _require_same(self.path, "a run", _flat(self.config()), _flat(config), may_change)

    def metrics(self) -> list[dict[str, Any]]:
        """The entries of the log, each with its `step`; none if there is no log."""
        return read_metrics(self.metrics_file)

    def has_checkpoints(self) -> bool:
        """Whether the run has come to a checkpoint."""
        return any(p.name.isdigit() for p in self.checkpoints.glob("[0-9]*"))

    def require_checkpoints(self) -> None:
        """Raises a UserError if there is no run here, or one that was never trained."""
        self._require(self.checkpoints, "it has no checkpoints; train one there first")

    def results(self) -> dict[str, Any] | None:
        """The final evaluation; None if the run is not finished."""
        return files.read_json(self.results_file) if self.results_file.exists() else None

    def _require(self, path: Path, otherwise: str) -> None:
        if not self.path.is_dir():
            raise UserError(f"{self} does not exist; give the folder of a run")
        if not path.exists():
            raise UserError(f"{self} is no run: {otherwise}")


def claim(file: Path, settings: dict[str, Any], what: str) -> None:
    """Keeps the settings that a folder is made with in `file`, and refuses to go on with others.

    Args:
      file: a JSON file in the folder.
      settings: plain values by name.
      what: what the folder holds, such as "a table".

    Raises:
      UserError: the file has other settings.
    """
    if file.exists():
        _require_same(file.parent, what, files.read_json(file), settings)
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
