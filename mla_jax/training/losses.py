"""The loss of a batch of clips, and the L2 penalty."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def binary_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    weights: jax.Array | None = None,
    known: jax.Array | None = None,
) -> jax.Array:
    r"""Mean binary cross-entropy over the known labels of clips. It takes logits, so nothing is clipped.

    $-\frac{1}{BK} \sum_{b,k} y_{bk} \log p_{bk} + (1 - y_{bk}) \log(1 - p_{bk})$ with $p = \sigma(logits)$.

    Args:
      logits: [batch, classes].
      labels: [batch, classes] of 0 and 1, or in between.
      weights: [batch] the weight of each clip, 0 for those that do not count; None: all 1.
      known: [batch, classes] bool, which labels are known, or their weights in [0, 1]; None: all are known.

    Returns:
      A scalar; 0 where no label is known.
    """
    losses = optax.sigmoid_binary_cross_entropy(logits, labels)
    if known is not None:
        counted = known.astype(losses.dtype)
        if weights is not None:
            counted = counted * weights[:, None]
        return jnp.sum(losses * counted) / jnp.maximum(jnp.sum(counted), 1)
    per_clip = jnp.mean(losses, axis=-1)
    if weights is None:
        return jnp.mean(per_clip)
    return jnp.sum(per_clip * weights) / jnp.sum(weights)


def kernel_penalty(params: Any) -> jax.Array:
    """The sum of squares of the blocks' kernels, as in Keras's `kernel_regularizer`."""
    levels = (params, params.get("clip", {}))
    blocks = [part for of in levels for name, part in of.items() if name.startswith("block_")]
    return jnp.sum(jnp.stack([jnp.sum(jnp.square(block["dense"]["kernel"])) for block in blocks]))
