"""Long work in parts: those that are finished are kept in a folder beside the output until all is there."""

import concurrent.futures
import dataclasses
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mla_jax.audio.embed import Embedded, Span
from mla_jax.audio.encoder import Encoder
from mla_jax.audio.sound_file import SoundInfo, sound_info
from mla_jax.audio.spans import joined, spans_of
from mla_jax.errors import UserError
from mla_jax.recordings.inputs import Recording
from mla_jax.storage import files

ENDING = ".unfinished"
_SETTINGS = "settings.json"
_ABOUT = "about"
_MOST_FILES = 500  # of a part


class Take(NamedTuple):
    """A recording, or of a long one a span."""

    recording: Recording
    span: Span


@dataclasses.dataclass(frozen=True)
class Part:
    """What is embedded together.

    Attributes:
      number: its place, from 0.
      takes: recordings, and spans of long ones.
      seconds: how long they are by their headers.
    """

    number: int
    takes: tuple[Take, ...]
    seconds: float


def plan_parts(
    recordings: Sequence[Recording], encoder: Encoder, part_seconds: float
) -> list[Part]:
    """The recordings in parts, in their order: always the same parts, so that each can be made again.

    Args:
      recordings: the files; those that are longer than two parts are cut into spans.
      encoder: says how long segments are.
      part_seconds: how much sound makes a part.
    """
    step = max(2, round(part_seconds / encoder.hop_seconds))
    plan: list[Part] = []
    waiting: list[Take] = []
    seconds = 0.0
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for recording, info in zip(recordings, pool.map(_header, recordings), strict=True):
            left = info.seconds if info else 0.0
            for span in spans_of(recording.path, info, encoder, step):
                length = left if span.count is None else span.count * encoder.hop_seconds
                waiting.append(Take(recording, span))
                seconds, left = seconds + length, left - length
                if seconds >= part_seconds or len(waiting) == _MOST_FILES:
                    plan.append(Part(len(plan), tuple(waiting), seconds))
                    waiting, seconds = [], 0.0
    if waiting:
        plan.append(Part(len(plan), tuple(waiting), seconds))
    return plan


def _header(recording: Recording) -> SoundInfo | None:
    try:
        return sound_info(recording.path)
    except UserError:  # which is said when its turn comes
        return None


class Parts:
    """The parts of a collection, and what is kept of them.

    Attributes:
      folder: where they are kept: the output's name with `.unfinished`.
      plan: the parts, in order.
    """

    def __init__(self, output: Path, encoder: Encoder, plan: Sequence[Part]) -> None:
        self.folder = output.with_name(output.name + ENDING)
        self.plan = plan
        self._encoder = encoder

    def claim(self) -> None:
        """Begins the folder, or checks that what is there was begun with this encoder and these files.

        Raises:
          UserError: it was begun with others; the message says which.
        """
        kept_in = self.folder / _SETTINGS
        recordings = [take.recording for part in self.plan for take in part.takes]
        ours: dict[str, Any] = files.plain(
            {
                "encoder": self._encoder.describe().to_json(),
                "files": {recording.name: _state(recording) for recording in recordings},
                "parts": {"number": len(self.plan)},
            }
        )
        if not kept_in.exists():
            files.write_json(kept_in, ours)
            return
        kept = files.read_json(kept_in)
        with files.taken_as(kept_in, "of work that was begun; remove its folder"):
            differing = [
                f"{what} {name} (was {old}, now {new})"
                for what in ("encoder", "files", "parts")
                for name, old, new in _differences(kept[what], ours[what])
            ]
        if differing:
            more = f", and {len(differing) - 2} more" if len(differing) > 2 else ""
            raise UserError(
                f"{self.folder} was begun with other settings or files: {'; '.join(differing[:2])}{more}; "
                "give the same to go on, or remove that folder to begin anew"
            )

    def missing(self) -> list[Part]:
        """The parts that are not made yet."""
        return [part for part in self.plan if self._read(part) is None]

    def all(self) -> Iterator[tuple[Recording, Embedded]]:
        """Every recording with what became of it; a part is in memory at a time, or a long recording.

        Raises:
          UserError: a part is not there.
        """
        for recording, takes in itertools.groupby(self._takes(), key=lambda take: take[0]):
            yield recording, joined([embedded for _, embedded in takes])

    def _takes(self) -> Iterator[tuple[Recording, Embedded]]:
        for part in self.plan:
            made = self._read(part)
            if made is None:
                raise UserError(f"{self._file(part)} is damaged or gone; give the command again")
            for take, embedded in zip(part.takes, made, strict=True):
                yield take.recording, embedded

    def write(self, part: Part, made: Sequence[Embedded]) -> None:
        """Keeps a part; it is there whole, or not at all."""
        about = [
            {field: getattr(one, field) for field in ("path", "seconds", "flags", "error")}
            for one in made
        ]
        members: dict[str, Any] = {
            _ABOUT: np.array(json.dumps(about)),
            "embeddings": np.concatenate([one.embeddings for one in made]),
            "counts": np.array([len(one.embeddings) for one in made], np.int64),
        }
        with files.replacing(self._file(part), binary=True) as file:
            np.savez(file, **members)

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder)

    def _read(self, part: Part) -> list[Embedded] | None:
        """What is kept of a part; None if it is not there, or damaged."""
        try:
            with self._file(part).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                about = json.loads(str(file[_ABOUT]))
                embeddings, counts = file["embeddings"], file["counts"].tolist()
        except Exception:  # of many kinds; what cannot be read is made again
            return None
        ends = np.cumsum(counts).tolist()
        return [
            Embedded(
                embeddings=embeddings[end - count : end],
                starts=self._encoder.starts(count, take.span.first),
                **{**one, "flags": tuple(one["flags"])},
            )
            for take, one, count, end in zip(part.takes, about, counts, ends, strict=True)
        ]

    def _file(self, part: Part) -> Path:
        return self.folder / f"part-{part.number:06d}.npz"


def _state(recording: Recording) -> list[int]:
    """What changes with a file: its size, and when it was written."""
    try:
        found = os.stat(recording.path)
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield name, old.get(name, "not there"), new.get(name, "not there")
