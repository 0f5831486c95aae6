r"""Embeddings as few bytes, as AudioSet's release has them: principal components, whitened, in 8 bits.

$y = V (e - \mu)$, clipped to [-2, 2]; the byte is $\lfloor (y + 2) \cdot 255 / 4 \rfloor$.
"""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mla_jax.audio.encoder import Encoder
from mla_jax.data.embedding import AUDIOSET, Embedding
from mla_jax.errors import UserError
from mla_jax.storage.files import replacing

PUBLISHED, FITTED = AUDIOSET.postprocessing, "own PCA, 8 bits"
"""What embeddings carry as their postprocessing: VGGish's published one, which AudioSet has, or another."""

VECTORS, MEANS = "pca_eigen_vectors", "pca_means"
"""The names in the published file, [features, features] and [features, 1]; ours has them too."""

_BLOCK = 256  # embeddings that become bytes at a time
_LEAST_VARIANCE = 1e-9  # of a component, times the largest


@dataclasses.dataclass(frozen=True)
class Pca:
    """A change of axes.

    Attributes:
      vectors: float32 [components, features]; whitening is in their lengths.
      means: float32 [features].
      encoder: what embeddings it was made of, of any hop; None for VGGish's published one.
    """

    vectors: np.ndarray
    means: np.ndarray
    encoder: Embedding | None = None

    @property
    def checksum(self) -> str:
        """SHA-256 of the numbers, in hexadecimal."""
        numbers = np.ascontiguousarray(self.vectors).tobytes() + self.means.tobytes()
        return hashlib.sha256(numbers).hexdigest()


def quantise(embeddings: jax.Array, vectors: jax.Array, means: jax.Array) -> jax.Array:
    """Embeddings as bytes.

    Args:
      embeddings: float32 [..., features].
      vectors: float32 [components, features].
      means: float32 [features].

    Returns:
      uint8 [..., components].
    """
    centred = embeddings - means.reshape((1,) * (embeddings.ndim - 1) + means.shape)
    y = jnp.matmul(centred, vectors.T, precision=jax.lax.Precision.HIGHEST)
    return ((jnp.clip(y, -2.0, 2.0) + 2.0) * (255.0 / 4.0)).astype(jnp.uint8)


def fit_pca(blocks: Iterable[np.ndarray], encoder: Encoder, num_features: int = 128) -> Pca:
    """The principal components of embeddings, each of variance 1 on them.

    Args:
      blocks: [segments, features] each, in any number: only their mean and covariance are kept.
      encoder: what made them.
      num_features: how many components to keep: the directions of the largest variance.

    Raises:
      UserError: the embeddings do not vary in so many directions.
    """
    count, shift = 0, np.zeros(encoder.num_features)
    total = np.zeros(encoder.num_features)
    products = np.zeros((encoder.num_features, encoder.num_features))
    for block in blocks:
        values = np.asarray(block, np.float64)
        if not count and len(values):
            shift = values.mean(axis=0)  # else what is common to all would swallow what varies
        values = values - shift
        count += len(values)
        total += values.sum(axis=0)
        products += values.T @ values
    mean = total / max(count, 1)
    variances, directions = np.linalg.eigh(products / max(count, 1) - np.outer(mean, mean))
    variances, directions = variances[::-1], directions.T[::-1]
    varying = int(np.sum(variances > _LEAST_VARIANCE * max(variances[0], 0.0)))
    if num_features > varying:
        raise UserError(
            f"{count} embeddings of {encoder.name} vary in {varying} directions, fewer than "
            f"num_features={num_features}; give more of them, or ask for fewer features"
        )
    vectors = directions[:num_features] / np.sqrt(variances[:num_features, None])
    largest = np.abs(vectors).argmax(axis=1)
    vectors *= np.sign(vectors[np.arange(num_features), largest])[:, None]
    return Pca(vectors.astype(np.float32), (mean + shift).astype(np.float32), _without_hop(encoder))


