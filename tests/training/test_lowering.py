"""Training and prediction lower for TPUs and GPUs, at the paper's sizes, on a machine that has neither."""

from typing import Any

import jax
import jax.extend
import jax.interpreters.mlir
import jax.numpy as jnp
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.data.embedding import Scaling
from mla_jax.inference.predictor import clip_probabilities
from mla_jax.models.folded import fold
from mla_jax.models.multi_level import MultiLevelModel, init_variables
from mla_jax.training.batches import DeviceClips
from mla_jax.training.sampler import BalancedSampler
from mla_jax.training.state import TrainState, init_state
from mla_jax.training.step import Recipe, run_steps

CLIPS, LABELS, TIME, FEATURES, CLASSES = 2_041_789, 4_000_000, 10, 128, 527
PLATFORMS = ["tpu", "cuda"]


def _array(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _state(model: MultiLevelModel, optim: mla.OptimConfig) -> TrainState:
    prior = np.full(CLASSES, 0.01)
    return jax.eval_shape(
        lambda: init_state(init_variables(model, 0, FEATURES, class_prior=prior), optim)
    )


@pytest.mark.parametrize("preset", ["yu2018", "yu2018_equations", "kong2019_torch"])
def test_the_training_loop_lowers(preset: str) -> None:
    config = mla.preset(preset)
    model = mla.build_model(config.model, CLASSES)
    data = DeviceClips(
        embeddings=_array(np.uint8, CLIPS, TIME, FEATURES),
        num_segments=_array(np.int32, CLIPS),
        label_ids=_array(np.int32, CLIPS, 15),
        offset=128.0,
        scale=128.0,
        num_classes=CLASSES,
        use_mask=True,
    )
    keys = jax.eval_shape(lambda: (jax.random.key(0, impl="threefry2x32"), jax.random.key(1)))
    sampler = BalancedSampler(
        clip_ids=_array(np.int32, LABELS),
        first=_array(np.uint32, CLASSES),
        count=_array(np.uint32, CLASSES),
        key=keys[0],
        batch_size=config.data.batch_size,
    )
    state = _state(model, config.optim)
    lowered = jax.export.export(run_steps, platforms=PLATFORMS)(
        model, Recipe.of(config), state, data, sampler, keys[1], _array(np.int32)
    )
    assert lowered.platforms == ("tpu", "cuda")
    after = jax.tree.unflatten(lowered.out_tree, lowered.out_avals)[0]
    assert jax.tree.map(jnp.shape, after.params) == jax.tree.map(jnp.shape, state.params)
    # The whole loop is one program: the host is asked for nothing.
    assert "callback" not in lowered.mlir_module()


def test_prediction_lowers() -> None:
    config = mla.preset("yu2018")
    model = mla.build_model(config.model, CLASSES)
    weights = fold(config.model, init_variables(model, 0, FEATURES))
    program = jax.jit(
        lambda weights, embeddings, num_segments: clip_probabilities(
            model, weights, embeddings, num_segments, scaling=Scaling(128.0, 128.0), use_mask=True
        )
    )
    lowered = jax.export.export(program, platforms=PLATFORMS)(
        weights, _array(np.uint8, 500, TIME, FEATURES), _array(np.int32, 500)
    )
    assert [aval.shape for aval in lowered.out_avals] == [(500, CLASSES)]


def test_a_program_for_this_machine_alone_would_be_noticed() -> None:
    """What lowers on a CPU only is an error here, so the tests above can fail."""
    primitive = jax.extend.core.Primitive("only_here")
    primitive.def_abstract_eval(lambda x: x)
    jax.interpreters.mlir.register_lowering(primitive, lambda ctx, x: [x], platform="cpu")
    with pytest.raises(NotImplementedError, match="only_here"):
        jax.export.export(jax.jit(primitive.bind), platforms=PLATFORMS)(_array(np.float32, 2))
