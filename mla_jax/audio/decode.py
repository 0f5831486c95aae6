"""Recordings as mono float32 at one sample rate, in blocks: hours in bounded memory."""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mla_jax.audio.sound_file import SoundFile, opened
from mla_jax.errors import UserError

FLAGS = {
    "short": "shorter than one example, padded with zeros",
    "silent": "silent",
    "cut": "cut or damaged, of which what could be read was used",
    "unscaled": "with samples far beyond -1 to 1 (integers stored as floats?)",
}
"""What can be said of a recording that is usable, and how it is told: behind the word recording."""

_SILENT = 2.0**-15  # one step of 16 bits
_UNSCALED = 16.0


class Sound:
    """A recording, or a part of one, decoded while it is iterated over: once, from its beginning to its end.

    Yields float32 [samples], mono (the mean of the channels) at `sample_rate`, never empty. A part has the
    samples that the same seconds have when all is decoded, to 2e-6 of full scale.

    Attributes:
      num_samples: how many it has yielded.
      cut: whether it ended too early, because the file is cut or damaged; known at the end.
      peak: the largest absolute sample so far.

    Raises:
      UserError: while iterating: the file cannot be read, has no sound where it should, or a sample that is
        not a number.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sample_rate: int = 16_000,
        start: float = 0.0,
        seconds: float | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
          path: any format of libsndfile's: wav, flac, ogg, mp3, aiff and more, whatever its name.
          sample_rate: of what is yielded.
          start: where the part begins, in seconds; rounded to a sample.
          seconds: how long it is; fewer if the recording ends before; None: to the end.

        Raises:
          UserError: the part begins before zero, or has no length.
        """
        if not start >= 0 or not (seconds is None or seconds > 0):
            raise UserError(
                f"{path}: start={start} must not be below zero, and seconds={seconds} be above it"
            )
        self.path = Path(path)
        self.sample_rate = sample_rate
        self.start, self.seconds = start, seconds
        self.num_samples = 0
        self.cut = False
        self.peak = 0.0

    @property
    def flags(self) -> tuple[str, ...]:
        """Which of `FLAGS` hold, after iterating; whether it is short, only an encoder knows."""
        found = {
            "silent": self.num_samples > 0 and self.peak <= _SILENT,
            "cut": self.cut,
            "unscaled": self.peak > _UNSCALED,
        }
        return tuple(name for name, holds in found.items() if holds)

    def __iter__(self) -> Iterator[np.ndarray]:
        rate = self.sample_rate
        first = round(self.start * rate)
        length = None if self.seconds is None else round(self.seconds * rate)
        with opened(self.path) as file:
            info = file.info
            # A whole second, so that the resampler is in step with one that began at zero; and at least one
            # second early, so that it has forgotten what it began with.
            second = max(0, first // rate - 1) if info.exact else 0
            blocks = _resampled(_mono(file, second * info.sample_rate), info.sample_rate, rate)
            for block in _part(blocks, first - second * rate, length):
                self.num_samples += len(block)
                self.peak = max(self.peak, float(np.abs(block).max()))
                yield block
            self.cut = file.cut
        if not self.num_samples:
            where = f" at {self.start:.15g} s" if self.start else ""
            why = "cut or damaged" if self.cut else f"{info.seconds:.15g} s long"
            raise UserError(f"{self.path} has no sound{where}: it is {why}")


def read_sound(
    path: str | os.PathLike[str],
    *,
    sample_rate: int = 16_000,
    start: float = 0.0,
    seconds: float | None = None,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decodes a recording, or a part of one, at once; the arguments are as `Sound` takes them.

    Returns:
      float32 [samples], and which of `FLAGS` hold.

    Raises:
      UserError: as iterating over `Sound` raises it.
    """
    sound = Sound(path, sample_rate=sample_rate, start=start, seconds=seconds)
    blocks = list(sound)
    return np.concatenate(blocks), sound.flags


def _mono(file: SoundFile, position: int) -> Iterator[np.ndarray]:
    """The mean of the channels, from this frame on."""
    info = file.info
    for block in file.blocks(position):
        mono = functools.reduce(np.add, block.T) / np.float32(info.channels)
        if not np.isfinite(mono).all():
            bad = position + int(np.flatnonzero(~np.isfinite(mono))[0])
            raise UserError(
                f"{info.path} has a sample that is not a number (NaN or infinite) at "
                f"{bad / info.sample_rate:.3f} s; write it again without"
            )
        yield mono
        position += len(block)


def _resampled(blocks: Iterator[np.ndarray], rate: int, wanted: int) -> Iterator[np.ndarray]:
    import soxr

    if rate == wanted:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, wanted, 1, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _part(blocks: Iterator[np.ndarray], skip: int, length: int | None) -> Iterator[np.ndarray]:
    """The samples [skip, skip + length) of all; only blocks that have any."""
    for block in blocks:
        block, skip = block[skip:], max(0, skip - len(block))
        if length is not None:
            block = block[:length]
            length -= len(block)
        if len(block):
            yield block
        if length == 0:
            return
