"""Made-up recordings whose truth is known: tones, chirps, noise bursts and clicks over a soft background."""

import dataclasses
import os
import wave
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from mla_jax.data.class_list import ClassList
from mla_jax.errors import UserError
from mla_jax.storage.files import replacing

RATE = 16_000
"""Samples a second."""

_BACKGROUND = 0.01
_FADE = 0.02  # seconds
_LENGTHS = (1.0, 3.0)  # seconds of a sound

Generator = np.random.Generator


def _tone(rng: Generator, time: np.ndarray) -> np.ndarray:
    """A steady pitch with two overtones."""
    pitch = rng.uniform(200, 1200)
    parts = [np.sin(2 * np.pi * pitch * k * time) / k for k in (1, 2, 3)]
    return np.sum(parts, axis=0)


def _chirp(rng: Generator, time: np.ndarray) -> np.ndarray:
    """A pitch that rises, four times a second."""
    low, high = rng.uniform(500, 1500), rng.uniform(3000, 6000)
    return np.sin(2 * np.pi * np.cumsum(low + (high - low) * (4 * time % 1)) / RATE)


def _noise_burst(rng: Generator, time: np.ndarray) -> np.ndarray:
    """Noise of all pitches."""
    return 0.5 * rng.standard_normal(len(time))


def _clicks(rng: Generator, time: np.ndarray) -> np.ndarray:
    """Short clicks, some ten a second."""
    phase = time * rng.uniform(7, 13) % 1
    return 2 * np.exp(-phase * 30) * rng.standard_normal(len(time))


SOUNDS: Mapping[str, Callable[[Generator, np.ndarray], np.ndarray]] = MappingProxyType(
    {"Tone": _tone, "Chirp": _chirp, "Noise burst": _noise_burst, "Clicks": _clicks}
)
CLASSES = ClassList(("",) * len(SOUNDS), tuple(SOUNDS))


@dataclasses.dataclass(frozen=True)
class MadeUp:
    """A made-up recording.

    Attributes:
      samples: float32 [samples], within -1 to 1.
      events: when what sounds: onset and offset in seconds, and the class.
    """

    samples: np.ndarray
    events: tuple[tuple[float, float, int], ...]


def make_up(rng: Generator, seconds: float, num_sounds: int) -> MadeUp:
    """A recording with sounds at whole and fractional seconds, one after the other with gaps between.

    Args:
      rng: what chooses.
      seconds: how long it is; 4 for each sound at least.
      num_sounds: how many sounds it has.
    """
    samples = _BACKGROUND * _soft_noise(rng, round(seconds * RATE))
    slot = seconds / max(1, num_sounds)
    events = []
    for i in range(num_sounds):
        length = round(rng.uniform(*_LENGTHS), 2)
        onset = round(i * slot + rng.uniform(0, slot - length), 2)
        label = int(rng.integers(len(SOUNDS)))
        first, count = round(onset * RATE), round(length * RATE)
        sound = list(SOUNDS.values())[label](rng, np.arange(count) / RATE)
        sound *= rng.uniform(0.05, 0.3) * _envelope(count)
        samples[first : first + count] += sound
        events.append((onset, round(onset + length, 2), label))
    return MadeUp(np.clip(samples, -1, 1).astype(np.float32), tuple(events))


def _soft_noise(rng: Generator, count: int) -> np.ndarray:
    """Noise that is weaker the higher it is, of deviation 1."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum /= np.sqrt(np.maximum(1, np.arange(len(spectrum))))
    noise = np.fft.irfft(spectrum, count)
    return noise / noise.std()


def _envelope(count: int) -> np.ndarray:
    fade = min(round(_FADE * RATE), count // 2)
    ramp = np.minimum(1, np.arange(count) / fade)
    return ramp * ramp[::-1]


def write_wav(path: str | os.PathLike[str], samples: np.ndarray, rate: int = RATE) -> None:
    """Writes mono samples, [samples] within -1 to 1, as a wav of 16 bits.

    Raises:
      UserError: the file cannot be written.
    """
    if not np.isfinite(samples).all():
        raise UserError(f"{path}: samples that are not numbers cannot be written")
    with replacing(Path(path), binary=True) as raw, wave.open(raw, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
