"""Published files to `Weights`: VGGish's checkpoint and PCA, YAMNet's TFLite file."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mla_jax.audio import vggish, yamnet
from mla_jax.audio.pca import MEANS, VECTORS, load_pca
from mla_jax.audio.weights import Weights
from mla_jax.errors import UserError


def convert_vggish(checkpoint: str | os.PathLike[str], pca: str | os.PathLike[str]) -> Weights:
    """VGGish's weights of `vggish_model.ckpt` and `vggish_pca_params.npz`; TensorFlow must be installed.

    Raises:
      UserError: a file is not there, damaged, or not of this network.
    """
    from mla_jax.audio.tensorflow_files import read_checkpoint

    sources = _sources(checkpoint=checkpoint, pca=pca)
    names = [f"vggish/{name}" for name in vggish.shapes()]
    found = read_checkpoint(os.fspath(checkpoint), names)
    arrays = {name.removeprefix("vggish/"): array for name, array in found.items()}
    _require_shapes(os.fspath(checkpoint), arrays, vggish.shapes())
    axes = load_pca(pca)
    arrays |= {VECTORS: axes.vectors, MEANS: axes.means[:, None]}
    _require_shapes(
        os.fspath(pca),
        arrays,
        {VECTORS: (vggish.FEATURES, vggish.FEATURES), MEANS: (vggish.FEATURES, 1)},
    )
    return Weights.of("vggish", arrays, sources)


def convert_yamnet(tflite: str | os.PathLike[str]) -> Weights:
    """YAMNet's weights of its TFLite file, waveform or log-mel in; TensorFlow must be installed.

    Raises:
      UserError: it is not there, damaged, or not of this network.
    """
    from mla_jax.audio.tensorflow_files import read_tflite_layers

    sources = _sources(tflite=tflite)
    layers = read_tflite_layers(os.fspath(tflite))
    arrays: dict[str, np.ndarray] = {}
    for place, name in enumerate(n for n in yamnet.layer_names() if n in layers):
        weights, biases = layers[name]
        # The first layer [out, 3, 3, 1] to [3, 3, out]; then, in turn, depthwise ones [1, 3, 3, out] to
        # [3, 3, out] and pointwise ones [out, 1, 1, in] to [in, out].
        if place == 0:
            weights = weights[..., 0].transpose(1, 2, 0)
        elif place % 2:
            weights = weights[0]
        else:
            weights = weights[:, 0, 0].T
        arrays |= {f"{name}/weights": np.ascontiguousarray(weights), f"{name}/biases": biases}
    _require_shapes(os.fspath(tflite), arrays, yamnet.shapes())
    return Weights.of("yamnet", arrays, sources)


def _sources(**paths: str | os.PathLike[str]) -> dict[str, str]:
    """The SHA-256 of each file, by its role."""
    found = {}
    for role, path in paths.items():
        try:
            with Path(path).open("rb") as file:
                found[role] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return found


def _require_shapes(
    path: str, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    for name, shape in shapes.items():
        if name not in arrays:
            raise UserError(f"{path} has no {name}: it is not of this network")
        if arrays[name].shape != shape:
            raise UserError(
                f"{path}: {name} is {arrays[name].shape}, not {shape}: it is not of this network"
            )
