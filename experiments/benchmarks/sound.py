"""Sound: VGGish against TensorFlow's operations on the same graph, and how fast sound files are decoded."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.rows import NotMeasuredError, Row, alone, block, compare
from experiments.benchmarks.setting import Setting
from mla_jax.audio import vggish
from mla_jax.audio.log_mel import VGGISH
from mla_jax.errors import UserError

_RATE, _SECONDS = 44_100, 60
_ENDINGS = ("wav", "flac", "ogg", "mp3")


def encoder(setting: Setting) -> list[Row]:
    """The network on log-mel values, with random weights; checks that both compute the same."""
    batch = min(32, setting.sizes.batch_size)
    arrays = _random_weights()
    mel = np.random.default_rng(1).normal(size=(batch, vggish.FRAMES, VGGISH.bands))
    mel = mel.astype(np.float32)
    parameters, apply = vggish.parameters_of(arrays), jax.jit(vggish.Vggish().apply)
    on_device, theirs = jnp.asarray(mel), _tensorflow_vggish(arrays)
    ours = np.asarray(apply({"params": parameters}, on_device))
    difference = float(np.abs(ours - theirs(mel)).max())
    return [
        Row(
            peer="TensorFlow's operations in a tf.function, as many threads",
            work=f"VGGish, {batch} examples of log-mel to embeddings, float32",
            at_least="1.0x",
            notes={"largest difference": difference, "largest value": float(np.abs(ours).max())},
            **compare(
                lambda: block(apply({"params": parameters}, on_device)),
                lambda: theirs(mel),
                setting.sizes.repeats,
            ),
        )
    ]


def _random_weights() -> dict[str, np.ndarray]:
    """Weights of such sizes that values neither vanish nor grow from layer to layer."""
    rng = np.random.default_rng(0)
    return {
        name: np.zeros(shape, np.float32)
        if len(shape) == 1
        else rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:-1])))
        for name, shape in vggish.shapes().items()
    }


def _tensorflow_vggish(arrays: dict[str, np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    from mla_jax.data.tensorflow import tf  # takes seconds, which the other parts need not pay

    held = {name: tf.constant(array) for name, array in arrays.items()}

    @tf.function
    def network(mel: Any) -> Any:
        x = mel[..., None]
        for name, (_, pooled) in vggish.CONVOLUTIONS.items():
            x = tf.nn.conv2d(x, held[f"{name}/weights"], 1, "SAME")
            x = tf.nn.relu(x + held[f"{name}/biases"])
            x = tf.nn.max_pool2d(x, 2, 2, "SAME") if pooled else x
        x = tf.reshape(x, [tf.shape(x)[0], -1])
        for name in vggish.DENSE:
            x = tf.matmul(x, held[f"{name}/weights"]) + held[f"{name}/biases"]
            x = x if name == "fc2" else tf.nn.relu(x)
        return x

    def embed(mel: np.ndarray) -> np.ndarray:
        return np.asarray(network(tf.constant(mel)))

    return embed


def decoding(setting: Setting) -> list[Row]:
    """A minute of stereo noise, from each format of file to mono samples at 16 kHz."""
    try:
        from mla_jax.audio.decode import Sound
    except UserError as error:
        raise NotMeasuredError(str(error)) from error
    import soundfile

    def decode(path: Path) -> int:
        return sum(len(samples) for samples in Sound(path))

    samples = np.random.default_rng(0).normal(scale=0.1, size=(_SECONDS * _RATE, 2))
    rows = []
    for ending in _ENDINGS:
        path = setting.workdir / f"minute.{ending}"
        with soundfile.SoundFile(path, "w", _RATE, 2) as file:
            for second in np.split(samples, _SECONDS):  # long Vorbis at once may crash libsndfile
                file.write(second)
        timed = alone(partial(decode, path), setting.sizes.repeats)
        rows.append(
            Row(
                work=f"decode a minute of stereo {ending}, 44.1 kHz, to mono at 16 kHz",
                at_least="faster than the encoder",
                notes={"times real time": _SECONDS / timed["ours_s"]},
                **timed,
            )
        )
    return rows
