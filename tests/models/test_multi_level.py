"""The model: masks through every part, and initial values. `test_fidelity` has its numbers."""

import dataclasses
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.config import ModelConfig
from mla_jax.models.multi_level import MultiLevelModel, init_variables

SMALL = ModelConfig(architecture="1-A-1-A", hidden_units=12, dropout_rate=0.0)
B, T, M, K = 5, 4, 7, 6
_RNG = np.random.default_rng(0)
EMBEDDINGS = _RNG.normal(size=(B, T, M)).astype(np.float32)
MASK = np.arange(T) < np.array([4, 1, 2, 4, 3])[:, None]
WEIGHTS = _RNG.normal(size=K).astype(np.float32)


@cache
def made(config: ModelConfig = SMALL) -> tuple[MultiLevelModel, Any]:
    """A model, and variables away from the initial zeros and ones, which hide what they multiply."""
    model = mla.build_model(config, K)
    variables = init_variables(model, 0, M, class_prior=np.full(K, 0.2))
    rng = np.random.default_rng(0)
    return model, jax.tree.map(
        lambda x: x + 0.1 * np.abs(rng.normal(size=x.shape)).astype(np.float32),
        jax.device_get(variables),
    )


@partial(jax.jit, static_argnames="model")
def infer(model: Any, variables: Any, embeddings: Any, mask: Any = None) -> jax.Array:
    return model.apply(variables, embeddings, mask)


@partial(jax.jit, static_argnames="model")
def train(model: Any, variables: Any, embeddings: Any, mask: Any) -> tuple[Any, Any, Any]:
    """(logits, new statistics, gradients of parameters and of embeddings), with dropout."""

    def loss(params: Any, embeddings: jax.Array) -> Any:
        logits, updates = model.apply(
            {**variables, "params": params},
            embeddings,
            mask,
            train=True,
            rngs={"dropout": jax.random.key(3)},
            mutable=["batch_stats"],
        )
        by_clip = jnp.tanh(logits) @ WEIGHTS
        return jnp.sum(jnp.where(jnp.any(mask, axis=1), by_clip, 0)), (logits, updates)

    grads, (logits, updates) = jax.grad(loss, argnums=(0, 1), has_aux=True)(
        variables["params"], embeddings
    )
    return logits, updates, grads


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        ModelConfig(architecture="2-A", hidden_units=12, pooling="max"),
        pytest.param(
            dataclasses.replace(SMALL, attend_to="features", pooling="attention_sigmoid"),
            marks=pytest.mark.slow,
        ),
        dataclasses.replace(SMALL, clip_blocks=2, join="mean"),
    ],
    ids=["attention", "max and dropout", "features", "a level of whole clips"],
)
def test_what_padding_holds_changes_nothing(config: ModelConfig) -> None:
    model, variables = made(config)
    other = np.where(MASK[:, :, None], EMBEDDINGS, 1e4).astype(np.float32)
    one, two = (infer(model, variables, x, MASK) for x in (EMBEDDINGS, other))
    np.testing.assert_array_equal(one, two)
    one, two = (train(model, variables, x, MASK) for x in (EMBEDDINGS, other))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    gradient = np.asarray(one[2][1])
    assert (gradient[~MASK] == 0).all()
    assert np.abs(gradient[MASK]).max() > 0


def test_a_clip_of_padding_alone_takes_no_part_in_training() -> None:
    # What fills up a batch that does not divide by the devices.
    model, variables = made()
    filled = np.concatenate([EMBEDDINGS, EMBEDDINGS[:2]])
    filled_mask = np.concatenate([MASK, np.zeros((2, T), bool)])
    logits, updates, grads = train(model, variables, EMBEDDINGS, MASK)
    logits2, updates2, grads2 = train(model, variables, filled, filled_mask)
    np.testing.assert_allclose(logits2[:B], logits, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), updates, updates2)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), grads[0], grads2[0]
    )


def test_full_clips_need_no_mask_and_padding_is_not_zeros() -> None:
    model, variables = made()
    full = infer(model, variables, EMBEDDINGS)
    np.testing.assert_array_equal(full, infer(model, variables, EMBEDDINGS, np.ones((B, T), bool)))
    masked = infer(model, variables, EMBEDDINGS, MASK)
    zeros = infer(model, variables, EMBEDDINGS * MASK[:, :, None])
    short = ~MASK.all(axis=1)
    assert (np.abs(masked - zeros)[short].max(axis=1) > 1e-3).all()


# ---- initial values ----


@pytest.mark.parametrize("form", ["yu2018", "yu2018_equations"])
@pytest.mark.parametrize("architecture", ["1-A", "1-A-1-A"])
def test_prior_bias_is_the_log_odds_and_the_only_bias(form: str, architecture: str) -> None:
    config = dataclasses.replace(
        mla.preset(form).model, architecture=architecture, hidden_units=12, prior_bias=True
    )
    model = mla.build_model(config, K)
    prior = np.linspace(0.001, 0.6, K)
    params = init_variables(model, 0, M, class_prior=prior)["params"]
    biases = [
        np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if path[-1].key == "bias" and np.any(leaf)
    ]
    assert len(biases) == 1
    np.testing.assert_allclose(jax.nn.sigmoid(biases[0]), prior, rtol=1e-5)


