"""The published forms: their sizes by arithmetic, and what is particular to each."""

import dataclasses
import re
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mla_jax as mla
from mla_jax import presets
from mla_jax.config import ARCHITECTURES, ModelConfig
from mla_jax.models import pooling
from mla_jax.models.multi_level import init_variables, num_parameters
from mla_jax.models.pooling import Pooled, Pooling, pool_by
from mla_jax.presets import PRESETS, train_flags
from mla_jax.training.batches import Batch, DeviceClips
from mla_jax.training.losses import kernel_penalty
from mla_jax.training.optimizer import keras_adam, make_optimizer
from mla_jax.training.state import init_state
from mla_jax.training.step import train_step
from tests.support.helpers import raises_user_error

M, K = 128, 527


def _block(n: int, h: int, bias: int = 1, norm: int = 2) -> int:
    return n * h + bias * h + norm * h


def _head(h: int, norm: int = 0, maps: int = 2) -> int:
    return maps * (h * K + K + norm * K)


def _yu2018(architecture: str) -> int:
    blocks = [int(n) for n in architecture.split("-")[::2]]
    levels = len(blocks)
    total = 2 * M + _block(M, 600) + (sum(blocks) - 1) * _block(600, 600)
    total += levels * _head(600, norm=2)
    return total + (levels * K * K + K + 2 * K if levels > 1 else 0)


