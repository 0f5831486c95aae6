"""YAMNet (tensorflow/models, research/audioset/yamnet) in Flax: a MobileNet v1 on 96 x 64 log-mel values.

The weights come from its 8-bit TFLite form, with batch normalisation folded in. That form has ReLU6 where the
float model has ReLU; this one has ReLU6 too, and agrees with it to its quantisation steps.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from mla_jax.audio.convolution import FLOAT32, shifted_products
from mla_jax.audio.encoder import Encoder
from mla_jax.audio.log_mel import YAMNET, log_mel
from mla_jax.audio.weights import Weights

FRAMES = 96
FEATURES = 1024
FIRST = 32
BLOCKS = (  # channels and stride of each depthwise separable convolution
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)),
    *((512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1)),
    *((1024, 2), (1024, 1)),
)


def layer_names() -> list[str]:
    """Of the layers with weights, in order: `layer1`, ..., `layer27`."""
    return [f"layer{i + 1}" for i in range(1 + 2 * len(BLOCKS))]


def shapes() -> dict[str, tuple[int, ...]]:
    """The name and shape of each array that the network has."""
    found: dict[str, tuple[int, ...]] = {}
    channels = FIRST
    layers: list[tuple[tuple[int, ...], int]] = [((3, 3, FIRST), FIRST)]
    for features, _ in BLOCKS:
        layers += [((3, 3, channels), channels), ((channels, features), features)]
        channels = features
    for name, (weights, size) in zip(layer_names(), layers, strict=True):
        found |= {f"{name}/weights": weights, f"{name}/biases": (size,)}
    return found


class Yamnet(nn.Module):
    """The network without its classifier."""

    @nn.compact
    def __call__(self, mel: jax.Array) -> jax.Array:
        """float32 [examples, 96, 64] log-mel to float32 [examples, 1024]."""
        initial = {"weights": nn.initializers.he_normal(), "biases": nn.initializers.zeros}
        parameters = {
            name: self.param(name, initial[name.split("/")[1]], shape)
            for name, shape in shapes().items()
        }
        names = iter(layer_names())

        def depthwise(x: jax.Array, stride: int) -> jax.Array:
            name = next(names)
            y = shifted_products(x, parameters[f"{name}/weights"], stride=stride)
            return _relu6(y, parameters[f"{name}/biases"])

        def pointwise(x: jax.Array) -> jax.Array:
            name = next(names)
            y = jnp.matmul(x, parameters[f"{name}/weights"], precision=FLOAT32)
            return _relu6(y, parameters[f"{name}/biases"])

        x = depthwise(mel[..., None], stride=2)
        for _, stride in BLOCKS:
            x = pointwise(depthwise(x, stride))
        return x.mean((1, 2))


def _relu6(x: jax.Array, biases: jax.Array) -> jax.Array:
    return jax.nn.relu6(x + biases[None, None, None])


def yamnet(weights: Weights) -> Encoder:
    """YAMNet as an encoder: 1,024 features, float32, of examples that overlap by half, as published.

    Args:
      weights: of `yamnet`, as `mla_jax.audio.convert` makes them.
    """
    parameters = {name: jnp.asarray(weights.arrays[name]) for name in shapes()}
    return Encoder(
        name="yamnet",
        embed=functools.partial(_embed, parameters),
        num_features=FEATURES,
        example_seconds=YAMNET.num_samples(FRAMES) / YAMNET.sample_rate,
        hop_seconds=0.48,
        details={"weights": weights.checksum},
    )


@jax.jit
def _embed(parameters: dict[str, jax.Array], examples: jax.Array) -> jax.Array:
    embeddings = Yamnet().apply({"params": parameters}, log_mel(examples, YAMNET))
    assert isinstance(embeddings, jax.Array)
    return embeddings
