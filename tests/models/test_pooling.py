"""Pooling: properties, then plain formulas in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mla_jax.models.pooling import POOLINGS, Pooled, softmax_over_classes, weighted_logits

B, T, K = 4, 6, 5
LENGTHS = np.array([6, 1, 3, 3])
MASK = np.arange(T) < LENGTHS[:, None]


def _logits(scale: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple((scale * rng.normal(size=(2, B, T, K))).astype(np.float32))


def _pool(name: str, c: np.ndarray, v: np.ndarray | None, mask: np.ndarray = MASK) -> Pooled:
    pooling = POOLINGS[name]
    attention = jnp.asarray(v) if pooling.uses_attention else None
    return jax.jit(pooling.pool)(jnp.asarray(c), attention, jnp.asarray(mask))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


@pytest.mark.parametrize("name", POOLINGS)
def test_weights_sum_to_one_and_leave_padding_out(name: str) -> None:
    weights = np.asarray(_pool(name, *_logits()).weights)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert (weights[~MASK] == 0).all()
    assert (weights >= 0).all()


@pytest.mark.parametrize("name", POOLINGS)
def test_the_clip_is_the_weighted_mean_of_its_segments(name: str) -> None:
    c, v = _logits()
    pooled = _pool(name, c, v)
    expected = (np.asarray(pooled.weights, np.float64) * _sigmoid(c)).sum(axis=1)
    np.testing.assert_allclose(_sigmoid(pooled.logits), expected, rtol=2e-5)


@pytest.mark.parametrize("name", POOLINGS)
def test_padding_changes_nothing_and_has_no_gradient(name: str) -> None:
    c, v = _logits()
    other_c, other_v = _logits(scale=30.0, seed=1)
    keep = MASK[:, :, None]
    first = _pool(name, c, v).logits
    second = _pool(name, np.where(keep, c, other_c), np.where(keep, v, other_v)).logits
    np.testing.assert_array_equal(first, second)

    def total(c: jax.Array, v: jax.Array) -> jax.Array:
        return jnp.sum(jnp.tanh(_pool(name, c, v).logits))

    for gradient in jax.jit(jax.grad(total, argnums=(0, 1)))(jnp.asarray(c), jnp.asarray(v)):
        assert (np.asarray(gradient)[~MASK] == 0).all()
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", POOLINGS)
def test_a_clip_cut_to_its_length_gives_the_same(name: str) -> None:
    c, v = _logits()
    padded = _pool(name, c, v).logits
    for i, n in enumerate(LENGTHS):
        alone = _pool(name, c[i : i + 1, :n], v[i : i + 1, :n], np.ones((1, n), bool)).logits
        np.testing.assert_allclose(alone[0], padded[i], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", POOLINGS)
def test_order_of_segments_does_not_matter(name: str) -> None:
    c, v = _logits()
    full = np.ones((B, T), bool)
    order = np.random.default_rng(2).permutation(T)
    np.testing.assert_allclose(
        _pool(name, c, v, full).logits,
        _pool(name, c[:, order], v[:, order], full).logits,
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", POOLINGS)
def test_one_segment_is_the_clip(name: str) -> None:
    c, v = (x[:, :1] for x in _logits())
    pooled = _pool(name, c, v, np.ones((B, 1), bool))
    np.testing.assert_allclose(pooled.logits, c[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", POOLINGS)
def test_a_clip_of_padding_alone_stays_finite(name: str) -> None:
    c, v = (jnp.asarray(x) for x in _logits())
    nothing = jnp.zeros((B, T), bool)

    def total(c: jax.Array, v: jax.Array) -> jax.Array:
        return jnp.sum(_pool(name, c, v, nothing).logits)

    value, gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(c, v)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("name", POOLINGS)
def test_extreme_logits_neither_overflow_nor_saturate(name: str) -> None:
    c = np.full((1, T, K), 60.0, np.float32)
    full = np.ones((1, T), bool)
    v = np.zeros((1, T, K), np.float32)
    for sign in (1, -1):
        logits = _pool(name, sign * c, v, full).logits
        np.testing.assert_allclose(logits, sign * 60.0, rtol=1e-5)


def _exact(c: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, ...]:
    """The logit of y = sum_t v_t sigmoid(c_t) / sum_t v_t and its slopes, in log space and float64.

    Returns the logit, its slope in c, and the two terms whose difference is its slope in v.
    """
    c, log_v = c.astype(np.float64), np.log(v.astype(np.float64))
    log_f, log_not_f = -np.logaddexp(0, -c), -np.logaddexp(0, c)
    log_y = np.logaddexp.reduce(log_v + log_f, axis=1, keepdims=True)
    log_not_y = np.logaddexp.reduce(log_v + log_not_f, axis=1, keepdims=True)
    by_v = np.exp(log_f - log_y), np.exp(log_not_f - log_not_y)
    by_c = np.exp(log_v + log_f + log_not_f - log_y) + np.exp(log_v + log_f + log_not_f - log_not_y)
    return (log_y - log_not_y)[:, 0], by_c, *by_v


@pytest.mark.parametrize("shift", [0.0, 5.0, -5.0, 300.0, -300.0])
@pytest.mark.parametrize("scale", [0.1, 3.0, 60.0])
def test_weighted_logits_are_exact_and_so_is_their_gradient(shift: float, scale: float) -> None:
    """Of one sign, of both, far beyond what sigmoid can tell from 0 and 1, with zeros and equal logits."""
    c, v = _logits(scale)
    c = (c + shift).astype(np.float32)
    c[0, :, 0], c[0, 1, 1] = shift, 0.0
    v = np.clip(_sigmoid(v), 1e-7, 1).astype(np.float32)
    full = np.ones((B, T), bool)

    def logits(c: jax.Array, v: jax.Array) -> jax.Array:
        return weighted_logits(c, v, jnp.asarray(full))

    expected, slope_c, plus, minus = _exact(c, v)
    np.testing.assert_allclose(jax.jit(logits)(c, v), expected, rtol=3e-6, atol=3e-6)
    by_c, by_v = jax.jit(jax.grad(lambda c, v: jnp.sum(logits(c, v)), argnums=(0, 1)))(c, v)
    np.testing.assert_allclose(by_c, slope_c, rtol=1e-4, atol=1e-6)
    assert (np.abs(by_v - (plus - minus)) <= 1e-4 * (plus + minus) + 1e-6).all()


def test_attention_is_the_papers_formula() -> None:
    c, v = _logits()
    exp = np.exp(np.asarray(v, np.float64))
    scores = np.clip(exp / exp.sum(axis=-1, keepdims=True), 1e-7, 1 - 1e-7) * MASK[:, :, None]
    weights = scores / scores.sum(axis=1, keepdims=True)
    pooled = _pool("attention", c, v)
    np.testing.assert_allclose(pooled.weights, weights, rtol=2e-5)
    np.testing.assert_allclose(
        _sigmoid(pooled.logits), (weights * _sigmoid(c)).sum(axis=1), rtol=2e-5
    )


def test_scores_are_clipped_with_no_gradient_outside() -> None:
    v = jnp.asarray([[[40.0, 0.0, 1.0]]])
    there = jnp.ones((1, 1), bool)
    scores = softmax_over_classes(v, there)
    np.testing.assert_allclose(scores[0, 0], [1 - 1e-7, 1e-7, 1e-7], rtol=1e-6)
    gradient = jax.grad(lambda v: jnp.sum(jnp.sin(softmax_over_classes(v, there))))(v)
    np.testing.assert_array_equal(gradient, 0)


ACTIVATIONS = {
    "attention": lambda v: np.exp(v) / np.exp(v).sum(axis=-1, keepdims=True),
    "attention_over_time": lambda v: np.exp(v) * MASK[:, :, None],
    "attention_sigmoid": _sigmoid,
    "attention_exp": np.exp,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_weights_are_the_activation_normalised_over_time(name: str) -> None:
    c, v = _logits(scale=1.0)
    scores = ACTIVATIONS[name](v.astype(np.float64)) * MASK[:, :, None]
    np.testing.assert_allclose(
        _pool(name, c, v).weights, scores / scores.sum(axis=1, keepdims=True), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("attention_over_time", 1e-7, 1.0),
        ("attention_sigmoid", 1e-7, 1.0),
        ("attention_exp", 1e-7, 1e7),
    ],
)
def test_extreme_attention_is_clipped(name: str, low: float, high: float) -> None:
    c, _ = _logits()
    v = np.zeros_like(c)
    v[0, :, 0] = [60, -60, -60, -60, -60, -60]
    weights = np.asarray(_pool(name, c, v).weights)[0, :, 0]
    np.testing.assert_allclose(weights[1:] / weights[0], low / high, rtol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_uniform_attention_is_the_mean(name: str) -> None:
    c, _ = _logits()
    v = np.broadcast_to(np.float32(0.3), c.shape)
    np.testing.assert_allclose(
        _pool(name, c, v).logits, _pool("mean", c, v).logits, rtol=1e-5, atol=1e-6
    )


def test_max_and_mean_are_what_they_say() -> None:
    c, v = _logits()
    for i, n in enumerate(LENGTHS):
        np.testing.assert_array_equal(_pool("max", c, v).logits[i], c[i, :n].max(axis=0))
        np.testing.assert_allclose(
            _sigmoid(_pool("mean", c, v).logits[i]), _sigmoid(c[i, :n]).mean(axis=0), rtol=1e-5
        )