def with_pca(encoder: Encoder, pca: Pca) -> Encoder:
    """The encoder that gives another's embeddings as bytes.

    Raises:
      UserError: the components are of another encoder, or of another number of features.
    """
    ours = _without_hop(encoder)
    difference = pca.encoder.difference(ours) if pca.encoder else ""
    if pca.vectors.shape[1:] != (encoder.num_features,):
        difference = f"features {pca.vectors.shape[1]} and {encoder.num_features}"
    if difference:
        raise UserError(
            f"the PCA was made of other embeddings than those of {encoder.name} ({difference}); fit it on "
            "this encoder's"
        )
    to_bytes = _quantiser(pca)
    return dataclasses.replace(
        encoder,
        embed=lambda examples: to_bytes(jnp.asarray(encoder.embed(examples), jnp.float32)),
        num_features=len(pca.vectors),
        dtype="uint8",
        postprocessing=FITTED if pca.encoder else PUBLISHED,
        details={**encoder.details, "pca": pca.checksum},
    )


def bytes_of(embeddings: np.ndarray, pca: Pca) -> np.ndarray:
    """Embeddings that were made before as `with_pca` gives them, but for rounding: a byte may be 1 away.

    Args:
      embeddings: [segments, features], any number of them.
      pca: of the encoder that made them.

    Returns:
      uint8 [segments, components].
    """
    to_bytes = _quantiser(pca)
    found = np.zeros((len(embeddings), len(pca.vectors)), np.uint8)
    for begin in range(0, len(embeddings), _BLOCK):
        block = np.zeros((_BLOCK, embeddings.shape[1]), np.float32)  # of one shape, to compile once
        some = embeddings[begin : begin + _BLOCK]
        block[: len(some)] = some
        found[begin : begin + _BLOCK] = np.asarray(to_bytes(jnp.asarray(block)))[: len(some)]
    return found


_jitted_quantise = jax.jit(quantise)


def _quantiser(pca: Pca) -> Callable[[jax.Array], jax.Array]:
    return functools.partial(
        _jitted_quantise, vectors=jnp.asarray(pca.vectors), means=jnp.asarray(pca.means)
    )


def save_pca(pca: Pca, path: str | os.PathLike[str]) -> None:
    """Writes an .npz with the names of VGGish's published one, and the encoder.

    Raises:
      UserError: it cannot be written.
    """
    with replacing(Path(path), binary=True) as file:
        members: dict[str, Any] = {VECTORS: pca.vectors, MEANS: pca.means[:, None]}
        if pca.encoder:
            members["encoder"] = np.array(json.dumps(pca.encoder.to_json(), sort_keys=True))
        np.savez(file, **members)


def load_pca(path: str | os.PathLike[str]) -> Pca:
    """Reads what `save_pca` wrote, or VGGish's published `vggish_pca_params.npz`.

    Raises:
      UserError: it is not there, damaged, or something else.
    """
    try:
        with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            vectors, means = file[VECTORS].astype(np.float32), file[MEANS].astype(np.float32)
            made_of = json.loads(str(file["encoder"])) if "encoder" in file else None
            encoder = Embedding.from_json(made_of) if made_of else None
    except FileNotFoundError as error:
        raise UserError(f"cannot read {path}: No such file or directory") from error
    except Exception as error:
        raise UserError(
            f"{path} is no PCA: an .npz with {VECTORS} and {MEANS} is needed ({error})"
        ) from error
    if vectors.ndim != 2 or means.size != vectors.shape[1]:
        raise UserError(
            f"{path}: {VECTORS} {vectors.shape} and {MEANS} {means.shape} do not go together"
        )
    return Pca(vectors, means.reshape(-1), encoder)


def _without_hop(encoder: Encoder) -> Embedding:
    return dataclasses.replace(encoder.describe(), hop_seconds=None)
