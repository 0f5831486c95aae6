"""Whether embeddings mean what others mean: asked wherever data meet a model."""

import numpy as np
from absl import logging

from mla_jax.data.embedding import UNKNOWN, Embedding, Scaling
from mla_jax.errors import UserError

UNNAMED = "this set of clips"
"""What clips are called of which nobody says where they are from."""


def require_same_embedding(
    name: str,
    found: Embedding,
    expected_name: str,
    expected: Embedding | None,
    *,
    allow_other: bool = False,
) -> None:
    """Checks that embeddings mean what others mean, so that a model of the ones can be given the others.

    Args:
      name: what `found` is of, for a person: a path, `UNNAMED`.
      found: one description.
      expected_name: what `expected` is of.
      expected: the other description; None if nothing is known.
      allow_other: only warn, but of another number of features.

    Raises:
      UserError: they differ.
    """
    if expected is None:
        return
    if difference := found.difference(expected):
        what = f"has other embeddings than {expected_name}: {difference}"
        if found.num_features != expected.num_features:
            raise UserError(f"{name} {what}; give embeddings of one encoder")
        if not allow_other:
            raise UserError(
                f"{name} {what}; give embeddings of one kind, prepare data again if what is said of them "
                "is wrong, or say that they fit all the same with allow_other_embeddings"
            )
        _warn(name, f"{what}; used all the same")
    elif (found.encoder == UNKNOWN) != (expected.encoder == UNKNOWN):
        known = expected if found.encoder == UNKNOWN else found
        unknown = name if found.encoder == UNKNOWN else expected_name
        _warn(
            unknown,
            f"does not say what encoder its embeddings are of; taken for {known.encoder}",
        )


_FEW = 64  # clips that are looked at
_MOST_LEVELS = 16  # a value above it is no count, class or bit


def warn_of_bytes_as_floats(name: str, embeddings: np.ndarray, embedding: Embedding) -> None:
    """Warns of floats that look like bytes, as some encoders give them, where nobody said what they are.

    Args:
      name: what they are of, for a person.
      embeddings: [clips, time, features]; the first few clips are looked at.
      embedding: what is known of them.
    """
    plain = embedding.encoder == UNKNOWN and embedding.scaling == Scaling(0.0, 1.0)
    if embeddings.dtype == np.uint8 or not plain:
        return
    values = np.asarray(embeddings[:_FEW], np.float32)
    low, high = values.min(initial=0.0), values.max(initial=0.0)
    if low == 0.0 and _MOST_LEVELS < high <= 255.0 and not np.modf(values)[0].any():
        _warn(
            name,
            "has embeddings that are floats, but whole numbers from 0 to 255; if they are bytes, write them "
            "as uint8, or state their scaling, 128,128",
        )


_said: dict[str, set[str]] = {}


def _warn(name: str, what: str) -> None:
    """Logs a warning, the first time; of clips without a name, only if it was said of none with a name."""
    names = _said.setdefault(what, set())
    if name not in names and not (name == UNNAMED and names):
        logging.warning("%s %s", name, what)
    names.add(name)
