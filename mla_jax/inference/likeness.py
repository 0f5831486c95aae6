r"""What is alike: segments of a clip that sound alike, and classes that a model hears by the same features.

Segments that sound alike share what is heard in them, by a softmax over the cosine of their embeddings $x$,

$$P_{ts} = \mathrm{softmax}_s \big(\cos(x_t, x_s) / 0.25\big).$$

What is heard of a class is heard of those that are like it: "Male speech" is rarely labelled, "Speech" often,
and both sound in the same seconds. How alike two classes are follows from the weights $w$ of their logits,
less the mean over the classes,

$$A_{kj} = \max\big(0, \tfrac1L \sum_l \cos(w^l_k, w^l_j)\big), \quad A_{kk} = 0.$$
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

TEMPERATURE = 0.25
"""Of the softmax over segments: the cosine that makes a segment count e times as much."""

SMALLEST_NORM = 1e-6
"""Vectors shorter than this are like nothing, themselves too."""


def alike_segments(embeddings: jax.Array, mask: jax.Array) -> jax.Array:
    """How much each segment takes from each segment of its clip, P.

    Args:
      embeddings: [clips, time, features] float32.
      mask: [clips, time] bool, which segments count.

    Returns:
      [clips, time, time]; rows sum to one, over the segments that count, or are zero if none does.
    """
    x = jnp.where(mask[:, :, None], embeddings, 0)
    norms = jnp.sqrt(jnp.sum(x**2, axis=-1, keepdims=True))
    x = x / jnp.maximum(norms, SMALLEST_NORM)
    cosine = jnp.einsum("btm,bsm->bts", x, x)
    weights = jnp.where(mask[:, None, :], jnp.exp((cosine - 1) / TEMPERATURE), 0)
    return weights / jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), SMALLEST_NORM)


def alike_classes(kernels: Sequence[np.ndarray]) -> np.ndarray:
    """How alike the classes are, A. In NumPy: it is made once of a model, and nothing is compiled for it.

    Args:
      kernels: of each level, the weights of the class logits, [units, classes] float32.

    Returns:
      [classes, classes] float32, symmetric, from 0 to 1, with a diagonal of 0.
    """
    cosine = np.zeros((kernels[0].shape[1],) * 2, np.float32)
    for kernel in kernels:
        centred = (kernel - np.mean(kernel, axis=1, keepdims=True)).T
        norms = np.linalg.norm(centred, axis=1, keepdims=True)
        unit = centred / np.maximum(norms, SMALLEST_NORM)
        cosine += unit @ unit.T / len(kernels)
    np.fill_diagonal(cosine, 0)
    return np.maximum(cosine, 0)
