"""VGGish, as published (tensorflow/models, research/audioset/vggish), in Flax.

Hershey et al., "CNN Architectures for Large-Scale Audio Classification", 2017. Six convolutions and three
dense layers on 96 x 64 log-mel values; the last one without a ReLU, as in the released features.
"""

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mla_jax.audio.convolution import FLOAT32, convolution_layer
from mla_jax.audio.encoder import Encoder
from mla_jax.audio.log_mel import VGGISH, log_mel
from mla_jax.audio.pca import MEANS, PUBLISHED, VECTORS, quantise
from mla_jax.audio.weights import Weights

FRAMES = 96
FEATURES = 128
CONVOLUTIONS = {  # name: channels, whether a pooling follows
    "conv1": (64, True),
    "conv2": (128, True),
    "conv3/conv3_1": (256, False),
    "conv3/conv3_2": (256, True),
    "conv4/conv4_1": (512, False),
    "conv4/conv4_2": (512, True),
}
DENSE = {"fc1/fc1_1": 4096, "fc1/fc1_2": 4096, "fc2": FEATURES}


def shapes() -> dict[str, tuple[int, ...]]:
    """The name and shape of each array in the published checkpoint, without `vggish/`; 72,141,184 numbers."""
    found: dict[str, tuple[int, ...]] = {}
    channels = 1
    for name, (features, _) in CONVOLUTIONS.items():
        found |= {f"{name}/weights": (3, 3, channels, features), f"{name}/biases": (features,)}
        channels = features
    size = FRAMES // 16 * VGGISH.bands // 16 * channels
    for name, features in DENSE.items():
        found |= {f"{name}/weights": (size, features), f"{name}/biases": (features,)}
        size = features
    return found


class Vggish(nn.Module):
    """The network. Its parameters are the checkpoint's, but for dense weights, which are transposed.

    On a processor [out, in] is three times as fast: a batch is a few columns to a large matrix.
    """

    @nn.compact
    def __call__(self, mel: jax.Array) -> jax.Array:
        """float32 [examples, 96, 64] log-mel to float32 [examples, 128]."""

        def parameters(name: str, weights: tuple[int, ...], features: int) -> list[jax.Array]:
            initial = nn.initializers.he_normal()
            return [
                self.param(f"{name}/weights", initial, weights),
                self.param(f"{name}/biases", nn.initializers.zeros, (features,)),
            ]

        x = mel[..., None]
        for name, (features, pooled) in CONVOLUTIONS.items():
            shape = (3, 3, x.shape[-1], features)
            x = convolution_layer(x, *parameters(name, shape, features), pooled=pooled)
        x = x.reshape(x.shape[0], -1)  # in the order time, band, channel
        for name, features in DENSE.items():
            weights, biases = parameters(name, (features, x.shape[-1]), features)
            columns = jax.lax.dot_general(weights, x, (((1,), (1,)), ((), ())), precision=FLOAT32)
            x = columns.T + biases[None]
            x = x if name == "fc2" else nn.relu(x)
        return x


def parameters_of(arrays: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """The network's parameters of the checkpoint's arrays; what else is among them is left out."""
    dense = {f"{name}/weights" for name in DENSE}
    return {
        name: jnp.asarray(arrays[name].T if name in dense else arrays[name]) for name in shapes()
    }


def vggish(weights: Weights, *, as_bytes: bool = True) -> Encoder:
    """VGGish as an encoder: 128 features, one a second as in AudioSet's released features.

    The public program's default is an example each 0.96 s: `dataclasses.replace(encoder, hop_seconds=0.96)`.

    Args:
      weights: of `vggish`, as `mla_jax.audio.convert` makes them.
      as_bytes: with the published PCA and 8 bits behind the network, as in the release; else float32.
    """
    arrays = weights.arrays
    axes = [jnp.asarray(arrays[VECTORS]), jnp.asarray(arrays[MEANS][:, 0])] if as_bytes else None
    return Encoder(
        name="vggish",
        embed=functools.partial(_embed, parameters_of(arrays), axes),
        num_features=FEATURES,
        example_seconds=VGGISH.num_samples(FRAMES) / VGGISH.sample_rate,
        hop_seconds=1.0,
        dtype="uint8" if as_bytes else "float32",
        postprocessing=PUBLISHED if as_bytes else "",
        details={"weights": weights.checksum},
    )


@jax.jit
def _embed(
    parameters: dict[str, jax.Array], axes: list[jax.Array] | None, examples: jax.Array
) -> jax.Array:
    embeddings = Vggish().apply({"params": parameters}, log_mel(examples, VGGISH))
    assert isinstance(embeddings, jax.Array)
    return embeddings if axes is None else quantise(embeddings, *axes)
