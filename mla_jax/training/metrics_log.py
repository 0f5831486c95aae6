"""The run's figures as they come: metrics.jsonl, and TensorBoard beside it."""

import json
import os
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from absl import logging

from mla_jax import paths
from mla_jax.errors import UserError
from mla_jax.files import plain, write_text

# How long a bucket may lack the newest records, where no checkpoint is saved.
_BUCKET_SECONDS = 30.0


class MetricsLog:
    """Appends one JSON line a record to `metrics.jsonl`, and the scalars to `tensorboard/`.

    Opening it at a step drops the records after that step: a run that goes on from a checkpoint writes
    them again.

    In a bucket nothing can be appended to. There the files are written on this machine and put into the
    bucket whole: at most every 30 s; by `publish`, which goes before a checkpoint, since a run goes on from
    what the bucket has; and in the end.
    """

    def __init__(self, workdir: str | Path, step: int) -> None:
        # Imported here: it costs half a second that only a run needs.
        from tensorboardX import SummaryWriter

        workdir = paths.as_path(workdir)
        self.path = workdir / "metrics.jsonl"
        self.records = [r for r in read_metrics(self.path) if r["step"] <= step]
        self._bucket = None
        local = Path(workdir)
        if paths.is_remote(workdir):
            self._bucket = os.fspath(workdir)
            self._temporary = tempfile.TemporaryDirectory(prefix="mla_jax-log-")
            local = Path(self._temporary.name)
        self._local = local
        text = "".join(json.dumps(r) + "\n" for r in self.records)
        write_text(local / "metrics.jsonl", text)
        self._file = open(local / "metrics.jsonl", "a", encoding="utf-8")  # noqa: SIM115 (closed in `close`)
        self._board = SummaryWriter(
            str(local / "tensorboard"),
            purge_step=step + 1,
            # Names have the second that they were made in: two parts of a run must not be one object.
            filename_suffix=f".from{step}" if self._bucket else "",
        )
        self.publish()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        self._board.close()
        if self._bucket:
            try:
                self.publish()
            finally:
                self._temporary.cleanup()

    def write(self, record: dict[str, Any]) -> None:
        """Adds a record; it has a `step`."""
        self.records.append(record)
        self._file.write(json.dumps(plain(record)) + "\n")
        self._file.flush()
        for name, value in record.items():
            if isinstance(value, float):
                self._board.add_scalar(name, value, record["step"])
        self._board.flush()
        if self._bucket and time.monotonic() - self._published >= _BUCKET_SECONDS:
            try:
                self.publish()
            except UserError as error:  # the next checkpoint insists on it; until then it can wait
                logging.warning("%s; training goes on", error)

    def publish(self) -> None:
        """Puts what was written into the bucket, if the workdir is in one.

        Raises:
          UserError: it cannot be put there.
        """
        if self._bucket is None:
            return
        from mla_jax import buckets

        self._published = time.monotonic()
        files = [f for f in self._local.rglob("*") if f.is_file()]
        buckets.put([(f, f"{self._bucket}/{f.relative_to(self._local)}") for f in sorted(files)])


class NoLog:
    """The log of a process that is not the main one: nothing is written."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def __enter__(self) -> "NoLog":
        return self

    def __exit__(self, *of_error: object) -> None:
        pass

    def write(self, record: dict[str, Any]) -> None:
        """Takes a record, and leaves it."""

    def publish(self) -> None:
        """Has nothing to put anywhere."""


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; none if there is no such file.

    A last line that a killed process left half-written is passed over.

    Raises:
      UserError: another line is not a record.
    """
    path = paths.as_path(path)
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    records = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            record = json.loads(line)
            record["step"] += 0
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}, line {number} is no record with a step: {line[:80]!r}"
            ) from error
        records.append(record)
    return records
