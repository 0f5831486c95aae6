"""The front end against what others state of it."""

import importlib.util
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mla_jax.audio.log_mel import VGGISH, YAMNET, LogMel, frame, log_mel, mel_weights
from tests.audio.sounds import noise, tone


def by_definition(waveform: np.ndarray, offset: float) -> np.ndarray:
    """VGGish's front end in float64, a frame and a band at a time."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    mel = 1127 * np.log(1 + np.arange(257) * 16_000 / 512 / 700)
    low, high = 1127 * np.log(1 + np.array([125.0, 7500.0]) / 700)
    edges = np.linspace(low, high, 66)
    frames = []
    for start in range(0, len(waveform) - 399, 160):
        spectrum = np.abs(np.fft.rfft(waveform[start : start + 400].astype(float) * window, 512))
        bands = [
            sum(
                spectrum[k] * max(0, min((mel[k] - a) / (b - a), (c - mel[k]) / (c - b)))
                for k in range(1, 257)
            )
            for a, b, c in zip(edges, edges[1:], edges[2:], strict=False)
        ]
        frames.append(np.log(np.array(bands) + offset))
    return np.array(frames)


@pytest.mark.parametrize("geometry", [VGGISH, YAMNET], ids=["vggish", "yamnet"])
def test_it_is_what_its_definition_says(geometry: LogMel) -> None:
    waveform = noise(0.1)
    expected = by_definition(waveform, geometry.offset)
    assert expected.shape == (geometry.num_frames(1600), 64)
    np.testing.assert_allclose(log_mel(waveform, geometry), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("waveform", "tolerance"),
    [(noise(2), 1e-4), (tone(2, hertz=1000), 1e-3)],
    ids=["noise", "sine"],
)
def test_tensorflow_agrees(waveform: np.ndarray, tolerance: float) -> None:
    tf = pytest.importorskip("tensorflow")
    spectrum = tf.abs(tf.signal.stft(waveform, 400, 160, 512))
    weights = tf.signal.linear_to_mel_weight_matrix(
        64, 257, 16_000, tf.constant(125.0, tf.float64), 7500.0, tf.float64
    )
    np.testing.assert_allclose(mel_weights(VGGISH), weights, rtol=0, atol=1e-7)
    expected = tf.math.log(tf.matmul(spectrum, tf.cast(weights, tf.float32)) + 0.01)
    np.testing.assert_allclose(log_mel(waveform, VGGISH), expected, rtol=0, atol=tolerance)


def test_frames_are_counted_and_the_rest_is_left_out() -> None:
    for samples, frames in ((0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (15_600, 96)):
        assert VGGISH.num_frames(samples) == frames
        assert log_mel(np.zeros(samples, np.float32), VGGISH).shape == (frames, 64)
    assert VGGISH.num_samples(96) == 15_600
    np.testing.assert_array_equal(frame(jnp.arange(7), 3, 2), [[0, 1, 2], [2, 3, 4], [4, 5, 6]])


def test_a_batch_is_its_waveforms() -> None:
    waveforms = noise(1.2).reshape(2, 3, -1)
    batch = log_mel(waveforms, VGGISH)
    assert batch.shape == (2, 3, 18, 64)
    assert batch.dtype == jnp.float32
    for i, j in np.ndindex(2, 3):
        np.testing.assert_allclose(batch[i, j], log_mel(waveforms[i, j], VGGISH), rtol=0, atol=1e-5)


def test_silence_is_the_offset() -> None:
    silence = log_mel(np.zeros(1600, np.float32), YAMNET)
    np.testing.assert_allclose(silence, np.log(0.001), rtol=1e-6)


def test_another_geometry() -> None:
    geometry = LogMel(
        offset=1e-3, sample_rate=32_000, window=1024, hop=320, fft=1024, bands=40, low=0
    )
    mel = log_mel(tone(1.0, 32_000, hertz=1000), geometry)
    assert mel.shape == (geometry.num_frames(32_000), 40)
    centres = np.linspace(0, 1127 * np.log(1 + 7500 / 700), 42)[1:-1]
    nearest = np.abs(700 * (np.exp(centres / 1127) - 1) - 1000).argmin()
    assert set(np.asarray(mel.argmax(-1))) == {nearest}


def test_it_can_be_part_of_a_larger_program() -> None:
    def loudness(x: jax.Array) -> jax.Array:
        return log_mel(x, VGGISH).sum()

    gradient = jax.jit(jax.grad(loudness))(jnp.asarray(noise(0.1)))
    assert bool(jnp.isfinite(gradient).all())


@pytest.mark.audio_data
def test_a_pair_that_others_made(audio_dir: Path) -> None:
    """`yamnet_test_spectra.bin` is log(4.05645 mel + 0.01) of `yamnet_test_audio.bin`."""
    folder = audio_dir / "yamnet"
    waveform = np.fromfile(folder / "yamnet_test_audio.bin", np.int16) / np.float32(32_768)
    expected = np.fromfile(folder / "yamnet_test_spectra.bin", np.float32).reshape(96, 64)
    ours = log_mel(waveform, LogMel(offset=0.01 / 4.05645)) + np.log(4.05645)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_torchvggish_agrees() -> None:
    """`pip install --no-deps torchvggish`; this part of it is NumPy, and PyTorch is not needed."""
    package = importlib.util.find_spec("torchvggish")
    if package is None:
        pytest.skip("torchvggish is not installed")
    theirs = runpy.run_path(str(Path(str(package.origin)).with_name("mel_features.py")))
    for waveform, tolerance in ((noise(2), 1e-5), (tone(2, hertz=1000), 1e-3)):
        expected = theirs["log_mel_spectrogram"](
            waveform.astype(np.float64),
            audio_sample_rate=16_000,
            log_offset=0.01,
            window_length_secs=0.025,
            hop_length_secs=0.010,
            num_mel_bins=64,
            lower_edge_hertz=125,
            upper_edge_hertz=7500,
        )
        np.testing.assert_allclose(log_mel(waveform, VGGISH), expected, rtol=0, atol=tolerance)
