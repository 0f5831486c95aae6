"""The log of a run in training: metrics.jsonl, and the same numbers for TensorBoard."""

import contextlib
import math
import time
from pathlib import Path
from typing import Any

from absl import logging

from mla_jax.errors import UserError
from mla_jax.storage import paths
from mla_jax.storage.files import output_folder, parse_json, to_json, write_text

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
PUBLISH_SECONDS = 30.0
"""How long a bucket may lack the newest lines, where no checkpoint is saved."""


class MetricsLog:
    """Appends each log entry to `metrics.jsonl` as a line of JSON, and its numbers to `tensorboard/`.

    Opening it at a step drops the entries after that step: a run that goes on from a checkpoint writes
    them again.

    In a bucket nothing can be appended to. There the files are written on this machine and put into the
    bucket whole: every 30 s at most, when `publish` is called, and in the end.

    Attributes:
      entries: all entries, from the first step on.
    """

    def __init__(self, workdir: str | Path, step: int) -> None:
        # Imported here: it costs half a second that only a run needs.
        from tensorboardX import SummaryWriter

        workdir = paths.as_path(workdir)
        self.entries = [e for e in read_metrics(workdir / METRICS_FILE) if e["step"] <= step]
        self._open = contextlib.ExitStack()
        folder, self._put = self._open.enter_context(output_folder(workdir))
        lines = folder / METRICS_FILE
        write_text(lines, "".join(to_json(e) + "\n" for e in self.entries))
        self._file = self._open.enter_context(open(lines, "a", encoding="utf-8"))  # noqa: SIM115
        self._board = self._open.enter_context(
            SummaryWriter(
                str(folder / TENSORBOARD_FOLDER),
                purge_step=step + 1,
                # Names have the second that they were made in: two parts of a run must not be one object.
                filename_suffix=f".from{step}" if paths.is_remote(workdir) else "",
            )
        )
        self.publish()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files and publishes them a last time."""
        self._open.close()

    def write(self, entry: dict[str, Any]) -> None:
        """Adds an entry, which has a `step`."""
        self.entries.append(entry)
        self._file.write(to_json(entry) + "\n")
        self._file.flush()
        for name, value in entry.items():
            if isinstance(value, float) and math.isfinite(value):  # curves have no other points
                self._board.add_scalar(name, value, entry["step"])
        self._board.flush()
        if time.monotonic() - self._published >= PUBLISH_SECONDS:
            try:
                self.publish()
            except UserError as error:  # the next checkpoint insists on it; until then it can wait
                logging.warning("%s; training goes on", error)

    def publish(self) -> None:
        """Puts what was written so far into the bucket, if the workdir is in one.

        Raises:
          UserError: it cannot be put there.
        """
        self._published = time.monotonic()
        self._put()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The entries of a metrics.jsonl; none if there is no such file.

    What is NaN is null in the file. A last line that a killed process left half-written is ignored.

    Raises:
      UserError: another line is damaged.
    """
    path = paths.as_path(path)
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    entries = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            entry = parse_json(line)
            entry["step"] += 0
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}, line {number} is no log entry with a step: {line[:80]!r}"
            ) from error
        entries.append({k: math.nan if v is None else v for k, v in entry.items()})
    return entries
