"""Trains the rows of a table in its folder, and gathers what all finished runs there have found.

WORKDIR/settings.json     what all rows share
WORKDIR/ROW/seedN/        a run's folder

Programs that are given the same folder and settings use each other's runs, and may run at once: each takes
the rows that no other is training, and ends when all of its rows are finished.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.table.rows import Schedule, folder_of, full_name
from mla_jax.commands import console
from mla_jax.config import Config
from mla_jax.errors import UserError
from mla_jax.parallel.signals import InterruptedRunError, StopOnSignal
from mla_jax.runs.data import RunData
from mla_jax.runs.fingerprint import require_same
from mla_jax.runs.folder import RunFolder, claim
from mla_jax.runs.seeds import train_row
from mla_jax.runs.session import with_seed
from mla_jax.storage import files
from mla_jax.storage.locks import InUseError

_SECONDS_BETWEEN_TRIES = 5


class Trained(NamedTuple):
    """A row, and the results of each of its finished seeds."""

    name: str
    config: Config
    results: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Training:
    """How the rows of a table are trained, and where.

    Attributes:
      workdir: the folder of the table.
      schedule: what all rows share.
      settings: of the table, kept in its folder: those of another table are refused there.
      seeds: of the weights, the batches and the dropout.
      together: how many seeds of a row train in one program.
      allow_other_embeddings: whether embeddings that differ in meaning are used all the same.
    """

    workdir: Path
    schedule: Schedule
    settings: dict[str, Any]
    seeds: list[int]
    together: int
    allow_other_embeddings: bool

    def open(self, rows: Sequence[str]) -> RunData:
        """Checks the settings of all rows, and opens the data of the first.

        Raises:
          UserError: there is no such row, or the data cannot be used.
        """
        configs = [self.schedule.config(name) for name in rows]
        return self._open(configs[0])

    def train(
        self,
        rows: Sequence[str],
        opened: RunData,
        file: Path,
        after_row: Callable[[list[Trained]], None],
    ) -> list[Trained]:
        """Trains what is not finished, going on where it stopped.

        Args:
          rows: their names.
          opened: `open` of them.
          file: of the results; the rows that it has from before stay in the table.
          after_row: takes all rows that have a finished seed, after each.

        Returns:
          All rows that have a finished seed, those of before first.

        Raises:
          InterruptedRunError: a signal came; what was done is saved.
          UserError: the folder holds another table, or training failed.
        """
        claim(self.workdir / "settings.json", self.settings, "a table")
        console.say(opened.describe())
        before: dict[str, Trained | None] = {}
        gathered: dict[str, Trained] = {}

        def so_far() -> list[Trained]:
            # Another command may have added rows meanwhile.
            for name in names_in(file):
                if name not in rows and name not in before:
                    before[name] = self._found(name, opened)
            there = [*before.values(), *(gathered.get(name) for name in rows)]
            return [trained for trained in there if trained is not None]

        so_far()  # what is amiss with the rows of before is said first
        elsewhere: set[str] = set()  # rows that other programs were found to train
        with StopOnSignal(console.say_stopping) as should_stop:
            while left := [name for name in rows if name not in gathered]:
                for name in left:
                    if name not in elsewhere:
                        console.say(f"row {rows.index(name) + 1} of {len(rows)}: {name}")
                    try:
                        gathered[name] = self._trained(name, opened, rows[0], should_stop)
                    except InUseError as error:
                        if name not in elsewhere:
                            console.say(f"left to the program that trains it: {error}")
                        elsewhere.add(name)
                    else:
                        after_row(so_far())
                if not any(name in gathered for name in left):
                    _wait(should_stop)
        return so_far()

    def _trained(
        self, name: str, opened: RunData, opened_for: str, should_stop: StopOnSignal
    ) -> Trained:
        """Trains what is not finished of a row, on data that were opened for another."""
        config, other = map(self.schedule.config, (name, opened_for))
        data = opened if _opening(config) == _opening(other) else self._open(config)
        train_row(
            config,
            self.seeds,
            folder_of(self.workdir, name),
            data,
            together=self.together,
            say=console.say,
            should_stop=should_stop,
        )
        return self._gather(name, config, data)

    def _open(self, config: Config) -> RunData:
        return RunData.open(config, allow_other_embeddings=self.allow_other_embeddings)

    def _found(self, name: str, opened: RunData) -> Trained | None:
        """A row that was trained before, if it still is what its name says and on the same eval clips."""
        try:
            found = self._gather(name, self.schedule.config(name), opened)
        except UserError as error:
            console.say(f"warning: row {name} is left out of the table: {error}")
            return None
        return found if found.results else None

    def _gather(self, name: str, config: Config, data: RunData) -> Trained:
        """The results of all finished seeds of a row, those that were not asked for now among them."""
        results = []
        folders = folder_of(self.workdir, name).glob("seed*")
        numbered = [f for f in folders if f.name.removeprefix("seed").isdigit()]
        for folder in sorted(numbered, key=lambda f: int(f.name.removeprefix("seed"))):
            run = RunFolder(folder)
            seed = int(folder.name.removeprefix("seed"))
            if (found := run.results()) is not None:
                run.require_same_settings(with_seed(config, seed))
                require_same(found, {"eval": data.sets()["eval"]}, run, ("eval",))
                results.append(found)
        return Trained(name, config, results)


def _wait(should_stop: StopOnSignal) -> None:
    until = time.monotonic() + _SECONDS_BETWEEN_TRIES
    while time.monotonic() < until:
        if should_stop():
            raise InterruptedRunError(0)
        time.sleep(0.1)


def _opening(config: Config) -> Any:
    """Of the data's settings, those that decide what is opened."""
    used = {"batch_size": 1, "sampler": "uniform", "examples": "clips", "mask": True}
    return dataclasses.replace(config.data, placement="auto", **used)  # type: ignore[arg-type]


def names_in(file: Path) -> list[str]:
    """The rows of a results file; none if there is no such file."""
    if not file.exists():
        return []
    there = files.read_json(file)
    with files.taken_as(file, "a table of this program; give another --workdir"):
        return [row["name"] for row in there["rows"]]


def require_of_row(file: Path, row: str) -> None:
    """Checks that a results file, if there is one, is of the same `row`.

    Raises:
      UserError: it is of another.
    """
    if not file.exists():
        return
    there = files.read_json(file)
    with files.taken_as(file, "of this program; give another --workdir"):
        if there["row"] != row:
            raise UserError(
                f"{file} is of the row {there['row']}, not of {row}; give another --workdir"
            )


def row_names(values: Sequence[str]) -> list[str]:
    """The full names of rows, each once."""
    return list(dict.fromkeys(map(full_name, values)))
