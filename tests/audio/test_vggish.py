"""VGGish against TensorFlow's operations, with weights through a checkpoint that TensorFlow wrote."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mla_jax.audio import vggish
from mla_jax.audio.convert import convert_vggish
from mla_jax.audio.embed import embed_file
from mla_jax.audio.log_mel import VGGISH, log_mel
from mla_jax.audio.pca import VECTORS
from mla_jax.audio.verify import SMOKE_TEST, verify_vggish
from mla_jax.audio.weights import Weights, load_weights, save_weights
from mla_jax.data.embedding import AUDIOSET
from tests.audio.encoder_files import random_vggish, write_checkpoint, write_pca
from tests.audio.sounds import noise, tone, write_sound
from tests.support.helpers import raises_user_error

tf = pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return random_vggish()


@pytest.fixture(scope="module")
def weights(arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """From TensorFlow's checkpoint to our .npz and back."""
    folder = tmp_path_factory.mktemp("vggish")
    named = {f"vggish/{name}": array for name, array in arrays.items()}
    checkpoint = write_checkpoint(folder / "vggish_model.ckpt", named)
    assert checkpoint.is_file()  # one file: version 1
    converted = convert_vggish(checkpoint, write_pca(folder / "vggish_pca_params.npz"))
    checkpoint.unlink()
    save_weights(converted, folder / "vggish.npz")
    read = load_weights("vggish", folder / "vggish.npz")
    (folder / "vggish.npz").unlink()
    assert read.checksum == converted.checksum == Weights.of("", read.arrays, {}).checksum
    return read


def by_tensorflow(mel: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The published graph, in plain operations."""

    def layer(name: str) -> Any:
        return arrays[f"{name}/weights"], arrays[f"{name}/biases"]

    def convolve(x: Any, name: str) -> Any:
        kernel, biases = layer(name)
        return tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), biases))

    def pool(x: Any) -> Any:
        return tf.nn.max_pool2d(x, 2, 2, "SAME")

    x = pool(convolve(mel[..., None], "conv1"))
    x = pool(convolve(x, "conv2"))
    x = pool(convolve(convolve(x, "conv3/conv3_1"), "conv3/conv3_2"))
    x = pool(convolve(convolve(x, "conv4/conv4_1"), "conv4/conv4_2"))
    x = tf.reshape(x, (len(mel), -1))
    for name in ("fc1/fc1_1", "fc1/fc1_2"):
        kernel, biases = layer(name)
        x = tf.nn.relu(tf.matmul(x, kernel) + biases)
    kernel, biases = layer("fc2")
    return (tf.matmul(x, kernel) + biases).numpy()


def test_it_has_the_published_number_of_parameters() -> None:
    assert sum(int(np.prod(shape)) for shape in vggish.shapes().values()) == 72_141_184


@pytest.mark.slow
def test_tensorflow_gives_the_same(arrays: dict[str, np.ndarray], weights: Weights) -> None:
    encoder = vggish.vggish(weights, as_bytes=False)
    examples = np.stack([noise(0.975), tone(0.975), np.zeros(15_600, np.float32)])
    ours = np.asarray(encoder.embed(examples))
    expected = by_tensorflow(np.asarray(log_mel(examples, VGGISH)), arrays)
    assert 0.5 < expected.std() < 20
    assert (expected < 0).mean() > 0.3  # no ReLU at the end
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


def test_the_released_form(weights: Weights, tmp_path: Path) -> None:
    """One vector of 128 bytes a second: the PCA behind the float embeddings."""
    as_bytes, raw = vggish.vggish(weights), vggish.vggish(weights, as_bytes=False)
    path = write_sound(tmp_path / "a.wav", noise(3.0, 44_100), 44_100)
    found, floats = embed_file(path, as_bytes, batch_size=3), embed_file(path, raw, batch_size=3)
    assert found.starts.tolist() == [0.0, 1.0, 2.0]
    assert (found.embeddings.dtype, found.embeddings.shape) == (np.uint8, (3, 128))
    assert floats.embeddings.dtype == np.float32
    y = np.clip(floats.embeddings @ weights.arrays[VECTORS].T, -2, 2)
    expected = ((y + 2) * 255 / 4).astype(np.uint8)
    assert np.abs(found.embeddings.astype(int) - expected).max() <= 1
    described = as_bytes.describe()
    assert described.details == {"sample_rate": "16000", "weights": weights.checksum}
    assert not described.difference(AUDIOSET)
    assert "hop_seconds" in dataclasses.replace(described, hop_seconds=0.96).difference(AUDIOSET)
    assert "dtype" in raw.describe().difference(AUDIOSET)
    follow = dataclasses.replace(raw, hop_seconds=0.96)
    assert (as_bytes.num_segments(160_000), follow.num_segments(160_000, "drop")) == (10, 10)


def test_a_checkpoint_of_something_else_is_one_line(tmp_path: Path) -> None:
    pca = write_pca(tmp_path / "pca.npz")
    other = write_checkpoint(
        tmp_path / "other.ckpt", {"vggish/conv1/weights": np.zeros((3, 3), "f")}
    )
    with raises_user_error("other.ckpt has no variable vggish/conv1/biases", "16 others"):
        convert_vggish(other, pca)
    garbage = tmp_path / "garbage.ckpt"
    garbage.write_bytes(b"garbage" * 1000)
    with raises_user_error("garbage.ckpt is no TensorFlow checkpoint"):
        convert_vggish(garbage, pca)
    with raises_user_error("cannot read", "nowhere.ckpt"):
        convert_vggish(tmp_path / "nowhere.ckpt", pca)


@pytest.mark.slow
def test_random_weights_are_told_from_the_published_ones(weights: Weights, tmp_path: Path) -> None:
    silence = tmp_path / "silence.npy"
    np.save(silence, np.full(128, 3, np.uint8))
    checks = verify_vggish(weights, silence)
    assert len(checks) == len(SMOKE_TEST) + 1
    assert not all(check.agrees for check in checks)
    assert str(checks[0]).startswith("NOT  1 kHz sine, mean: ")
    assert not checks[-1].agrees
    np.save(silence, np.zeros(5))
    with raises_user_error("silence.npy has float64 (5,)"):
        verify_vggish(weights, silence)
