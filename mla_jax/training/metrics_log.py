"""The run's figures as they come: metrics.jsonl, and TensorBoard beside it."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from mla_jax.errors import UserError
from mla_jax.files import plain, write_text


class MetricsLog:
    """Appends one JSON line a record to `metrics.jsonl`, and the scalars to `tensorboard/`.

    Opening it at a step drops the records after that step: a run that goes on from a checkpoint writes
    them again.
    """

    def __init__(self, workdir: str | Path, step: int) -> None:
        # Imported here: it costs half a second that only a run needs.
        from tensorboardX import SummaryWriter

        workdir = Path(workdir)
        self.path = workdir / "metrics.jsonl"
        self.records = [r for r in read_metrics(self.path) if r["step"] <= step]
        write_text(self.path, "".join(json.dumps(r) + "\n" for r in self.records))
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 (closed in __exit__)
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

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

    def write(self, record: dict[str, Any]) -> None:
        """Adds a record; it has a `step`."""
        self.records.append(record)
        self._file.write(json.dumps(plain(record)) + "\n")
        self._file.flush()
        for name, value in record.items():
            if isinstance(value, float):
                self._board.add_scalar(name, value, record["step"])
        self._board.flush()


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


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; none if there is no such file.

    A last line that a killed process left half-written is passed over.

    Raises:
      UserError: another line is not a record.
    """
    path = Path(path)
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
