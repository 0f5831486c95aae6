"""Sound in, tags out, in one function of JAX: the encoder's examples are cut, embedded and tagged."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mla_jax.audio.encoder import LEAST_REMAINDER, Encoder
from mla_jax.export.program import tagger_program
from mla_jax.export.tagger import Tagger

SoundProgram = Callable[[jax.Array, jax.Array], dict[str, jax.Array]]


def sound_program(tagger: Tagger, encoder: Encoder) -> SoundProgram:
    """A function of sound that returns what `tagger_program` does, and `mask`, which segments there are.

    It takes `waveform`, float32 [clips, samples] at the encoder's sample rate, mono, and `num_samples`, int32
    [clips], after which a clip is padding, whatever that holds. A clip has the segments that
    `Encoder.num_segments` says. Shapes may have dimensions that are symbols of `jax.export`.

    Args:
      tagger: takes what the encoder makes.
      encoder: one whose `embed` is a function of JAX.
    """
    tag = tagger_program(tagger)

    def program(waveform: jax.Array, num_samples: jax.Array) -> dict[str, jax.Array]:
        batch, samples = waveform.shape
        there = jnp.arange(samples)[None, :] < num_samples[:, None]
        examples = _cut(jnp.where(there, waveform, 0), encoder)
        time = examples.shape[1]
        embedded = encoder.embed(examples.reshape(batch * time, encoder.example_samples))
        embeddings = embedded.astype(encoder.dtype).reshape(batch, time, encoder.num_features)
        mask = jnp.arange(time)[None, :] < num_segments(num_samples, encoder)[:, None]
        return {**tag(embeddings, mask), "mask": mask}

    return program


def _cut(waveform: jax.Array, encoder: Encoder) -> jax.Array:
    """Every example that begins within [clips, samples]: [clips, time, example samples]."""
    length, hop = encoder.example_samples, encoder.hop_samples
    samples = waveform.shape[1]
    time = (samples + hop - 1) // hop
    padded = jnp.pad(waveform, ((0, 0), (0, length)))
    at = jnp.arange(time)[:, None] * hop + jnp.arange(length)[None, :]
    return jnp.take(padded, at, axis=1, mode="clip")


def num_segments(samples: jax.Array, encoder: Encoder) -> jax.Array:
    """`Encoder.num_segments` of an array of integers."""
    length, hop = encoder.example_samples, encoder.hop_samples
    whole = 1 + (samples - length) // hop
    rest = samples - (whole - 1) * hop - max(length, hop)
    padded = (rest >= LEAST_REMAINDER * encoder.sample_rate).astype(whole.dtype)
    return jnp.where(samples <= length, jnp.minimum(samples, 1), whole + padded)
