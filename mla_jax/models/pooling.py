r"""Pooling: clip probabilities from what a head says of each segment. Pure functions, no parameters.

A head makes two maps of its segments, the classification logits $c$ and the attention logits $v$, both
`[batch, time, classes]`. A pooling turns them into clip logits `[batch, classes]`.

Everything happens in log space, so that nothing is clipped and nothing overflows: with
$f_t = \sigma(c_t)$ and weights $a_t$ that sum to one over time, the clip probability is
$y = \sum_t a_t f_t$, and

$$\log y = \mathrm{logsumexp}_t(\log a_t + \log\sigma(c_t)), \qquad
  \log(1 - y) = \mathrm{logsumexp}_t(\log a_t + \log\sigma(-c_t)),$$

the second because the weights sum to one. A pooling returns the logit $\log y - \log(1 - y)$, from which
`sigmoid` gives back $y$, and the stable cross-entropy of `optax` the exact loss.

To add a pooling, write such a function and enter it in `POOLINGS`; `model.pooling` then takes its name.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

# The weight, before normalisation, of a segment that is not there: its exponential is exactly zero
# beside any real one, and yet a clip of nothing but padding stays finite.
_ABSENT = -1e30


class Pooled(NamedTuple):
    """What a pooling gives.

    Attributes:
      logits: [batch, classes] logits of the clip probabilities.
      weights: [batch, time, classes] how much each segment counts; sums to one over time.
    """

    logits: jax.Array
    weights: jax.Array


class Pooling(NamedTuple):
    """A pooling and what it needs.

    Attributes:
      pool: (class_logits, attention_logits, mask) -> Pooled. `attention_logits` is None unless
        `uses_attention`.
      uses_attention: whether a head must make attention logits for it.
    """

    pool: Callable[[jax.Array, jax.Array | None, jax.Array], Pooled]
    uses_attention: bool


def normalize_over_time(log_scores: jax.Array, mask: jax.Array) -> jax.Array:
    """Log weights that sum to one over the real segments: a = v / sum_t v.

    Args:
      log_scores: [batch, time, classes] log of the unnormalised attention v.
      mask: [batch, time] bool, True where there is a segment.

    Returns:
      [batch, time, classes]; far below the logarithm of any number where there is no segment.
    """
    log_scores = jnp.where(mask[:, :, None], log_scores, _ABSENT)
    return log_scores - jax.nn.logsumexp(log_scores, axis=1, keepdims=True)


def weighted_logits(class_logits: jax.Array, log_weights: jax.Array) -> jax.Array:
    """Logits of y = sum_t a_t sigmoid(c_t), without ever leaving log space.

    Args:
      class_logits: [batch, time, classes] c.
      log_weights: [batch, time, classes] log a, normalised over time.

    Returns:
      [batch, classes].
    """
    log_y = jax.nn.logsumexp(log_weights + jax.nn.log_sigmoid(class_logits), axis=1)
    log_not_y = jax.nn.logsumexp(log_weights + jax.nn.log_sigmoid(-class_logits), axis=1)
    return log_y - log_not_y


# The published programs clip the attention v to this and, where it cannot exceed 1, to 1 minus this.
_SMALLEST = 1e-7


def _clip_probability(log_v: jax.Array) -> jax.Array:
    return jnp.clip(log_v, jnp.log(_SMALLEST), jnp.log1p(-_SMALLEST))


def softmax_over_classes(attention_logits: jax.Array, _: jax.Array) -> jax.Array:
    """The paper's attention: log of softmax over the classes, clipped to [1e-7, 1 - 1e-7]."""
    return _clip_probability(jax.nn.log_softmax(attention_logits, axis=-1))


def softmax_over_time(attention_logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Log of softmax over the real segments, clipped to [1e-7, 1 - 1e-7]."""
    return _clip_probability(normalize_over_time(attention_logits, mask))


def sigmoid(attention_logits: jax.Array, _: jax.Array) -> jax.Array:
    """Log of the sigmoid, clipped to [1e-7, 1 - 1e-7] (Kong et al., 2019)."""
    return _clip_probability(jax.nn.log_sigmoid(attention_logits))


def exp(attention_logits: jax.Array, _: jax.Array) -> jax.Array:
    """The logits themselves, clipped so that v is within [1e-7, 1e7].

    Normalised over time it is softmax over time, but for where the clips act: here on the logits,
    there on the weights.
    """
    return jnp.clip(attention_logits, jnp.log(_SMALLEST), -jnp.log(_SMALLEST))


def attention(activation: Callable[[jax.Array, jax.Array], jax.Array]) -> Pooling:
    """Attention pooling (paper, Eqs. 2 and 3).

    Args:
      activation: (attention_logits [batch, time, classes], mask [batch, time]) -> log v, the logarithm of
        the attention before it is normalised over time.
    """

    def pool(
        class_logits: jax.Array, attention_logits: jax.Array | None, mask: jax.Array
    ) -> Pooled:
        assert attention_logits is not None
        log_weights = normalize_over_time(activation(attention_logits, mask), mask)
        return Pooled(weighted_logits(class_logits, log_weights), jnp.exp(log_weights))

    return Pooling(pool, uses_attention=True)


def mean_pooling(class_logits: jax.Array, _: jax.Array | None, mask: jax.Array) -> Pooled:
    """Average pooling: every segment counts the same."""
    log_weights = normalize_over_time(jnp.zeros_like(class_logits), mask)
    return Pooled(weighted_logits(class_logits, log_weights), jnp.exp(log_weights))


def max_pooling(class_logits: jax.Array, _: jax.Array | None, mask: jax.Array) -> Pooled:
    """Max pooling: the clip is as probable as its most probable segment."""
    present = jnp.where(mask[:, :, None], class_logits, _ABSENT)
    logits = jnp.max(present, axis=1)
    is_max = (present == logits[:, None, :]).astype(class_logits.dtype)
    # A clip of nothing but padding has no segment to choose; zero keeps it finite.
    return Pooled(
        jnp.where(jnp.any(mask, axis=1)[:, None], logits, 0.0),
        is_max / jnp.sum(is_max, axis=1, keepdims=True),
    )


POOLINGS: dict[str, Pooling] = {
    "attention": attention(softmax_over_classes),
    "attention_over_time": attention(softmax_over_time),
    "attention_sigmoid": attention(sigmoid),
    "attention_exp": attention(exp),
    "mean": Pooling(mean_pooling, uses_attention=False),
    "max": Pooling(max_pooling, uses_attention=False),
}
"""Every pooling by the name that `model.pooling` takes."""
