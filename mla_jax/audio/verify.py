"""Converted weights against what is published of them."""

import dataclasses
import os

import numpy as np

from mla_jax.audio.encoder import cut
from mla_jax.audio.vggish import vggish
from mla_jax.audio.weights import Weights
from mla_jax.audio.yamnet import yamnet
from mla_jax.errors import UserError

SMOKE_TEST = {"mean": 0.000657, "deviation": 0.343, "mean byte": 126.0, "deviation of bytes": 89.3}
"""Of VGGish's embedding of 3 s of a 1 kHz sine, as published in `vggish_smoke_test.py`."""

_SMOKE_TOLERANCE = 0.1  # relative, as published
_SILENCE_TOLERANCE = 1  # a byte
_LEAST_COSINE = 0.999


@dataclasses.dataclass(frozen=True)
class Check:
    """A comparison.

    Attributes:
      name: what was compared.
      expected: what it should be.
      found: what it is.
      agrees: whether they agree.
    """

    name: str
    expected: str
    found: str
    agrees: bool

    def __str__(self) -> str:
        return f"{'ok  ' if self.agrees else 'NOT '} {self.name}: {self.found}; expected {self.expected}"


def verify_vggish(weights: Weights, silence: str | os.PathLike[str] | None = None) -> list[Check]:
    """The published smoke test, and digital silence against the vector that the release has for it.

    Args:
      weights: of `vggish`.
      silence: an .npy of that vector, uint8 [128]; None leaves it out.

    Raises:
      UserError: `silence` is not such a file.
    """
    raw, as_bytes = vggish(weights, as_bytes=False), vggish(weights)
    sine = np.sin(2 * np.pi * 1000 * np.arange(3 * raw.sample_rate) / raw.sample_rate)
    follow = dataclasses.replace(raw, hop_seconds=0.96)
    examples = np.stack(list(cut([sine.astype(np.float32)], follow, "drop")))
    embeddings, quantised = (np.asarray(e.embed(examples)) for e in (raw, as_bytes))
    found = (embeddings.mean(), embeddings.std(), quantised.mean(), quantised.std())
    checks = [
        Check(
            f"1 kHz sine, {name}",
            f"{expected:g} within 10 %",
            f"{value:.4g}",
            bool(abs(value - expected) <= _SMOKE_TOLERANCE * expected),
        )
        for (name, expected), value in zip(SMOKE_TEST.items(), found, strict=True)
    ]
    if silence is not None:
        zeros = np.zeros_like(examples)  # as many, so that nothing compiles anew
        ours = np.asarray(as_bytes.embed(zeros))[0].astype(int)
        furthest = int(np.abs(ours - _silence_vector(silence)).max())
        checks.append(
            Check(
                "digital silence against the released features, furthest byte",
                f"at most {_SILENCE_TOLERANCE} away",
                f"{furthest} away",
                furthest <= _SILENCE_TOLERANCE,
            )
        )
    return checks


def verify_yamnet(weights: Weights, tflite: str | os.PathLike[str]) -> list[Check]:
    """Embeddings of made-up sounds against those of TensorFlow's interpreter of the TFLite file.

    Args:
      weights: of `yamnet`.
      tflite: the file whose input is a waveform.

    Raises:
      UserError: it cannot be read, or its input is not a waveform.
    """
    from mla_jax.audio.tensorflow_files import run_yamnet_tflite

    encoder = yamnet(weights)
    examples = _sounds(encoder.example_samples, encoder.sample_rate)
    ours = np.asarray(encoder.embed(examples))
    theirs = run_yamnet_tflite(os.fspath(tflite), examples)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosine = float(np.median(np.sum(ours * theirs, axis=1) / np.maximum(lengths, 1e-9)))
    return [
        Check(
            "embeddings against TFLite's, median cosine",
            f"at least {_LEAST_COSINE}",
            f"{cosine:.5f}",
            cosine >= _LEAST_COSINE,
        )
    ]


def _silence_vector(path: str | os.PathLike[str]) -> np.ndarray:
    try:
        vector = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if vector.shape != (128,) or vector.dtype != np.uint8:
        raise UserError(f"{path} has {vector.dtype} {vector.shape}, not uint8 (128,)")
    return np.asarray(vector, int)


def _sounds(samples: int, rate: int) -> np.ndarray:
    """Tones, chirps and noises of several pitches and rhythms, float32 [24, samples]."""
    time = np.arange(samples) / rate
    random = np.random.default_rng(0)
    sounds = []
    for hertz in np.geomspace(150, 6000, 8):
        pulses = np.sin(2 * np.pi * (2 + hertz / 1000) * time) > 0
        sounds += [
            np.sin(2 * np.pi * hertz * time),
            np.sin(2 * np.pi * hertz * time * (1 + time)),
            random.standard_normal(samples) * pulses,
        ]
    return (0.2 * np.stack(sounds)).astype(np.float32)
