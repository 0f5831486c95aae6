"""`mla_jax.inference.likeness` in Keras: what is heard, shared among segments and classes that are alike."""

from typing import Any

import numpy as np

from mla_jax.export.keras import ops
from mla_jax.inference.likeness import SMALLEST_NORM, TEMPERATURE


def share(x: Any, evidence: Any, probs: Any, counts: Any, alike: np.ndarray | None) -> Any:
    """The logits of segments, each with a part of what is heard in others.

    Args:
      x: the segments' embeddings, [clips, time, features].
      evidence: what is heard in each, [clips, time, classes].
      probs: of the clips, [clips, 1, classes].
      counts: which segments count, [clips, time, 1] bool.
      alike: how alike classes are, [classes, classes]; None if they share nothing.

    Returns:
      [clips, time, classes].
    """
    norms = ops.sqrt(ops.sum(x * x, axis=-1, keepdims=True))
    x = x / ops.maximum(norms, SMALLEST_NORM)
    cosine = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
    weights = ops.exp((cosine - 1.0) / TEMPERATURE)
    weights = weights * ops.cast(ops.transpose(counts, (0, 2, 1)), "float32")
    total = ops.maximum(ops.sum(weights, axis=-1, keepdims=True), SMALLEST_NORM)
    shared = ops.matmul(weights / total, evidence)
    if alike is None:
        return shared
    return shared + ops.matmul(against_the_clip(shared, counts) * ops.sqrt(probs), alike)


def against_the_clip(values: Any, counts: Any) -> Any:
    """Values, [clips, time, n], minus the mean over the segments that count; 0 for others."""
    counts = ops.cast(counts, "float32")
    number = ops.maximum(ops.sum(counts, axis=-2, keepdims=True), 1.0)
    mean = ops.sum(values * counts, axis=-2, keepdims=True) / number
    return (values - mean) * counts
