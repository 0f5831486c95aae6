"""The model: sizes by arithmetic, masks through every part, and each form against plain NumPy."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.config import ARCHITECTURES, ModelConfig, parse_architecture
from mla_jax.models.multi_level import init_variables, num_parameters

SMALL = ModelConfig(hidden_units=12)
PAPER_TEXT = mla.preset("yu2018_equations").model
B, T, M, K = 5, 4, 7, 6


def _parameters(config: ModelConfig, features: int, classes: int) -> int:
    """The number of parameters from the definition alone."""
    blocks = parse_architecture(config.architecture)
    H, num_levels = config.hidden_units, len(blocks)
    maps = 2 if config.pooling == "attention" else 1
    norm = 2  # a scale and a shift for each unit
    total = norm * features * config.input_norm
    total += (features + 1) * H + (sum(blocks) - 1) * (H + 1) * H
    total += sum(blocks) * norm * H * config.block_norm
    total += num_levels * maps * ((H + 1) * classes + norm * classes * config.head_norm)
    if num_levels > 1:
        total += (num_levels * classes + 1) * classes + norm * classes * config.output_norm
    return total


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "1-A", "4-A-2-A-1-A-1-A"])
@pytest.mark.parametrize("form", ["yu2018", "yu2018_equations"])
@pytest.mark.parametrize("pooling", ["attention", "mean", "max"])
def test_number_of_parameters(architecture: str, form: str, pooling: str) -> None:
    config = dataclasses.replace(mla.preset(form).model, architecture=architecture, pooling=pooling)
    model = mla.build_model(config, 527)
    variables = jax.eval_shape(
        lambda: init_variables(model, 0, 128, class_prior=np.full(527, 0.01))
    )
    assert num_parameters(variables) == _parameters(config, 128, 527)


def test_the_papers_best_model_has_2_630_619_parameters() -> None:
    # 256 + 77,400 + 2 * 360,600 + 3,600 + 4 * (316,727 + 1,054) + 555,985 + 1,054
    assert _parameters(ModelConfig(), 128, 527) == 2_630_619


def _setup(config: ModelConfig = SMALL, seed: int = 0) -> tuple[Any, dict, np.ndarray, np.ndarray]:
    model = mla.build_model(config, K)
    variables = mla.init_variables(model, seed, M, class_prior=np.full(K, 0.2))
    # Away from the initial zeros and ones, so that nothing is hidden by them.
    rng = np.random.default_rng(seed)
    variables = jax.tree.map(
        lambda x: x + jnp.asarray(0.1 * np.abs(rng.normal(size=x.shape)), x.dtype), variables
    )
    embeddings = rng.normal(size=(B, T, M)).astype(np.float32)
    mask = np.arange(T) < np.array([4, 1, 2, 4, 3])[:, None]
    return model, variables, embeddings, mask


def _train_pass(
    model: Any, variables: dict, embeddings: np.ndarray, mask: np.ndarray
) -> tuple[Any, Any, Any]:
    """(logits, new statistics, gradients of parameters and of embeddings), with dropout."""
    weights = jnp.asarray(np.random.default_rng(9).normal(size=K), jnp.float32)

    def loss(params: Any, embeddings: jax.Array) -> Any:
        logits, updates = model.apply(
            {**variables, "params": params},
            embeddings,
            jnp.asarray(mask),
            train=True,
            rngs={"dropout": jax.random.key(3)},
            mutable=["batch_stats"],
        )
        present = mask.any(axis=1)
        return jnp.sum(jnp.tanh(logits)[present] @ weights), (logits, updates)

    grads, (logits, updates) = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(
        variables["params"], jnp.asarray(embeddings)
    )
    return logits, updates, grads


@pytest.mark.parametrize(
    ("architecture", "pooling"), [("2-A", "attention"), ("1-A-1-A", "attention"), ("2-A", "max")]
)
@pytest.mark.parametrize("train", [False, True])
def test_what_padding_holds_changes_nothing(architecture: str, pooling: str, train: bool) -> None:
    config = dataclasses.replace(SMALL, architecture=architecture, pooling=pooling)
    model, variables, embeddings, mask = _setup(config)
    other = np.where(mask[:, :, None], embeddings, 1e4).astype(np.float32)
    if not train:
        one, two = (
            jax.jit(model.apply)(variables, x, jnp.asarray(mask)) for x in (embeddings, other)
        )
        np.testing.assert_array_equal(one, two)
        return
    one, two = (_train_pass(model, variables, x, mask) for x in (embeddings, other))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    gradient = np.asarray(one[2][1])
    assert (gradient[~mask] == 0).all()
    assert np.abs(gradient[mask]).max() > 0


def test_a_clip_of_padding_alone_takes_no_part_in_training() -> None:
    # What fills up a batch that does not divide by the devices.
    model, variables, embeddings, mask = _setup(dataclasses.replace(SMALL, dropout_rate=0.0))
    filled = np.concatenate([embeddings, embeddings[:2]])
    filled_mask = np.concatenate([mask, np.zeros((2, T), bool)])
    logits, updates, grads = _train_pass(model, variables, embeddings, mask)
    logits2, updates2, grads2 = _train_pass(model, variables, filled, filled_mask)
    np.testing.assert_allclose(logits2[:B], logits, rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), updates, updates2)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), grads[0], grads2[0]
    )


def test_full_clips_need_no_mask() -> None:
    model, variables, embeddings, _ = _setup()
    np.testing.assert_array_equal(
        jax.jit(model.apply)(variables, embeddings),
        jax.jit(model.apply)(variables, embeddings, jnp.ones((B, T), bool)),
    )


def test_padding_is_not_the_same_as_zeros() -> None:
    model, variables, embeddings, mask = _setup()
    masked = jax.jit(model.apply)(variables, embeddings, jnp.asarray(mask))
    short = ~mask.all(axis=1)
    unmasked = jax.jit(model.apply)(variables, embeddings * mask[:, :, None])
    assert (np.abs(masked - unmasked)[short].max(axis=1) > 1e-3).all()


# ---- each form, in plain NumPy ----


def _numpy_norm(x: np.ndarray, params: Any, stats: Any, config: ModelConfig) -> np.ndarray:
    scaled = (x - stats["mean"]) / np.sqrt(stats["var"] + config.norm_epsilon)
    return scaled * params["scale"] + params["bias"]


def _numpy_model(variables: dict, x: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Clip probabilities at inference, full clips, in float64 and straight from the equations."""
    params, stats = (
        jax.tree.map(lambda a: np.asarray(a, np.float64), variables[name])
        for name in ("params", "batch_stats")
    )

    def norm(x: np.ndarray, *path: str) -> np.ndarray:
        p, s = params, stats
        for name in path:
            p, s = p[name], s[name]
        return _numpy_norm(x, p, s, config)

    def dense(x: np.ndarray, p: Any) -> np.ndarray:
        return x @ p["kernel"] + p["bias"]

    h = norm(x, "input_norm") if config.input_norm else x
    levels, block = [], 0
    for level, count in enumerate(parse_architecture(config.architecture)):
        for _ in range(count):
            name = f"block_{block}"
            h = dense(h, params[name]["dense"])
            if config.block_norm:
                h = norm(h, name, "norm")
            h, block = np.maximum(h, 0), block + 1
        head = f"head_{level}"
        c, v = (dense(h, params[head][m]) for m in ("classify", "attend"))
        if config.head_norm:
            c, v = (norm(z, head, m) for z, m in ((c, "classify_norm"), (v, "attend_norm")))
        exp = np.exp(v)
        score = np.clip(exp / exp.sum(axis=-1, keepdims=True), 1e-7, 1 - 1e-7)
        weights = score / score.sum(axis=1, keepdims=True)
        levels.append((weights / (1 + np.exp(-c))).sum(axis=1))
    if len(levels) == 1:
        return levels[0]
    if config.join == "deepest_first":
        levels.reverse()
    y = dense(np.concatenate(levels, axis=-1), params["output"])
    if config.output_norm:
        y = norm(y, "output_norm")
    return 1 / (1 + np.exp(-y))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("form", [SMALL, dataclasses.replace(PAPER_TEXT, hidden_units=12)])
