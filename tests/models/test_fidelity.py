"""Our models are those of the papers: the same in Keras, of standard layers, gives the same numbers.

Outputs, batch statistics and gradients in float32; twenty steps of Adam in float64, since float32
trajectories of any two programs drift apart. What a later batch norm cancels is left out: its gradient
is nothing but rounding, which Adam turns into steps of full size.
"""

import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.config import ARCHITECTURES, ModelConfig, OptimConfig
from mla_jax.models.multi_level import MultiLevelModel, init_variables
from mla_jax.training.batches import Batch
from mla_jax.training.losses import binary_cross_entropy, kernel_penalty
from mla_jax.training.optimizer import make_optimizer
from mla_jax.training.state import init_state
from mla_jax.training.step import train_step
from tests.support import keras_models
from tests.support.helpers import few
from tests.support.keras_models import keras, tf

# Its name in the oldest JAX that we run on is the second.
enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64

B, T, M, K, H = 24, 10, 128, 11, 16
L2 = 1e-3

FORMS = [
    *(f"yu2018:{a}" for a in ARCHITECTURES),
    *(f"yu2018_equations:{a}" for a in ("3-A", "2-A-1-A", "1-A-1-A-1-A")),
    "kong2019_keras",
    "kong2017",
]


def keras_dtype(name: str) -> None:
    """What Keras makes new layers of; it keeps the first policy, whatever becomes of floatx."""
    keras.config.set_floatx(name)
    keras.config.set_dtype_policy(name)


@pytest.fixture(autouse=True)
def _float32_again() -> Iterator[None]:
    yield
    keras_dtype("float32")
    keras.backend.clear_session()


def small(form: str) -> ModelConfig:
    return dataclasses.replace(
        mla.preset(form).model, hidden_units=H, dropout_rate=0.0, prior_bias=False
    )


def random_variables(model: MultiLevelModel, dtype: Any = np.float32) -> Any:
    """Random values for every variable, also for what starts at 0 or 1, so that mix-ups show."""
    # A seed with which no ReLU of these models stands within rounding of its kink.
    rng = np.random.default_rng(1)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        noise = rng.normal(size=leaf.shape)
        if path[-1].key == "kernel":
            noise /= np.sqrt(leaf.shape[0])
        elif path[-1].key in ("scale", "var"):
            noise = np.exp(0.3 * noise)
        else:
            noise *= 0.3
        return noise.astype(dtype)

    shapes = jax.eval_shape(lambda: init_variables(model, 0, M))
    return jax.tree_util.tree_map_with_path(draw, shapes)


def random_batches(batches: int = 1, dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    embeddings = (rng.integers(0, 256, (batches, B, T, M)) - 128) / 128
    return embeddings.astype(dtype), (rng.random((batches, B, K)) < 0.2).astype(dtype)


@partial(jax.jit, static_argnames=("model", "l2"))
def ours(
    model: MultiLevelModel, variables: Any, embeddings: jax.Array, labels: jax.Array, l2: float
) -> tuple[jax.Array, Any]:
    """(probabilities at inference, ((training-mode probabilities, statistics), gradients))."""

    def loss(params: Any) -> Any:
        logits, updates = model.apply(
            {**variables, "params": params}, embeddings, train=True, mutable=["batch_stats"]
        )
        value = binary_cross_entropy(logits, labels) + l2 * kernel_penalty(params)
        return value, (jax.nn.sigmoid(logits), updates.get("batch_stats", {}))

    grads, seen = jax.grad(loss, has_aux=True)(variables["params"])
    return jax.nn.sigmoid(model.apply(variables, embeddings)), (seen, grads)


def keras_gradients(
    model: Any, embeddings: np.ndarray, labels: np.ndarray
) -> tuple[Any, list[Any]]:
    """(training-mode output, gradients of the trainable weights) of Keras's own loss."""
    with tf.GradientTape() as tape:
        output = model(embeddings, training=True)
        loss = keras.ops.mean(keras.losses.binary_crossentropy(labels, output))
        loss += sum(model.losses, keras.ops.zeros_like(loss))
    return output, tape.gradient(loss, model.trainable_weights)


def is_cancelled(path: Any, config: ModelConfig) -> bool:
    """Whether a batch norm that follows takes the mean, and with it this bias, away."""
    *parts, last = (key.key for key in path)
    if last != "bias":
        return False
    if parts == ["input_norm"] or (parts[0].startswith("block_") and parts[1] == "dense"):
        return config.block_norm
    if parts[0].startswith("head_") and parts[1] in ("classify", "attend"):
        return config.head_norm
    return parts == ["output"] and config.output_norm


def assert_alike(actual: Any, expected: Any, config: ModelConfig, tolerance: float) -> None:
    """Every array agrees to `tolerance` times the largest of its values, or times 1 if that is less."""

    def check(path: Any, a: Any, b: Any) -> None:
        if not is_cancelled(path, config):
            atol = tolerance * min(1.0, np.abs(b).max())
            name = jax.tree_util.keystr(path)
            np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=name)

    jax.tree_util.tree_map_with_path(check, actual, expected)


