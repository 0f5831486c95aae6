r"""The log-mel front end of VGGish and YAMNet, as published, in JAX.

Frames of 25 ms every 10 ms, a periodic Hann window, the magnitude $|X|$ of the FFT (not its square), 64
triangles on the HTK mel scale $1127 \ln(1 + f / 700)$, and $\log(\mathrm{mel} + \mathrm{offset})$.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class LogMel:
    """The front end's geometry.

    Attributes:
      offset: added before the logarithm: 0.01 in VGGish, 0.001 in YAMNet.
      sample_rate: of the waveform, per second.
      window: samples of a frame.
      hop: samples from frame to frame.
      fft: points of the FFT; frames are padded with zeros to it.
      bands: mel bands.
      low, high: the lowest and highest edge of the bands, in Hz.
    """

    offset: float
    sample_rate: int = 16_000
    window: int = 400
    hop: int = 160
    fft: int = 512
    bands: int = 64
    low: float = 125.0
    high: float = 7500.0

    def num_frames(self, samples: int) -> int:
        """How many whole frames are in so many samples."""
        return max(0, 1 + (samples - self.window) // self.hop)

    def num_samples(self, frames: int) -> int:
        """The fewest samples that have so many frames."""
        return (frames - 1) * self.hop + self.window


VGGISH = LogMel(offset=0.01)
YAMNET = LogMel(offset=0.001)


@functools.partial(jax.jit, static_argnames="geometry")
def log_mel(waveform: jax.Array, geometry: LogMel) -> jax.Array:
    """The log-mel spectrogram of each waveform.

    Args:
      waveform: float [..., samples], mono, from -1 to 1.
      geometry: static; a new one compiles anew.

    Returns:
      float32 [..., frames, bands]; samples after the last whole frame are left out.
    """
    frames = frame(waveform.astype(jnp.float32), geometry.window, geometry.hop)
    spectrum = jnp.fft.rfft(frames * _like(hann(geometry.window), frames), geometry.fft)
    mel = jnp.matmul(jnp.abs(spectrum), mel_weights(geometry), precision=jax.lax.Precision.HIGHEST)
    return jnp.log(mel + geometry.offset)


def frame(values: jax.Array, length: int, hop: int) -> jax.Array:
    """Cuts the last axis into frames that begin every `hop`: [..., n] to [..., frames, length].

    An incomplete frame at the end is left out.
    """
    count = max(0, 1 + (values.shape[-1] - length) // hop)
    return values[..., np.arange(count)[:, None] * hop + np.arange(length)]


def hann(length: int) -> np.ndarray:
    """The periodic Hann window, float32 [length]."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)).astype(np.float32)


@functools.cache
def mel_weights(geometry: LogMel) -> np.ndarray:
    """The triangles that make mel bands of FFT bins, float32 [fft // 2 + 1, bands].

    Linear in mel: one at a band's centre, zero at the centres beside it; so the bin at 0 Hz counts nowhere.
    """
    bins = _mel(np.linspace(0.0, geometry.sample_rate / 2, geometry.fft // 2 + 1))[:, None]
    edges = np.linspace(_mel(geometry.low), _mel(geometry.high), geometry.bands + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


def _mel(hertz: np.ndarray | float) -> np.ndarray:
    return 1127.0 * np.log1p(np.asarray(hertz) / 700.0)


def _like(vector: np.ndarray, values: jax.Array) -> np.ndarray:
    """[n] with as many axes as `values`."""
    return vector.reshape((1,) * (values.ndim - 1) + vector.shape)
