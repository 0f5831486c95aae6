"""Clips that are changed at random: mixed with others, segments left out."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

import mla_jax as mla
from mla_jax.training.augment import (
    changed_batch,
    draw_changes,
    draw_weights,
    drop_segments,
    mix,
)
from mla_jax.training.batches import Batch, DeviceClips
from mla_jax.training.losses import binary_cross_entropy
from tests.support.helpers import random_clips

B, T, M, K = 30, 6, 3, 5
KEY = jax.random.key(0)


def augmented_batch(
    data: DeviceClips, rows: jax.Array, config: mla.AugmentConfig, key: jax.Array
) -> Batch:
    changes = draw_changes(config, key, rows, data.embeddings.shape[1])
    return changed_batch(data, rows, changes, config)


def random_batch(seed: int, *, known: bool = False) -> Batch:
    """Clips of 1 to T segments; where there is none, NaN."""
    rng = np.random.default_rng(seed)
    mask = np.arange(T) < rng.integers(1, T + 1, B)[:, None]
    embeddings = np.where(mask[:, :, None], rng.normal(size=(B, T, M)), np.nan)
    are_known = rng.random((B, K)) < 0.6
    labels = (rng.random((B, K)) < 0.4) & (are_known | (not known))
    return Batch(
        jnp.asarray(embeddings, jnp.float32),
        jnp.asarray(mask),
        jnp.asarray(labels, jnp.float32),
        jnp.asarray(are_known, jnp.uint8) if known else None,
    )


def random_weights() -> jax.Array:
    """Between 0 and 1, with both ends among them."""
    drawn = np.random.default_rng(9).uniform(-0.3, 1.3, (B, T))
    return jnp.asarray(np.clip(drawn, 0, 1), jnp.float32)


# ---- mixing ----


def test_segments_are_mixed_where_both_have_them_and_padding_takes_no_part() -> None:
    one, other, weights = random_batch(0), random_batch(1), random_weights()
    mixed = mix(one, other, weights, "share")
    for b in range(B):
        own = []
        for t in range(T):
            w = float(weights[b, t])
            there = bool(one.mask[b, t]), bool(other.mask[b, t])
            assert mixed.mask[b, t] == any(there)
            if not any(there):
                continue
            own.append(w if all(there) else float(there[0]))
            x = [
                e.embeddings[b, t]
                for e, is_there in zip((one, other), there, strict=True)
                if is_there
            ]
            expected = w * x[0] + (1 - w) * x[1] if all(there) else x[0]
            np.testing.assert_allclose(mixed.embeddings[b, t], expected, atol=1e-6)
        share = np.mean(own)
        expected = share * one.labels[b] + (1 - share) * other.labels[b]
        np.testing.assert_allclose(mixed.labels[b], expected, atol=1e-6)


@pytest.mark.parametrize("labels", ["share", "union"])
def test_a_clip_mixed_with_itself_is_itself(labels: str) -> None:
    for known in (False, True):
        batch = random_batch(0, known=known)
        same = mix(batch, batch, random_weights(), labels)
        np.testing.assert_array_equal(same.embeddings, batch.embeddings)
        np.testing.assert_array_equal(same.mask, batch.mask)
        np.testing.assert_allclose(same.labels, batch.labels, atol=1e-6)
        if known:
            assert same.known is not None
            np.testing.assert_allclose(same.known, batch.known, atol=1e-6)


def test_the_loss_of_shared_labels_is_the_two_losses_by_their_shares() -> None:
    """Also where not all labels are known: each clip's count with its share."""
    logits = jnp.asarray(np.random.default_rng(2).normal(size=(B, K)), jnp.float32)
    for known in (False, True):
        one, other = random_batch(0, known=known), random_batch(1, known=known)
        mixed = mix(one, other, random_weights(), "share")
        own = jnp.where(one.mask & other.mask, random_weights(), one.mask)
        share = (own.sum(axis=1) / mixed.mask.sum(axis=1))[:, None]
        counted = [
            s * (np.ones((B, K)) if b.known is None else b.known)
            for s, b in ((share, one), (1 - share, other))
        ]
        each = [
            c * optax.sigmoid_binary_cross_entropy(logits, b.labels)
            for c, b in zip(counted, (one, other), strict=True)
        ]
        expected = (each[0] + each[1]).sum() / (counted[0] + counted[1]).sum()
        found = binary_cross_entropy(logits, mixed.labels, jnp.ones(B), mixed.known)
        assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_united_labels_are_known_where_nothing_could_change_them() -> None:
    one, other = random_batch(0, known=True), random_batch(1, known=True)
    mixed = mix(one, other, random_weights(), "union")
    assert one.known is not None
    assert other.known is not None
    assert mixed.known is not None
    np.testing.assert_array_equal(mixed.labels, (one.labels + other.labels) > 0)
    # The labels that are not known, as all 0 and as all 1: what stays the same is known.
    lowest = np.maximum(one.labels, other.labels)
    highest = np.maximum(np.where(one.known, one.labels, 1), np.where(other.known, other.labels, 1))
    np.testing.assert_array_equal(mixed.known > 0, lowest == highest)