# Every place of batch norm; the others differ in numbers of blocks and levels.
FEW = ["yu2018:2-A-1-A", "kong2019_keras", "kong2017"]


@pytest.mark.parametrize("form", few(FEW, FORMS))
def test_outputs_statistics_and_gradients_are_those_of_keras(form: str) -> None:
    config = small(form)
    model = mla.build_model(config, K)
    variables = random_variables(model)
    theirs = keras_models.build(config, T, M, K, l2=L2)
    keras_models.copy_weights(variables, theirs)
    (embeddings,), (labels,) = random_batches()

    probs, ((train_probs, statistics), grads) = ours(model, variables, embeddings, labels, L2)
    np.testing.assert_allclose(probs, theirs(embeddings, training=False), rtol=0, atol=1e-5)
    expected, gradients = keras_gradients(theirs, embeddings, labels)
    np.testing.assert_allclose(train_probs, expected, rtol=0, atol=1e-5)
    assert_alike(statistics, keras_models.weights_like(statistics, theirs), config, 1e-5)
    by_weight = {id(w): g for w, g in zip(theirs.trainable_weights, gradients, strict=True)}
    assert_alike(grads, keras_models.gradients_like(grads, theirs, by_weight), config, 1e-3)


# Adam treats each parameter by itself, and the gradients of all forms are compared above.
ADAM = ["yu2018:3-A", "yu2018:2-A-1-A", "yu2018:5-A-4-A", "yu2018_equations:2-A-1-A", "kong2017"]


@pytest.mark.parametrize("form", few(["kong2017"], ADAM))
def test_twenty_steps_of_adam_are_those_of_keras(form: str) -> None:
    config, optim = small(form), OptimConfig()
    keras_dtype("float64")
    theirs = keras_models.build(config, T, M, K)
    with enable_x64(True):
        model = mla.build_model(config, K)
        variables = random_variables(model, dtype=np.float64)
        keras_models.copy_weights(variables, theirs)
        embeddings, labels = random_batches(20, np.float64)

        @jax.jit
        def train(state: Any) -> Any:
            def body(state: Any, batch: Any) -> Any:
                x, y = batch
                mask = jnp.ones((B, T), bool)
                optimizer = make_optimizer(optim)
                return train_step(model, optimizer, state, Batch(x, mask, y), jax.random.key(0))

            state, _ = jax.lax.scan(body, state, (embeddings, labels))
            return state, jax.nn.sigmoid(model.apply(state.variables, embeddings[0]))

        state, probs = train(init_state(variables, optim))

    # As NumPy scalars: of Python's floats Keras makes float32, here 1e-5 of the first corrections.
    adam = keras.optimizers.Adam(
        *map(np.float64, (optim.learning_rate, optim.b1, optim.b2, optim.epsilon))
    )
    adam.build(theirs.trainable_weights)

    @tf.function  # op by op, these steps take longer than compiling ours
    def step(x: Any, y: Any) -> None:
        _, gradients = keras_gradients(theirs, x, y)
        adam.apply_gradients(zip(gradients, theirs.trainable_weights, strict=True))

    for x, y in zip(embeddings, labels, strict=True):
        step(tf.constant(x), tf.constant(y))
    np.testing.assert_allclose(probs, theirs(embeddings[0], training=False), rtol=0, atol=1e-9)
    params = jax.tree.map(np.asarray, state.params)
    assert params["block_0"]["dense"]["kernel"].dtype == np.float64
    assert_alike(params, keras_models.weights_like(params, theirs), config, 1e-9)


@pytest.mark.parametrize("form", ["yu2018", "kong2019_keras"])
def test_real_clips_give_the_probabilities_of_keras(form: str, audioset_dir: Path) -> None:
    clips = mla.open_clips(f"{audioset_dir}/eval/-*", mla.ReadOptions(527))
    assert (np.asarray(clips.num_segments) < T).any()
    config = small(form)
    model = mla.build_model(config, K)
    variables = random_variables(model)
    theirs = keras_models.build(config, T, M, K)
    keras_models.copy_weights(variables, theirs)
    # Without the mask, as the originals see short clips.
    probs = mla.Predictor(model, variables, use_mask=False).predict(clips)
    scaled = (clips.embeddings.astype(np.float32) - 128) / 128
    np.testing.assert_allclose(probs, theirs(scaled, training=False), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"softmax_axis": 1},
        pytest.param({"join": "shallowest_first"}, marks=pytest.mark.slow),
        pytest.param({"epsilon": 1e-5}, marks=pytest.mark.slow),
    ],
    ids=["softmax over time", "levels in another order", "another epsilon"],
)
def test_a_wrong_detail_would_be_noticed(wrong: dict[str, Any]) -> None:
    config = small("yu2018")
    model = mla.build_model(config, K)
    variables = random_variables(model)
    theirs = keras_models.build(config, T, M, K, **wrong)
    keras_models.copy_weights(variables, theirs)
    (embeddings,), _ = random_batches()
    probs = jax.nn.sigmoid(jax.jit(model.apply)(variables, embeddings))
    assert np.abs(probs - np.asarray(theirs(embeddings, training=False))).max() > 2e-5