def test_inference_equals_the_equations(architecture: str, form: ModelConfig) -> None:
    config = dataclasses.replace(form, architecture=architecture)
    model, variables, embeddings, _ = _setup(config)
    probs = jax.nn.sigmoid(jax.jit(model.apply)(variables, embeddings))
    np.testing.assert_allclose(
        probs, _numpy_model(variables, embeddings, config), rtol=1e-4, atol=1e-6
    )


def test_statistics_are_over_real_segments_with_keras_momentum() -> None:
    model, variables, embeddings, mask = _setup()
    _, updates, _ = _train_pass(model, variables, embeddings, mask)
    real = embeddings[mask].astype(np.float64)
    for name, value in (("mean", real.mean(axis=0)), ("var", real.var(axis=0))):
        before = np.asarray(variables["batch_stats"]["input_norm"][name], np.float64)
        np.testing.assert_allclose(
            updates["batch_stats"]["input_norm"][name],
            0.99 * before + 0.01 * value,
            rtol=1e-5,
        )


# ---- initial values ----


@pytest.mark.parametrize("form", ["yu2018", "yu2018_equations"])
@pytest.mark.parametrize("architecture", ["3-A", "2-A-1-A"])
def test_prior_bias_is_the_log_odds_and_the_only_bias(form: str, architecture: str) -> None:
    config = dataclasses.replace(
        mla.preset(form).model, architecture=architecture, hidden_units=12, prior_bias=True
    )
    model = mla.build_model(config, K)
    prior = np.linspace(0.001, 0.6, K)
    params = mla.init_variables(model, 0, M, class_prior=prior)["params"]
    biases = [
        np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if path[-1].key == "bias" and np.any(leaf)
    ]
    assert len(biases) == 1
    np.testing.assert_allclose(jax.nn.sigmoid(biases[0]), prior, rtol=1e-5)