@pytest.mark.parametrize("clip_blocks", [0, 2])
def test_a_mean_of_levels_is_that_of_their_logits_each_with_the_prior(clip_blocks: int) -> None:
    config = ModelConfig(
        architecture="1-A-1-A",
        hidden_units=12,
        join="mean",
        prior_bias=True,
        head_norm=False,
        clip_blocks=clip_blocks,
    )
    model, prior = mla.build_model(config, K), np.linspace(0.001, 0.6, K)
    variables = init_variables(model, 0, M, class_prior=prior)
    assert not any(name.startswith("output") for name in variables["params"])
    for head in ("head_0", "head_1", *(["clip"] if clip_blocks else [])):
        bias = variables["params"][head]["classify"]["bias"]
        np.testing.assert_allclose(jax.nn.sigmoid(bias), prior, rtol=1e-5)
    apply = jax.jit(partial(model.apply, mutable=["intermediates", "levels"]))
    logits, seen = apply(variables, EMBEDDINGS, MASK)
    levels = seen["levels"]["logits"]
    np.testing.assert_allclose(logits, np.mean(levels, axis=0), rtol=1e-5)
    assert len(levels) == config.num_levels
    for head, level in zip(("head_0", "head_1"), levels[:2], strict=True):
        (a,), (f,) = (seen["intermediates"][head][n] for n in ("attention", "segment_probs"))
        np.testing.assert_allclose(jax.nn.sigmoid(level), np.sum(a * f, axis=1), rtol=1e-4)


def test_the_level_of_whole_clips_knows_their_mean_alone() -> None:
    """A dense network on the mean vector: the order of segments, and their spread, is nothing to it."""
    config = dataclasses.replace(SMALL, clip_blocks=1, join="mean", block_norm=False)
    model, variables = made(config)
    apply = jax.jit(partial(model.apply, mutable=["levels"]))

    def clip_level(embeddings: np.ndarray) -> np.ndarray:
        return np.asarray(apply(variables, embeddings, MASK)[1]["levels"]["logits"][-1])

    means = np.stack([x[m].mean(axis=0) for x, m in zip(EMBEDDINGS, MASK, strict=True)])
    held = np.repeat(means[:, None], T, axis=1)
    np.testing.assert_allclose(clip_level(EMBEDDINGS), clip_level(held), rtol=1e-4, atol=1e-5)
    norm, stats = variables["params"]["input_norm"], variables["batch_stats"]["input_norm"]
    x = (means - stats["mean"]) / np.sqrt(stats["var"] + config.norm_epsilon)
    x = x * norm["scale"] + norm["bias"]
    level = variables["params"]["clip"]
    for place in (level["block_0"]["dense"], level["classify"]):
        x = np.maximum(x, 0) if place is level["classify"] else x
        x = x @ place["kernel"] + place["bias"]
    np.testing.assert_allclose(clip_level(EMBEDDINGS), x, rtol=1e-4, atol=1e-5)


def test_prior_bias_needs_a_prior() -> None:
    model = mla.build_model(dataclasses.replace(SMALL, prior_bias=True), K)
    with pytest.raises(mla.UserError, match="class_prior"):
        init_variables(model, 0, M)


@pytest.mark.parametrize(
    ("init", "limit"),
    [("glorot_uniform", np.sqrt(6 / (200 + 200))), ("he_uniform", np.sqrt(6 / 200))],
)
def test_kernels_are_uniform_within_their_limit(init: str, limit: float) -> None:
    config = ModelConfig(architecture="2-A", hidden_units=200, kernel_init=init)
    params = init_variables(mla.build_model(config, K), 0, M)["params"]
    kernel = np.asarray(params["block_1"]["dense"]["kernel"])
    assert np.abs(kernel).max() <= limit
    assert np.std(kernel) == pytest.approx(limit / np.sqrt(3), rel=0.01)


def test_attention_and_segment_probabilities_can_be_seen() -> None:
    model, variables = made()
    apply = jax.jit(partial(model.apply, mutable=["intermediates"]))
    logits, seen = apply(variables, EMBEDDINGS, MASK)
    assert logits.shape == (B, K)
    for head in ("head_0", "head_1"):
        (attention,) = seen["intermediates"][head]["attention"]
        (probs,) = seen["intermediates"][head]["segment_probs"]
        assert attention.shape == probs.shape == (B, T, K)
        np.testing.assert_allclose(attention.sum(axis=1), 1, rtol=1e-5)


def test_unknown_pooling_is_named() -> None:
    with pytest.raises(mla.UserError, match=r"pooling='median'.*attention, .*mean, max"):
        mla.build_model(dataclasses.replace(SMALL, pooling="median"), K)
