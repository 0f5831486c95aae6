"""The poolings of `mla_jax.models.pooling` in Keras, for inference: the same names, the same numbers."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from mla_jax.export.keras import ops

Pool = Callable[[Any, Any, Any], Any]
"""A function of values and attention logits, [..., time, n], and of which segments count, [..., time, 1]
bool. Returns the pooled values, [..., 1, n]; for a clip in which none counts, any."""

_SMALLEST = 1e-7  # what attention is clipped to
_TINY = 1e-37  # near the smallest normal float32
_LOW = -1e9  # below every logit


def sigmoid(x: Any) -> Any:
    """The sigmoid, exact for small probabilities, too: ONNX Runtime's own has steps of 3e-8 and ends at 0."""
    return 1.0 / (1.0 + ops.exp(-x))


def _by(attention: Callable[[Any, Any], Any]) -> Pool:
    """The mean of the values, weighed by an attention above zero."""

    def pool(values: Any, attend: Any, counts: Any) -> Any:
        weights = ops.where(counts, attention(attend, counts), 0.0)
        total = ops.maximum(ops.sum(weights, axis=-2, keepdims=True), 1e-20)
        return ops.sum(weights * values, axis=-2, keepdims=True) / total

    return pool


def _clip(attention: Any) -> Any:
    return ops.clip(attention, _SMALLEST, 1 - _SMALLEST)


def _over_time(attend: Any, counts: Any) -> Any:
    return _clip(ops.softmax(ops.where(counts, attend, _LOW), axis=-2))


def _exp(attend: Any, _: Any) -> Any:
    return ops.exp(ops.clip(attend, math.log(_SMALLEST), -math.log(_SMALLEST)))


def _max(values: Any, _: Any, counts: Any) -> Any:
    return ops.max(ops.where(counts, values, _LOW), axis=-2, keepdims=True)


ATTENTION: dict[str, Callable[[Any, Any], Any]] = {
    "attention": lambda attend, _: _clip(ops.softmax(attend, axis=-1)),
    "attention_over_time": _over_time,
    "attention_sigmoid": lambda attend, _: _clip(sigmoid(attend)),
    "attention_exp": _exp,
}
"""The attention of each pooling that has one: of its logits, and of which segments count, above zero."""

POOLS: dict[str, Pool] = {
    **{name: _by(attention) for name, attention in ATTENTION.items()},
    "mean": _by(lambda attend, _: ops.ones_like(attend)),
    "max": _max,
}
"""Every pooling by its name."""


def pool_views(
    pool: Pool, values: Any, attend: Any, counts: Any, sizes: Sequence[int]
) -> list[Any]:
    """Pooled values: of the clip, [clips, 1, n], and of the windows around each segment, [clips, time, n]."""
    views = [pool(values, attend, counts)]
    for size in sizes:
        windows = (_windows(x, size) for x in (values, attend, counts))
        views.append(values if size == 1 else ops.squeeze(pool(*windows), axis=-2))
    return views


def pool_logits(
    name: str, logits: Any, attend: Any, counts: Any, sizes: Sequence[int]
) -> list[Any]:
    """As `pool_views` of a pooling by its name, of class logits and to the logits of what is pooled."""
    if name == "max":
        return pool_views(POOLS[name], logits, attend, counts, sizes)
    both = (pool_views(POOLS[name], sigmoid(x), attend, counts, sizes) for x in (logits, -logits))
    pooled = [
        ops.log(ops.maximum(y, _TINY)) - ops.log(ops.maximum(not_y, _TINY))
        for y, not_y in zip(*both, strict=True)
    ]
    # Of one segment, its own logits, which do not end where a probability does.
    return [
        pooled[0],
        *(logits if size == 1 else x for size, x in zip(sizes, pooled[1:], strict=True)),
    ]


def _windows(x: Any, size: int) -> Any:
    """[clips, time, n] to the window around each segment, [clips, time, size, n]; zeros outside the clip."""
    before, behind = size // 2, size - 1 - size // 2
    padded = ops.pad(x, [(0, 0), (before, behind), (0, 0)])
    ends = [i - size + 1 or None for i in range(size)]
    return ops.stack([padded[:, i:end] for i, end in enumerate(ends)], axis=2)
