"""A training step: its loss, its batch, its optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sklearn.metrics

import mla_jax as mla
from mla_jax.config import OptimConfig
from mla_jax.training.batches import DeviceClips
from mla_jax.training.losses import binary_cross_entropy
from mla_jax.training.optimizer import make_optimizer
from mla_jax.training.state import TrainState
from mla_jax.training.step import train_step
from tests.support.helpers import random_clips
from tests.support.small_runs import SMALL

K = 5


def test_cross_entropy_is_scikit_learns_and_keeps_what_clipping_loses() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(7, K)).astype(np.float32) * 3
    labels = (rng.random((7, K)) < 0.4).astype(np.float32)
    expected = [
        sklearn.metrics.log_loss(labels[:, k], 1 / (1 + np.exp(-logits[:, k])), labels=[0, 1])
        for k in range(K)
    ]
    assert float(binary_cross_entropy(logits, labels)) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(binary_cross_entropy(jnp.full((1, 1), -50.0), jnp.ones((1, 1)))) == 50.0


def test_clips_of_weight_zero_are_not_there() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(6, K)), np.round(rng.random((6, K)))
    weights = jnp.array([1.0, 1, 1, 1, 0, 0])
    weighted = binary_cross_entropy(jnp.asarray(logits), jnp.asarray(labels), weights)
    alone = binary_cross_entropy(jnp.asarray(logits[:4]), jnp.asarray(labels[:4]))
    assert float(weighted) == pytest.approx(float(alone), rel=1e-6)


@pytest.mark.parametrize("dropout_rate", [0.4, 0.0])
def test_every_step_has_its_own_dropout(dropout_rate: float) -> None:
    clips = random_clips(num_clips=12)
    config = mla.ModelConfig(**SMALL, dropout_rate=dropout_rate)
    model = mla.build_model(config, clips.num_classes)
    state = mla.fresh_state(model, clips, mla.Config())
    batch = DeviceClips.put(clips).batch(jnp.arange(12))
    optimizer, key = make_optimizer(OptimConfig()), jax.random.key(1)
    step = jax.jit(lambda state: train_step(model, optimizer, state, batch, key))
    first, second = (step(state.replace(step=jnp.int32(n)))[1].loss for n in (0, 1))
    assert (float(first) == float(second)) == (dropout_rate == 0)


@pytest.mark.parametrize("join", ["mean", pytest.param("deepest_first", marks=pytest.mark.slow)])
def test_the_loss_of_the_levels_is_added_with_its_weight(join: str) -> None:
    clips = random_clips(num_clips=12)
    config = mla.ModelConfig(
        architecture="1-A-1-A", hidden_units=6, dropout_rate=0.0, join=join, input_norm=False
    )
    model = mla.build_model(config, clips.num_classes)
    state = mla.fresh_state(model, clips, mla.Config())
    batch = DeviceClips.put(clips).batch(jnp.arange(12))
    optimizer, key = make_optimizer(OptimConfig()), jax.random.key(1)

    def step(weight: float) -> tuple[TrainState, float]:
        after, metrics = jax.jit(
            lambda state: train_step(model, optimizer, state, batch, key, level_loss=weight)
        )(state)
        return after, float(metrics.loss)

    variables = {"params": state.params, "batch_stats": state.batch_stats}
    seen = jax.jit(
        lambda variables: model.apply(
            variables, batch.embeddings, batch.mask, train=True, mutable=["levels", "batch_stats"]
        )[1]
    )(variables)
    levels = seen["levels"]["logits"]
    own = [float(binary_cross_entropy(logits, batch.labels)) for logits in levels]
    (without, plain), (with_it, both) = step(0.0), step(0.5)
    assert both == pytest.approx(plain + 0.5 * np.mean(own), rel=1e-5)
    assert jax.tree.structure(with_it) == jax.tree.structure(without)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), with_it.params, without.params)
    assert moved["head_0"]["classify"]["kernel"] > 0


@pytest.mark.parametrize("use_mask", [True, False])
def test_a_batch_is_its_clips(use_mask: bool) -> None:
    clips, rows = random_clips(num_clips=20, time=4), np.array([5, 0, 5, 19])
    batch = jax.jit(DeviceClips.put(clips, use_mask=use_mask).batch)(jnp.asarray(rows))
    np.testing.assert_array_equal(
        batch.embeddings, (clips.embeddings[rows].astype(np.float32) - 128) / 128
    )
    np.testing.assert_array_equal(batch.labels, clips.multi_hot()[rows])
    np.testing.assert_array_equal(
        batch.mask, clips.mask()[rows] if use_mask else np.ones((4, 4), bool)
    )


def test_float_embeddings_and_their_scaling_reach_the_model() -> None:
    clips = random_clips(num_clips=6, dtype="float16", scaling=mla.Scaling(5.0, 2.0))
    batch = DeviceClips.put(clips).batch(jnp.arange(6))
    assert batch.embeddings.dtype == jnp.float32
    expected = (clips.embeddings.astype(np.float32) - 5) / 2
    np.testing.assert_allclose(batch.embeddings, expected, rtol=1e-6)


def test_labels_that_are_not_known_give_no_loss_and_no_gradient() -> None:
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(6, K)), jnp.float32)
    labels, known = rng.random((6, K)) < 0.5, rng.random((6, K)) < 0.5
    weights = jnp.array([1.0, 1, 1, 1, 1, 0])
    known[4] = False
    counted = known & (np.asarray(weights)[:, None] > 0)
    each = optax.sigmoid_binary_cross_entropy(logits, labels.astype(np.float32))
    for values in (labels, labels ^ ~known):
        loss, gradient = jax.value_and_grad(binary_cross_entropy)(
            logits, values.astype(np.float32), weights, known
        )
        assert float(loss) == pytest.approx(float(each[counted].mean()), rel=1e-6)
        assert ((np.asarray(gradient) != 0) == counted).all()
    assert float(binary_cross_entropy(logits, labels, weights, np.zeros((6, K), bool))) == 0


@pytest.mark.parametrize("examples", ["clips", "segments"])
def test_a_batch_has_the_mask_of_its_clips(examples: str) -> None:
    clips = random_clips()
    known = np.random.default_rng(0).random((20, 7)) < 0.7
    clips = mla.ClipSet.from_arrays(clips.embeddings, clips.multi_hot(), label_mask=known)
    rows = jnp.array([3, 3, 19])
    batch = DeviceClips.put(clips, examples=examples).batch(rows)
    assert batch.known is not None
    each = 1 if examples == "clips" else clips.max_segments
    np.testing.assert_array_equal(batch.known, np.repeat(known[[3, 3, 19]], each, axis=0))
    assert DeviceClips.put(random_clips()).batch(rows).known is None
