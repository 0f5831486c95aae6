"""Stored embeddings as a model takes them."""

import jax
import jax.numpy as jnp


def model_inputs(
    embeddings: jax.Array,
    num_segments: jax.Array,
    *,
    offset: float,
    scale: float,
    use_mask: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Scales embeddings to float32, and tells which segments are real.

    Args:
      embeddings: [batch, time, features] uint8, float16 or float32.
      num_segments: [batch] integers.
      offset, scale: the data's `Scaling`: (embedding - offset) / scale.
      use_mask: False: padding counts as segments of zero bytes, as in the original programs.

    Returns:
      ([batch, time, features] float32, [batch, time] bool).
    """
    present = jnp.arange(embeddings.shape[1])[None, :] < num_segments[:, None]
    scaled = (embeddings.astype(jnp.float32) - offset) / scale
    return scaled, present if use_mask else jnp.ones_like(present)
