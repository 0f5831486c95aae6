r"""Pooling: from the logits of a clip's segments to those of the clip. Pure functions, no parameters.

A head makes two maps of its segments, the classification logits $c$ and the attention logits $v$, both
`[batch, time, classes]`. A pooling turns them into clip logits `[batch, classes]`: with segment
probabilities $f_t = \sigma(c_t)$ and attention scores $v_t > 0$ the clip probability is
$y = \sum_t a_t f_t$ with weights $a_t = v_t / \sum_s v_s$, and its logit

$$\log\frac{y}{1 - y} = \log\sum_t v_t \sigma(c_t) - \log\sum_t v_t \sigma(-c_t).$$

From it `sigmoid` gives back $y$, and the stable cross-entropy of `optax` the exact loss: nothing is
clipped and nothing saturates (`weighted_logits` says how).

To add a pooling, write such a function and add it to `POOLINGS`; `model.pooling` then takes its name.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mla_jax.models.weighted_logits import if_empty, weighted_logits


class Pooled(NamedTuple):
    """What a pooling returns.

    Attributes:
      logits: [batch, classes] logits of the clip probabilities.
      weights: [batch, time, classes] how much each segment counts; sums to one over time.
    """

    logits: jax.Array
    weights: jax.Array


class Pooling(NamedTuple):
    """A pooling function, and whether it uses attention.

    Attributes:
      pool: (class_logits, attention_logits, mask) -> Pooled.
      uses_attention: False: `attention_logits` is None, and a head makes none.
      scores: (class_logits, attention_logits, mask) -> v, if the score of a segment does not depend on other
        segments. Then many windows cost little more than one (`mla_jax.models.windows`); without it each
        window is pooled by itself.
    """

    pool: Callable[[jax.Array, jax.Array | None, jax.Array], Pooled]
    uses_attention: bool
    scores: Callable[[jax.Array, jax.Array | None, jax.Array], jax.Array] | None = None


def normalize_over_time(scores: jax.Array, mask: jax.Array) -> jax.Array:
    """Weights that sum to one over the real segments: a = v / sum_t v.

    Args:
      scores: [batch, time, classes] the attention v, none below zero, not all of them zero.
      mask: [batch, time] bool, True where there is a segment.

    Returns:
      [batch, time, classes]; zero in padding, uniform for a clip of nothing else.
    """
    scores = jnp.where(mask[:, :, None], scores, if_empty(mask))
    return scores / jnp.sum(scores, axis=1, keepdims=True)


# The published programs clip attention to at least this and, if it is at most 1, to at most 1 minus this.
_SMALLEST = 1e-7


def _clip_probability(v: jax.Array) -> jax.Array:
    return jnp.clip(v, _SMALLEST, 1 - _SMALLEST)


def softmax_over_classes(attention_logits: jax.Array, _: jax.Array) -> jax.Array:
    """The paper's attention: softmax over the classes, clipped to [1e-7, 1 - 1e-7]."""
    return _clip_probability(jax.nn.softmax(attention_logits, axis=-1))


def softmax_over_time(attention_logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Softmax over the real segments, clipped to [1e-7, 1 - 1e-7]."""
    there = mask[:, :, None] | ~jnp.any(mask, axis=1)[:, None, None]
    return _clip_probability(jax.nn.softmax(attention_logits, axis=1, where=there))


def sigmoid(attention_logits: jax.Array, _: jax.Array) -> jax.Array:
    """The sigmoid, clipped to [1e-7, 1 - 1e-7] (Kong et al., 2019)."""
    return _clip_probability(jax.nn.sigmoid(attention_logits))


def exp(attention_logits: jax.Array, _: jax.Array) -> jax.Array:
    """The exponential, of logits clipped so that it is within [1e-7, 1e7].

    Normalised over time it is softmax over time, but there the weights are clipped, here the logits.
    """
    return jnp.exp(jnp.clip(attention_logits, jnp.log(_SMALLEST), -jnp.log(_SMALLEST)))


def pool_by(class_logits: jax.Array, scores: jax.Array, mask: jax.Array) -> Pooled:
    """Pools segments by attention scores above zero, [batch, time, classes]."""
    return Pooled(weighted_logits(class_logits, scores, mask), normalize_over_time(scores, mask))


def attention(
    activation: Callable[[jax.Array, jax.Array], jax.Array], *, over_time: bool = False
) -> Pooling:
    """Attention pooling (paper, Eqs. 2 and 3).

    Args:
      activation: (attention_logits [batch, time, classes], mask [batch, time]) -> v, the attention before
        it is normalised over time; above zero.
      over_time: whether v of a segment depends on the other segments.
    """

    def scores(_: jax.Array, attention_logits: jax.Array | None, mask: jax.Array) -> jax.Array:
        assert attention_logits is not None
        return activation(attention_logits, mask)

    def pool(
        class_logits: jax.Array, attention_logits: jax.Array | None, mask: jax.Array
    ) -> Pooled:
        return pool_by(class_logits, scores(class_logits, attention_logits, mask), mask)

    return Pooling(pool, uses_attention=True, scores=None if over_time else scores)


def all_equal(class_logits: jax.Array, _: jax.Array | None, __: jax.Array) -> jax.Array:
    """The score 1 for every segment."""
    return jnp.ones_like(class_logits)


def mean_pooling(class_logits: jax.Array, _: jax.Array | None, mask: jax.Array) -> Pooled:
    """Average pooling: every segment counts the same."""
    return pool_by(class_logits, jnp.ones_like(class_logits), mask)


def max_pooling(class_logits: jax.Array, _: jax.Array | None, mask: jax.Array) -> Pooled:
    """Max pooling: the clip is as probable as its most probable segment."""
    # A clip of nothing but padding has no segment to choose; zero keeps it finite.
    lowest = jnp.where(jnp.any(mask, axis=1), -jnp.inf, 0.0)[:, None, None]
    present = jnp.where(mask[:, :, None], class_logits, lowest)
    logits = jnp.max(present, axis=1)
    # A compiler may compute the maximum twice, to other last bits: then none would be equal to it.
    first = jnp.argmax(present, axis=1)[:, None, :] == jnp.arange(present.shape[1])[None, :, None]
    is_max = ((present == logits[:, None, :]) | first).astype(class_logits.dtype)
    return Pooled(logits, is_max / jnp.sum(is_max, axis=1, keepdims=True))


POOLINGS: dict[str, Pooling] = {
    "attention": attention(softmax_over_classes),
    "attention_over_time": attention(softmax_over_time, over_time=True),
    "attention_sigmoid": attention(sigmoid),
    "attention_exp": attention(exp),
    "mean": Pooling(mean_pooling, uses_attention=False, scores=all_equal),
    "max": Pooling(max_pooling, uses_attention=False),
}
"""Every pooling by the name that `model.pooling` takes."""
