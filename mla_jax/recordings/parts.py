"""Embedding a collection in parts, which depend on its files alone: each is made, and kept, by itself."""

import concurrent.futures
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mla_jax.audio.embed import Embedded, Span
from mla_jax.audio.encoder import Encoder
from mla_jax.audio.sound_file import SoundInfo, sound_info
from mla_jax.audio.spans import joined, spans_of
from mla_jax.errors import UserError
from mla_jax.recordings.inputs import Recording
from mla_jax.storage.parts import Kept, PartFolder, state_of

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
      folder: where they are kept.
      plan: the parts, in order.
    """

    def __init__(self, output: Path, encoder: Encoder, plan: Sequence[Part]) -> None:
        self._kept = PartFolder(output)
        self.folder = self._kept.folder
        self.plan = plan
        self._encoder = encoder

    def claim(self) -> None:
        """Begins the folder, or checks that what is there was begun with this encoder and these files.

        Raises:
          UserError: it was begun with others; the message says which.
        """
        recordings = [take.recording for part in self.plan for take in part.takes]
        self._kept.claim(
            {
                "encoder": self._encoder.describe().to_json(),
                "files": {recording.name: state_of(recording.path) for recording in recordings},
                "parts": {"number": len(self.plan)},
            }
        )

    def missing(self) -> list[Part]:
        """The parts that are not made yet."""
        return [part for part in self.plan if self._kept.read(part.number) is None]

    def all(self) -> Iterator[tuple[Recording, Embedded]]:
        """Every recording with what became of it; a part is in memory at a time, or a long recording.

        Raises:
          UserError: a part is not there.
        """
        for recording, takes in itertools.groupby(self._takes(), key=lambda take: take[0]):
            yield recording, joined([embedded for _, embedded in takes])

    def _takes(self) -> Iterator[tuple[Recording, Embedded]]:
        for part in self.plan:
            made = self._embedded(part, self._kept.require(part.number))
            for take, embedded in zip(part.takes, made, strict=True):
                yield take.recording, embedded

    def write(self, part: Part, made: Sequence[Embedded]) -> None:
        """Keeps a part; it is there whole, or not at all."""
        about = [
            {field: getattr(one, field) for field in ("path", "seconds", "flags", "error")}
            for one in made
        ]
        arrays = {
            "embeddings": np.concatenate([one.embeddings for one in made]),
            "counts": np.array([len(one.embeddings) for one in made], np.int64),
        }
        self._kept.write(part.number, about, arrays)

    def remove(self) -> None:
        """Removes the folder."""
        self._kept.remove()

    def _embedded(self, part: Part, kept: Kept) -> list[Embedded]:
        embeddings, counts = kept.arrays["embeddings"], kept.arrays["counts"].tolist()
        ends = np.cumsum(counts).tolist()
        return [
            Embedded(
                embeddings=embeddings[end - count : end],
                starts=self._encoder.starts(count, take.span.first),
                **{**one, "flags": tuple(one["flags"])},
            )
            for take, one, count, end in zip(part.takes, kept.about, counts, ends, strict=True)
        ]
