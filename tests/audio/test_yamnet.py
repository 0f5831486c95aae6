"""YAMNet against TensorFlow's operations, and against the published 8-bit network."""

from pathlib import Path

import jax
import numpy as np
import pytest

from mla_jax.audio import yamnet
from mla_jax.audio.convert import convert_yamnet
from mla_jax.audio.convolution import shifted_products
from mla_jax.audio.embed import embed_file
from mla_jax.audio.log_mel import YAMNET, log_mel
from mla_jax.audio.verify import verify_yamnet
from mla_jax.audio.weights import Weights
from tests.audio.sounds import noise, tone, write_sound
from tests.support.helpers import raises_user_error

STRIDES = [2, *(stride for _, stride in yamnet.BLOCKS)]


@pytest.fixture(scope="module")
def random_weights() -> Weights:
    random = np.random.default_rng(0)
    arrays = {}
    for name, shape in yamnet.shapes().items():
        inputs = 9 if len(shape) == 3 else shape[0]
        scale = np.sqrt(2 / inputs) if name.endswith("weights") else 0.1
        arrays[name] = (random.normal(size=shape) * scale).astype(np.float32)
    return Weights.of("yamnet", arrays, {})


def by_tensorflow(mel: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    tf = pytest.importorskip("tensorflow")
    x = tf.constant(mel[..., None])
    for place, name in enumerate(yamnet.layer_names()):
        weights, biases = arrays[f"{name}/weights"], arrays[f"{name}/biases"]
        stride = STRIDES[(place + 1) // 2]
        if place == 0:
            x = tf.nn.conv2d(x, weights[:, :, None], stride, "SAME")
        elif place % 2:
            x = tf.nn.depthwise_conv2d(x, weights[..., None], [1, stride, stride, 1], "SAME")
        else:
            x = tf.nn.conv2d(x, weights[None, None], 1, "SAME")
        x = tf.nn.relu6(x + biases)
    return np.asarray(tf.reduce_mean(x, (1, 2)))


def test_tensorflow_gives_the_same(random_weights: Weights, tmp_path: Path) -> None:
    encoder = yamnet.yamnet(random_weights)
    examples = np.stack([noise(0.975), tone(0.975)])
    ours = np.asarray(encoder.embed(examples))
    expected = by_tensorflow(np.asarray(log_mel(examples, YAMNET)), dict(random_weights.arrays))
    assert expected.std() > 0.1
    assert expected.max() < 6
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)
    path = write_sound(tmp_path / "a.wav", noise(5.0))
    embedded = embed_file(path, encoder, batch_size=2)
    assert embedded.embeddings.shape == (10, 1024)
    assert embedded.starts[-1] == 9 * 0.48


def test_what_is_no_tflite_file_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    garbage = tmp_path / "garbage.tflite"
    garbage.write_bytes(b"garbage" * 1000)
    with raises_user_error("garbage.tflite is no TFLite file"):
        convert_yamnet(garbage)
    with raises_user_error("cannot read", "nowhere.tflite"):
        convert_yamnet(tmp_path / "nowhere.tflite")


@pytest.fixture(scope="module")
def published(audio_dir: Path) -> Path:
    pytest.importorskip("tensorflow")
    return audio_dir / "yamnet" / "yamnet_wavein.tflite"


@pytest.mark.audio_data
def test_each_layer_is_one_quantisation_step_from_the_published_one(published: Path) -> None:
    """Given what the 8-bit network gives to a layer, that layer gives what it gives."""
    from mla_jax.audio.tensorflow_files import dequantised_tensor, tflite_interpreter

    arrays = convert_yamnet(published).arrays
    interpreter = tflite_interpreter(str(published), experimental_preserve_all_tensors=True)
    audio = published.with_name("yamnet_test_audio.bin")
    example = np.fromfile(audio, np.int16) / np.float32(32_768)
    interpreter.set_tensor(0, example)
    interpreter.invoke()
    results = [
        tensor
        for tensor in interpreter.get_tensor_details()
        if len(tensor["shape"]) == 4 and len(tensor["quantization_parameters"]["scales"]) == 1
    ]
    # The log-mel as the first layer takes it, each layer's result, the mean.
    values = [dequantised_tensor(interpreter, tensor) for tensor in results]
    values = [v for v, t in zip(values, results, strict=True) if "split" not in t["name"]]
    assert len(values) == 29
    steps = [t["quantization_parameters"]["scales"][0] for t in results][-28:-1]
    mel = log_mel(example, YAMNET)
    assert np.abs(mel - values[0][0, :, :, 0]).max() < 0.025  # half of its step
    depthwise = jax.jit(shifted_products, static_argnames="stride")
    for place, (name, step) in enumerate(zip(yamnet.layer_names(), steps, strict=True)):
        x, weights = values[place], arrays[f"{name}/weights"]
        stride = STRIDES[(place + 1) // 2]
        y = depthwise(x, weights, stride=stride) if weights.ndim == 3 else x @ weights
        ours = np.clip(np.asarray(y) + arrays[f"{name}/biases"][None, None, None], 0, 6)
        assert np.abs(ours - values[place + 1]).max() <= 1.01 * step, name


@pytest.mark.audio_data
def test_embeddings_point_where_the_published_ones_do(published: Path, audio_dir: Path) -> None:
    from mla_jax.audio.decode import read_sound
    from mla_jax.audio.tensorflow_files import run_yamnet_tflite

    weights = convert_yamnet(published)
    assert all(check.agrees for check in verify_yamnet(weights, published))
    encoder = yamnet.yamnet(weights)
    clips = sorted(audio_dir.glob("esc10/*/*.ogg"))[::40]
    examples = np.stack([read_sound(clip, seconds=0.975)[0] for clip in clips])
    ours, theirs = np.asarray(encoder.embed(examples)), run_yamnet_tflite(str(published), examples)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    heard = lengths > 0
    cosine = (ours * theirs).sum(1)[heard] / lengths[heard]
    assert np.median(cosine) >= 0.999
    assert cosine.min() >= 0.99
    with raises_user_error("yamnet_spectra_in.tflite is not a YAMNet that takes a waveform"):
        verify_yamnet(weights, published.with_name("yamnet_spectra_in.tflite"))


@pytest.mark.audio_data
def test_both_published_forms_have_the_same_weights(published: Path) -> None:
    ours = convert_yamnet(published).arrays
    theirs = convert_yamnet(published.with_name("yamnet_spectra_in.tflite")).arrays
    for name, array in ours.items():
        np.testing.assert_allclose(theirs[name], array, rtol=0, atol=1e-3, err_msg=name)