# ---- what is drawn ----


@pytest.mark.parametrize("alpha", [0.3, 2.0])
def test_shares_are_of_a_beta_distribution(alpha: float) -> None:
    weights = draw_weights(mla.AugmentConfig(mixup=alpha), KEY, (2000, 3))
    assert weights.min() >= 0
    assert weights.max() <= 1
    assert (weights == weights[:, :1]).all()
    # Single precision has no numbers between 1 - 6e-8 and 1, where much of a small alpha's mass lies.
    shares = np.clip(np.asarray(weights[:, 0], np.float64), 1e-6, 1 - 1e-6)
    assert scipy.stats.kstest(shares, "beta", args=(alpha, alpha)).pvalue > 0.01


def test_segments_are_swapped_one_by_one() -> None:
    weights = np.asarray(draw_weights(mla.AugmentConfig(swap_segments=0.3), KEY, (5000, 4)))
    assert set(np.unique(weights)) == {0, 1}
    assert weights.mean() == pytest.approx(0.7, abs=0.01)
    assert np.abs(np.corrcoef(weights.T) - np.eye(4)).max() < 0.05


def test_every_clip_meets_every_other_equally_often() -> None:
    """Clip i has label i alone, so that united labels tell who met whom."""
    count, steps = 6, 600
    labels = np.eye(count, dtype=bool)
    clips = mla.ClipSet.from_arrays(np.ones((count, 1, 1), np.float32), labels)
    data, config = DeviceClips.put(clips), mla.AugmentConfig(mixup=1.0, labels="union")

    @jax.jit
    @jax.vmap
    def labels_of(key: jax.Array) -> jax.Array:
        return augmented_batch(data, jnp.arange(count), config, key).labels

    met = np.asarray(labels_of(jax.random.split(KEY, steps)))
    assert (met[:, np.arange(count), np.arange(count)] == 1).all()
    pairs = Counter((i, j) for _, i, j in np.argwhere(met) if i != j)
    assert len(pairs) == count * (count - 1)
    assert all(60 < times < 140 for times in pairs.values())  # 100, within four deviations


# ---- leaving segments out ----


@pytest.mark.parametrize("probability", [0.3, 0.99])
def test_of_every_clip_something_stays(probability: float) -> None:
    mask = np.arange(40) < np.random.default_rng(0).integers(1, 41, 500)[:, None]
    drawn = jax.random.uniform(KEY, mask.shape)
    stays = np.asarray(drop_segments(jnp.asarray(mask), drawn, probability))
    assert not (stays & ~mask).any()
    assert stays.any(axis=1).all()
    long = mask.sum(axis=1) > 20
    left = stays[long].sum() / mask[long].sum()
    assert left == pytest.approx(0.7 if probability == 0.3 else 1 / 30, abs=0.02)


def test_which_segment_stays_is_chance() -> None:
    drawn = jax.random.uniform(KEY, (3000, 3))
    stays = np.asarray(drop_segments(jnp.ones((3000, 3), bool), drawn, 0.999))
    np.testing.assert_allclose(stays.mean(axis=0), 1 / 3, atol=0.04)


# ---- batches ----


def test_what_is_off_changes_nothing() -> None:
    data, rows = DeviceClips.put(random_clips()), jnp.array([3, 0, 3, 19])
    changed = jax.jit(augmented_batch, static_argnums=2)(data, rows, mla.AugmentConfig(), KEY)
    for ours, theirs in zip(changed, data.batch(rows), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_segments_as_examples_are_those_of_the_changed_clips() -> None:
    clips, rows = random_clips(), jnp.arange(20)
    config = mla.AugmentConfig(swap_segments=0.2, drop_segments=0.3)
    change = jax.jit(augmented_batch, static_argnums=2)
    whole = change(DeviceClips.put(clips), rows, config, KEY)
    cut = change(DeviceClips.put(clips, examples="segments"), rows, config, KEY)
    for ours, theirs in zip(cut, whole.segments(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
