"""Recordings through an encoder: many, or one of hours, in bounded memory."""

import collections
import concurrent.futures
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from mla_jax.audio.decode import Sound
from mla_jax.audio.encoder import Encoder, Remainder, cut
from mla_jax.errors import UserError

Path = str | os.PathLike[str]

_AHEAD = 32  # examples of a file that are decoded before its turn comes


@dataclasses.dataclass(frozen=True)
class Span:
    """Some of a recording's segments.

    Attributes:
      path: the sound file.
      first: the first segment.
      count: how many, fewer if the recording ends before; None: to its end.
    """

    path: Path
    first: int = 0
    count: int | None = None


@dataclasses.dataclass(frozen=True)
class Embedded:
    """What became of a recording, or of a span of one.

    Attributes:
      path: the sound file.
      embeddings: [segments, features] in the encoder's dtype; no segments where `error` is set.
      starts: when each segment begins, float64 [segments], in seconds of the recording.
      seconds: of sound that were decoded.
      flags: what to know of it, keys of `mla_jax.audio.decode.FLAGS`.
      error: why the file could not be used, one line; empty if it could.
    """

    path: str
    embeddings: np.ndarray
    starts: np.ndarray
    seconds: float
    flags: tuple[str, ...]
    error: str = ""


def embed_file(
    path: Path, encoder: Encoder, *, batch_size: int = 32, remainder: Remainder = "pad"
) -> Embedded:
    """The embeddings of a recording of any length.

    Args:
      path: a sound file of any format, sample rate and number of channels.
      encoder: what makes an embedding of each example.
      batch_size: examples at a time. The embeddings do not depend on it, but for rounding.
      remainder: `pad` or `drop` a last example that is not complete.

    Raises:
      UserError: the file cannot be used, or what the encoder gives is not what it says.
    """
    (embedded,) = embed_files([path], encoder, batch_size=batch_size, remainder=remainder)
    if embedded.error:
        raise UserError(embedded.error)
    return embedded


def embed_files(
    files: Iterable[Path | Span],
    encoder: Encoder,
    *,
    batch_size: int = 32,
    remainder: Remainder = "pad",
    threads: int = 2,
    on_seconds: Callable[[float], None] = lambda _: None,
) -> Iterator[Embedded]:
    """The embeddings of many recordings, in their order.

    Batches go across files, so short ones cost no more than long ones. While the encoder works on one batch,
    the next is decoded.

    Args:
      files: paths, or spans of recordings; taken as they are needed, `threads` ahead.
      encoder: what makes an embedding of each example.
      batch_size: examples at a time. The embeddings do not depend on it, but for rounding.
      remainder: `pad` or `drop` a last example that is not complete.
      threads: how many files are decoded at once; of each the first 32 examples, the rest in its turn.
      on_seconds: called as it goes on with the seconds that were begun since it was called last.

    Yields:
      An `Embedded` for each file; one that cannot be used has an `error`, and the others go on.

    Raises:
      UserError: what the encoder gives is not what it says.
    """
    batches = _Batches(encoder, batch_size)
    waiting: collections.deque[_Recording] = collections.deque()
    recordings = (
        _Recording(file if isinstance(file, Span) else Span(file), encoder, remainder)
        for file in files
    )
    for recording in _decoded_ahead(recordings, threads):
        waiting.append(recording)
        for example in recording.examples():
            batches.add(example, recording)
            on_seconds(encoder.hop_seconds)
        while waiting and waiting[0].ready:
            yield waiting.popleft().embedded()
    batches.finish()
    yield from (recording.embedded() for recording in waiting)