def test_prior_bias_needs_a_prior() -> None:
    model = mla.build_model(dataclasses.replace(SMALL, prior_bias=True), K)
    with pytest.raises(mla.UserError, match="class_prior"):
        mla.init_variables(model, 0, M)


def test_kernels_are_glorot_uniform() -> None:
    params = mla.init_variables(mla.build_model(ModelConfig(), 527), 0, 128)["params"]
    kernel = np.asarray(params["block_1"]["dense"]["kernel"])
    limit = np.sqrt(6 / (600 + 600))
    assert np.abs(kernel).max() <= limit
    assert np.std(kernel) == pytest.approx(limit / np.sqrt(3), rel=0.01)


def test_attention_and_segment_probabilities_can_be_seen() -> None:
    model, variables, embeddings, mask = _setup()
    logits, seen = model.apply(variables, embeddings, jnp.asarray(mask), mutable=["intermediates"])
    assert logits.shape == (B, K)
    for head in ("head_0", "head_1"):
        (attention,) = seen["intermediates"][head]["attention"]
        (probs,) = seen["intermediates"][head]["segment_probs"]
        assert attention.shape == probs.shape == (B, T, K)
        np.testing.assert_allclose(attention.sum(axis=1), 1, rtol=1e-5)


def test_unknown_pooling_is_named() -> None:
    with pytest.raises(mla.UserError, match=r"pooling='median'.*attention, .*mean, max"):
        mla.build_model(dataclasses.replace(SMALL, pooling="median"), K)