_POOLED = 2 * M + _block(M, 600) + 2 * _block(600, 600) + _head(600, maps=1)
PARAMETERS = {
    **{f"yu2018:{a}": _yu2018(a) for a in ARCHITECTURES},
    "best": 2 * M
    + _block(M, 600)
    + 2 * _block(600, 600)
    + 2 * _head(600)
    # The level of whole clips.
    + _block(M, 600)
    + 2 * _block(600, 600)
    + _head(600, maps=1),
    "yu2018_equations:1-A-1-A-1-A": 2 * M
    + _block(M, 600)
    + 2 * _block(600, 600)
    + 3 * _head(600)
    + (3 * K * K + K),
    "kong2019_keras": _block(M, 1024) + 2 * _block(1024, 1024) + 2 * _head(1024) + (2 * K * K + K),
    "kong2019_torch": 2 * M
    + _block(M, 1024, bias=0)
    + 2 * _block(1024, 1024, bias=0)
    + _head(1024)
    + (2 * K * K + K),
    "feature_attention": _block(M, 1024)
    + 2 * _block(1024, 1024)
    + 2 * (1024 * 1024 + 1024)
    + 2 * 1024
    + (1024 * K + K),
    "kong2017": _block(M, 500, norm=0) + 2 * _block(500, 500, norm=0) + _head(500),
    "average_pooling": _POOLED,
    "max_pooling": _POOLED,
    "segment_classifier": _POOLED,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_parameters_is_the_papers_arithmetic(name: str) -> None:
    config = mla.preset(name)
    model = mla.build_model(config.model, K)
    prior = np.full(K, 0.1)
    shapes = jax.eval_shape(lambda: init_variables(model, 0, M, class_prior=prior))
    assert num_parameters(shapes) == PARAMETERS[name]


def test_every_preset_is_counted() -> None:
    assert {name.split(":")[0] for name in PARAMETERS} == set(PRESETS)
    # 256 + 77,400 + 2 * 360,600 + 3,600 + 4 * (316,727 + 1,054) + 555,985 + 1,054
    assert PARAMETERS["yu2018:2-A-1-A"] == 2_630_619


@pytest.mark.parametrize("form", ["yu2018", "yu2018_equations"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_both_forms_come_in_all_nine_architectures(form: str, architecture: str) -> None:
    config = mla.preset(f"{form}:{architecture}")
    own = mla.preset(form)
    assert config.model.architecture == architecture
    assert dataclasses.replace(config, model=own.model) == own
    assert dataclasses.replace(config.model, architecture="2-A-1-A") == own.model


def test_an_architecture_alone_is_that_of_the_default_preset() -> None:
    assert presets.preset("6-A") == presets.preset(f"{presets.DEFAULT}:6-A")
    assert presets.full_name("kong2017") == "kong2017"


def test_a_preset_that_is_not_there_is_named() -> None:
    with raises_user_error("preset='kong2018'", "did you mean kong201"):
        mla.preset("kong2018")
    with raises_user_error("yu2018:A-3", "2-A-1-A"):
        mla.preset("yu2018:A-3")


# ---- what is particular to each ----


@cache
def _small(name: str, num_classes: int = 7, **changes: Any) -> tuple[Any, Any, Any]:
    config = mla.preset(name)
    model_config = dataclasses.replace(
        config.model, hidden_units=12, dropout_rate=0.0, prior_bias=False, **changes
    )
    config = dataclasses.replace(config, model=model_config)
    model = mla.build_model(config.model, num_classes)
    return config, model, init_variables(model, 0, 5)


def _batch(num_classes: int = 7) -> Batch:
    rng = np.random.default_rng(0)
    mask = np.arange(4) < np.array([4, 2, 1, 3, 4, 4])[:, None]
    return Batch(
        jnp.asarray(rng.normal(size=(6, 4, 5)), jnp.float32),
        jnp.asarray(mask),
        jnp.asarray(rng.random((6, num_classes)) < 0.4, jnp.float32),
    )


def test_a_shared_head_serves_every_level() -> None:
    _, model, variables = _small("kong2019_torch")
    assert sorted(variables["params"]) == [
        "block_0", "block_1", "block_2", "head_0", "input_norm", "output",
    ]  # fmt: skip
    assert "bias" not in variables["params"]["block_0"]["dense"]
    batch = _batch()
    _, seen = jax.jit(lambda: model.apply(variables, *batch[:2], mutable=["intermediates"]))()
    attention = seen["intermediates"]["head_0"]["attention"]
    assert len(attention) == 2
    assert np.abs(attention[0] - attention[1]).max() > 1e-3


def test_feature_attention_pools_vectors_and_then_classifies() -> None:
    _, model, variables = _small("feature_attention", architecture="1-A")
    batch = _batch()
    logits = jax.jit(model.apply)(variables, *batch[:2])
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"])
    norm = 1 / np.sqrt(1 + model.config.norm_epsilon)  # fresh statistics: mean 0, variance 1

    def dense(x: np.ndarray, place: Any) -> np.ndarray:
        return x @ place["kernel"] + place["bias"]

    h = np.maximum(dense(np.asarray(batch.embeddings), p["block_0"]["dense"]) * norm, 0)
    v = 1 / (1 + np.exp(-dense(h, p["head_0"]["attend"]))) * np.asarray(batch.mask)[:, :, None]
    pooled = (v / v.sum(axis=1, keepdims=True) * dense(h, p["head_0"]["value"])).sum(axis=1)
    expected = dense(np.maximum(pooled * norm, 0), p["head_0"]["classify"])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_the_segment_classifier_learns_from_segments_and_scores_their_mean() -> None:
    config, model, variables = _small("segment_classifier")
    assert config.data.examples == "segments"
    batch = _batch()
    state = init_state(variables, config.optim)
    step = jax.jit(
        lambda s, b: train_step(model, keras_adam(config.optim), s, b, jax.random.key(0))
    )
    _, metrics = step(state, batch.segments())

    @jax.jit
    def probabilities() -> tuple[jax.Array, jax.Array]:
        _, seen = model.apply(
            variables, *batch[:2], train=True, mutable=["batch_stats", "intermediates"]
        )
        _, inferred = model.apply(variables, *batch[:2], mutable=["intermediates"])
        logits = model.apply(variables, *batch[:2])
        segments = [s["intermediates"]["head_0"]["segment_probs"][0] for s in (seen, inferred)]
        return segments, jax.nn.sigmoid(logits)

    (trained, inferred), clip = probabilities()
    # A segment's probabilities in training are those of the clips' own batch statistics.
    there, labels = np.asarray(batch.mask), np.repeat(np.asarray(batch.labels)[:, None], 4, axis=1)
    p = np.asarray(trained, np.float64)
    entropy = -(labels * np.log(p) + (1 - labels) * np.log1p(-p))
    np.testing.assert_allclose(metrics.loss, entropy[there].mean(), rtol=1e-5)
    expected = [f[m].mean(axis=0) for f, m in zip(np.asarray(inferred), there, strict=True)]
    np.testing.assert_allclose(clip, expected, rtol=1e-5)


def test_the_data_set_gives_segments_where_the_config_says_so() -> None:
    clips = mla.ClipSet.from_arrays(
        np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4),
        [[0], [1]],
        num_classes=2,
        num_segments=np.array([3, 1]),
    )
    batch = DeviceClips.put(clips, examples="segments").batch(jnp.array([1, 0]))
    assert batch.embeddings.shape == (6, 1, 4)
    np.testing.assert_array_equal(batch.mask[:, 0], [True, False, False, True, True, True])
    np.testing.assert_array_equal(batch.labels.argmax(axis=1), [1, 1, 1, 0, 0, 0])


def test_l2_is_the_blocks_kernels_alone() -> None:
    _, _, variables = _small("yu2018", clip_blocks=2)
    params = variables["params"]
    blocks = [
        *(params[f"block_{i}"] for i in range(3)),
        *(params["clip"][f"block_{i}"] for i in range(2)),
    ]
    expected = sum((block["dense"]["kernel"] ** 2).sum() for block in blocks)
    np.testing.assert_allclose(kernel_penalty(params), expected, rtol=1e-6)


def test_the_place_of_epsilon_is_the_configs() -> None:
    config = mla.preset("kong2019_torch").optim
    gradient = {"w": jnp.asarray([1e-6, 1e-3])}
    ours, theirs = make_optimizer(config), optax.adam(1e-3, 0.9, 0.999, 1e-7)
    moves = [o.update(gradient, o.init(gradient))[0]["w"] for o in (ours, theirs)]
    np.testing.assert_array_equal(*moves)
    keras = make_optimizer(dataclasses.replace(config, epsilon_place="before_correction"))
    assert np.abs(keras.update(gradient, keras.init(gradient))[0]["w"] - moves[0]).max() > 1e-4


def test_a_new_pooling_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_segment(value: Any, attention_logits: Any, mask: Any) -> Pooled:
        first = (jnp.arange(value.shape[1]) == 0).astype(value.dtype)
        return pool_by(value, jnp.broadcast_to(first[None, :, None], value.shape), mask)

    monkeypatch.setitem(pooling.POOLINGS, "first", Pooling(first_segment, uses_attention=False))
    model = mla.build_model(ModelConfig(architecture="1-A", hidden_units=4, pooling="first"), 3)
    variables = init_variables(model, 0, 5)
    embeddings = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 5)), jnp.float32)
    apply = jax.jit(model.apply)
    np.testing.assert_allclose(
        apply(variables, embeddings), apply(variables, embeddings[:, :1]), rtol=1e-5
    )


def test_the_command_of_a_config_gives_the_config_again() -> None:
    """So a card states the command that makes its model."""
    changed = mla.Config.from_dict(
        {"model": {"architecture": "1-A", "hidden_units": 64}, "optim": {"learning_rate": 3e-4}}
    )
    validated = dataclasses.replace(
        mla.preset("kong2017"), data=mla.DataConfig(validation_fraction=0.05, train="x")
    )
    for config in (mla.preset("yu2018"), mla.preset("max_pooling:6-A"), changed, validated):
        command = train_flags(config)
        preset, *_ = re.findall(r"--preset=(\S+)", command)
        values = mla.preset(preset).to_dict()
        for section, field, text in re.findall(r"--config\.(\w+)\.(\w+)=(\S*)", command):
            kind = type(values[section][field])
            values[section][field] = text == "True" if kind is bool else kind(text)
        made = mla.Config.from_dict(values)
        assert made.without_paths() == config.without_paths()
        assert made.data.train == "TRAIN"
