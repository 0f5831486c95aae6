"""The tagger as a function of JAX: what every other format is compared with."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mla_jax.export.tagger import Tagger

Program = Callable[[jax.Array, jax.Array], dict[str, jax.Array]]


def tagger_program(tagger: Tagger) -> Program:
    """A function of embeddings and mask that returns `clip` and `segments`, as `Tagger` says.

    Shapes may have dimensions that are symbols of `jax.export`.
    """
    model, variables = tagger.trained.model, tagger.trained.variables
    scaling = tagger.embedding.scaling

    def probabilities(x: jax.Array, mask: jax.Array | None) -> jax.Array:
        logits = model.apply(variables, x, mask)
        return jax.nn.sigmoid(logits)  # type: ignore[arg-type]

    def program(embeddings: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        batch, time, features = embeddings.shape
        # Padding counts for nothing, or as zeros: what it holds, NaN even, must not matter.
        stored = jnp.where(mask[:, :, None], embeddings, 0).astype(jnp.float32)
        x = (stored - scaling.offset) / scaling.scale
        clip = probabilities(x, mask if tagger.use_mask else None)
        segments = probabilities(x.reshape(batch * time, 1, features), None)
        return {
            "clip": jnp.where(jnp.any(mask, axis=1)[:, None], clip, 0),
            "segments": jnp.where(mask[:, :, None], segments.reshape(batch, time, -1), 0),
        }

    return program
