"""Sound files that tests make."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

FORMATS = {
    "wav": "WAV",
    "flac": "FLAC",
    "ogg": "OGG",
    "opus": "OGG",
    "mp3": "MP3",
    "aiff": "AIFF",
    "au": "AU",
    "caf": "CAF",
}


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0) -> np.ndarray:
    """A sine of half of full scale, float32 [samples]."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def noise(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    """White noise, float32 [samples]."""
    samples = np.random.default_rng(seed).standard_normal(round(seconds * rate))
    return (0.1 * samples).astype(np.float32)


def write_sound(
    path: Path, samples: np.ndarray, rate: int = 16_000, kind: str = "", **options: Any
) -> Path:
    """Writes [samples] or [samples, channels]; `kind` is the ending whose format is meant, if not the path's.

    In blocks: a single call with a long Vorbis file has crashed.
    """
    kind = kind or path.suffix[1:]
    if kind == "opus":
        options.setdefault("subtype", "OPUS")
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(path, "w", rate, channels, format=FORMATS[kind], **options) as file:
        for begin in range(0, len(samples), rate):
            file.write(samples[begin : begin + rate])
    return path


def cut_in_half(path: Path) -> Path:
    """A file with the first half of its bytes."""
    data = path.read_bytes()
    half = path.with_stem(f"{path.stem}_half")
    half.write_bytes(data[: len(data) // 2])
    return half


def without_length(path: Path) -> Path:
    """An mp3 without its first frame, which says how many there are."""
    data = path.read_bytes()
    stripped = path.with_stem(f"{path.stem}_unknown")
    stripped.write_bytes(data[data.index(data[:2], 4) :])
    return stripped