def _decoded_ahead(recordings: "Iterator[_Recording]", threads: int) -> "Iterator[_Recording]":
    """The same, in their order, while threads decode the beginnings of those that follow."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        begun: collections.deque[tuple[_Recording, concurrent.futures.Future[None]]]
        begun = collections.deque()
        for recording in recordings:
            begun.append((recording, pool.submit(recording.begin)))
            if len(begun) > threads:
                first, decoded = begun.popleft()
                decoded.result()
                yield first
        for first, decoded in begun:
            decoded.result()
            yield first


class _Recording:
    """A recording on its way through the encoder."""

    def __init__(self, span: Span, encoder: Encoder, remainder: Remainder) -> None:
        rate, hop = encoder.sample_rate, encoder.hop_samples
        seconds = None
        if span.count is not None:
            seconds = ((span.count - 1) * hop + encoder.example_samples) / rate
        self.span, self.encoder = span, encoder
        self.sound = Sound(
            span.path, sample_rate=rate, start=span.first * hop / rate, seconds=seconds
        )
        self.rest = self._decoded(remainder)
        self.begun: list[np.ndarray] = []
        self.rows: list[np.ndarray] = []
        self.expected = 0
        self.decoded = False
        self.error = ""

    def begin(self) -> None:
        """Decodes the first examples."""
        self.begun = list(itertools.islice(self.rest, _AHEAD))

    def examples(self) -> Iterator[np.ndarray]:
        """All examples; where the file cannot be used, they end, and `error` says why."""
        begun, self.begun = self.begun, []
        for example in itertools.chain(begun, self.rest):
            self.expected += 1
            yield example
        self.decoded = True

    def _decoded(self, remainder: Remainder) -> Iterator[np.ndarray]:
        try:
            yield from cut(self.sound, self.encoder, remainder, self.span.first)
        except UserError as error:
            # Of a recording that is cut, what lies before is used; a span behind the cut is empty.
            behind = self.span.first > 0 and self.sound.cut and not self.sound.num_samples
            self.error = "" if behind else str(error)

    @property
    def ready(self) -> bool:
        return self.decoded and len(self.rows) == self.expected

    def embedded(self) -> Embedded:
        encoder, sound = self.encoder, self.sound
        rows = [] if self.error else self.rows
        shape = (len(rows), encoder.num_features)
        whole = self.span.first > 0 or sound.num_samples >= encoder.example_samples
        return Embedded(
            path=os.fspath(self.span.path),
            embeddings=np.array(rows, encoder.dtype).reshape(shape),
            starts=encoder.starts(len(rows), self.span.first),
            seconds=sound.num_samples / encoder.sample_rate,
            flags=() if self.error else (*(() if whole else ("short",)), *sound.flags),
            error=self.error,
        )


class _Batches:
    """Gathers examples of several recordings into batches of one size, and gives each its embeddings back."""

    def __init__(self, encoder: Encoder, batch_size: int) -> None:
        self.encoder, self.batch_size = encoder, batch_size
        self.examples: list[np.ndarray] = []
        self.owners: list[_Recording] = []
        self.running: tuple[Any, list[_Recording]] | None = None

    def add(self, example: np.ndarray, owner: _Recording) -> None:
        self.examples.append(example)
        self.owners.append(owner)
        if len(self.examples) == self.batch_size:
            self._start()

    def finish(self) -> None:
        if self.examples:
            self._start()
        self._collect()

    def _start(self) -> None:
        """Starts the encoder on what has come, and waits for the batch before."""
        batch = np.zeros((self.batch_size, self.encoder.example_samples), np.float32)
        batch[: len(self.examples)] = self.examples
        begun = self.encoder.embed(batch), self.owners
        self._collect()
        self.running, self.examples, self.owners = begun, [], []

    def _collect(self) -> None:
        if self.running is None:
            return
        result, owners = self.running
        rows = np.asarray(result)
        expected = (self.batch_size, self.encoder.num_features)
        is_bytes = rows.dtype == np.uint8, self.encoder.dtype == "uint8"
        if rows.shape != expected or is_bytes[0] != is_bytes[1]:
            raise UserError(
                f"encoder {self.encoder.name} gave {rows.dtype} {rows.shape}, not {self.encoder.dtype} "
                f"{expected}"
            )
        with np.errstate(over="ignore"):
            kept = rows[: len(owners)].astype(self.encoder.dtype)
        if not np.isfinite(kept).all():
            raise UserError(
                f"encoder {self.encoder.name} gave NaN, or a number that {self.encoder.dtype} cannot hold"
            )
        for row, owner in zip(rows, owners, strict=False):
            owner.rows.append(row)
        self.running = None
