"""Encoders by name: those of this room, and a user's own."""

import dataclasses
import importlib
import os

from mla_jax.audio.encoder import Encoder
from mla_jax.audio.pca import load_pca, with_pca
from mla_jax.audio.statistics import LOG_MEL_STATISTICS
from mla_jax.audio.vggish import vggish
from mla_jax.audio.weights import load_weights
from mla_jax.audio.yamnet import yamnet
from mla_jax.errors import UserError

NAMES = ("vggish", "yamnet", "log_mel_statistics")


def make_encoder(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    hop_seconds: float | None = None,
    pca: str | os.PathLike[str] | None = None,
) -> Encoder:
    """The encoder of this name.

    Args:
      name: one of `NAMES`, or `package.module:attribute` of an `Encoder` of one's own.
      weights: the .npz of its weights, where it has any; None for the one in the cache's folder.
      hop_seconds: from example to example; None for the encoder's own.
      pca: a file of `mla_jax.audio.pca.save_pca`: the embeddings become bytes.

    Raises:
      UserError: there is no such encoder, it has no weights and some are given, a file is missing or damaged,
        or the hop is not valid.
    """
    if name == "vggish":
        encoder = vggish(load_weights(name, weights))
    elif name == "yamnet":
        encoder = yamnet(load_weights(name, weights))
    elif weights is not None:
        raise UserError(f"weights={weights} is not used: {name} takes no file of weights")
    elif name == "log_mel_statistics":
        encoder = LOG_MEL_STATISTICS
    else:
        encoder = _own(name)
    if hop_seconds is not None:
        encoder = dataclasses.replace(encoder, hop_seconds=hop_seconds)
    return encoder if pca is None else with_pca(encoder, load_pca(pca))


def _own(name: str) -> Encoder:
    module, _, attribute = name.partition(":")
    if not attribute:
        raise UserError(
            f"there is no encoder {name!r}: choose from {', '.join(NAMES)}, or give your own as "
            "package.module:attribute"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"encoder {name!r} cannot be imported: {error}") from error
    if not isinstance(found, Encoder):
        raise UserError(f"{name} is {type(found).__name__}, not a mla_jax.audio.encoder.Encoder")
    return dataclasses.replace(found, name=name)  # by which a run finds it again
