"""An encoder's weights in one .npz: converted once, then read without TensorFlow."""

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.errors import UserError
from mla_jax.storage import cache
from mla_jax.storage.files import replacing

_ABOUT = "about"
# By encoder and the end of its published file, the flag of mla-download-encoder that takes it.
_MADE_OF = {("vggish", ".ckpt"): "--checkpoint", ("yamnet", ".tflite"): "--tflite"}


@dataclasses.dataclass(frozen=True)
class Weights:
    """The arrays of an encoder.

    Attributes:
      encoder: its name.
      arrays: float32, by name.
      sources: the SHA-256 of each file that they come from, in hexadecimal, by its role.
      checksum: SHA-256 of the arrays, in hexadecimal: the same for the same weights, whatever their file.
    """

    encoder: str
    arrays: Mapping[str, np.ndarray]
    sources: Mapping[str, str]
    checksum: str

    @classmethod
    def of(
        cls, encoder: str, arrays: Mapping[str, np.ndarray], sources: Mapping[str, str]
    ) -> "Weights":
        """Weights with the checksum of these arrays."""
        digest = hashlib.sha256()
        for name, array in sorted(arrays.items()):
            digest.update(f"{name} {array.shape} {array.dtype}\n".encode())
            digest.update(np.ascontiguousarray(array).data)
        return cls(encoder, arrays, sources, digest.hexdigest())


def default_path(encoder: str) -> Path:
    """Where an encoder's weights are looked for: `encoders/<encoder>.npz` in the cache's folder."""
    return cache.root() / "encoders" / f"{encoder}.npz"


def save_weights(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Writes the .npz, whole or not at all.

    Raises:
      UserError: it cannot be written.
    """
    about = dataclasses.asdict(weights)
    del about["arrays"]
    with replacing(Path(path), binary=True) as file:
        members: dict[str, Any] = {_ABOUT: np.array(json.dumps(about)), **weights.arrays}
        np.savez(file, **members)


def ways_on(encoder: str) -> str:
    """What a user can do who cannot get the weights of this encoder, as a part of a message."""
    others = [name for name in ("vggish", "yamnet") if name != encoder]
    return (
        "without them, use data that are embedded already, or train on your own sounds with another encoder "
        f"({' or '.join([*others, 'log_mel_statistics'])}): docs/guide_audio.md, 'Without the weights'"
    )


def load_weights(encoder: str, path: str | os.PathLike[str] | None = None) -> Weights:
    """Reads an encoder's weights.

    Args:
      encoder: its name.
      path: the .npz; None for `default_path`.

    Raises:
      UserError: they are not there, damaged, or another encoder's.
    """
    place = Path(path or default_path(encoder))
    if not place.is_file():
        raise UserError(
            f"there are no weights of {encoder} at {place}; "
            f"mla-download-encoder --encoder={encoder} --output={place} brings them; {ways_on(encoder)}"
        )
    try:
        with place.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            about = json.loads(str(file[_ABOUT]))
            arrays = {name: file[name] for name in file.files if name != _ABOUT}
            weights = Weights(arrays=arrays, **about)
    except Exception as error:  # of many kinds, from zipfile, zlib, json and NumPy
        # What NumPy says of a file that is no archive is about pickles, and misleads.
        cause = f" ({error})" if zipfile.is_zipfile(place) else ""
        flag = _MADE_OF.get((encoder, place.suffix))
        made_of = f" {flag}={place}" if flag else ""
        raise UserError(
            f"{place} is damaged, or no .npz of weights{cause}; mla-download-encoder --encoder={encoder}"
            f"{made_of} makes one"
        ) from error
    if weights.encoder != encoder:
        raise UserError(f"{place} has the weights of {weights.encoder}, not of {encoder}")
    return weights
