"""The tagger as a function of JAX: what every other format is compared with."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mla_jax.export.tagger import Tagger
from mla_jax.inference.segment_scores import clip_and_segment_probs, segment_weights

Program = Callable[[jax.Array, jax.Array], dict[str, jax.Array]]


def tagger_program(tagger: Tagger) -> Program:
    """A function of embeddings and mask that returns `clip` and `segments`, as `Tagger` says.

    Shapes may have dimensions that are symbols of `jax.export`.
    """
    config = tagger.trained.config.model
    weights = segment_weights(config, tagger.trained.variables)
    scaling = tagger.embedding.scaling

    def program(embeddings: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        # Padding counts for nothing, or as zeros: what it holds, NaN even, must not matter.
        stored = jnp.where(mask[:, :, None], embeddings, 0).astype(jnp.float32)
        x = (stored - scaling.offset) / scaling.scale
        counts = mask if tagger.use_mask else jnp.ones_like(mask)
        probs, scores, _ = clip_and_segment_probs(config, weights, x, counts)
        return {
            "clip": jnp.where(jnp.any(mask, axis=1)[:, None], probs, 0),
            "segments": jnp.where(mask[:, :, None], scores, 0),
        }

    return program
