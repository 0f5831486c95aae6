"""Principal components of a collection's own embeddings, for encoders that bring none."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mla_jax.audio.encoder import Encoder
from mla_jax.audio.pca import Pca, fit_pca, load_pca, save_pca
from mla_jax.errors import UserError
from mla_jax.storage import outputs, paths


def require_can_fit(
    path: str, output: Path, encoder: Encoder, num_features: int, *, goes_on: bool
) -> None:
    """Looks at what `fit_and_keep` will need, before the work begins.

    Args:
      path: the file to write.
      output: where the clips go.
      encoder: what makes the embeddings.
      num_features: how many components are kept.
      goes_on: whether the work was begun before, so that the file may be there already.

    Raises:
      UserError: the file is there or cannot be written, or the encoder has too few features, or makes bytes.
    """
    place = Path(paths.require_local(paths.expanded(path), "--fit_pca"))
    outputs.require_writable(place, [output])
    if paths.resolved(output) in paths.resolved(place).parents:
        raise UserError(f"{path} is in the output, {output}; give a place outside it")
    if place.exists() and not goes_on:
        raise UserError(
            f"{path} already exists; give another name to fit a PCA, or take this one with pca={path}"
        )
    if encoder.dtype == "uint8":
        raise UserError(f"{encoder.name} makes bytes already, so no PCA can be fitted to them")
    if num_features > encoder.num_features:
        raise UserError(
            f"{encoder.name} has {encoder.num_features:,} features, fewer than pca_features={num_features}; "
            "give at most as many"
        )


def fit_and_keep(
    blocks: Iterable[np.ndarray], encoder: Encoder, num_features: int, path: str
) -> Pca:
    """Fits a PCA and writes it to a file, in bounded memory; the same blocks give the same file.

    Args:
      blocks: embeddings, [segments, features] each.
      encoder: what made them.
      num_features: how many components are kept.
      path: the file, as `mla_jax.audio.pca.save_pca` writes it; if it is there already, it must be the same.

    Raises:
      UserError: the embeddings vary too little, another PCA is there, or it cannot be written.
    """
    place = Path(paths.expanded(path))
    pca = fit_pca(blocks, encoder, num_features)
    if not place.exists():
        save_pca(pca, place)
    elif load_pca(place).checksum != pca.checksum:
        raise UserError(
            f"{path} is another PCA than that of these recordings; remove it, or give another name"
        )
    return pca
