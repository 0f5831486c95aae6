"""Training and prediction lower for TPUs and GPUs, at the paper's sizes, on a machine that has neither."""

from functools import partial
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
from mla_jax.models.fold import fold
from mla_jax.models.multi_level import MultiLevelModel, init_variables
from mla_jax.training.batches import DeviceClips
from mla_jax.training.sampler import BalancedSampler
from mla_jax.training.state import TrainState, init_state, stack_states
from mla_jax.training.step import Recipe, run_steps

CLIPS, LABELS, TIME, FEATURES, CLASSES = 2_041_789, 4_000_000, 10, 128, 527
PLATFORMS = ["tpu", "cuda"]


def _array(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _state(model: MultiLevelModel, config: mla.Config) -> TrainState:
    prior = np.full(CLASSES, 0.01)

    def fresh() -> TrainState:
        variables = init_variables(model, 0, FEATURES, class_prior=prior)
        return init_state(variables, config.optim, config.train.steps)

    return jax.eval_shape(fresh)


def _arguments(preset: str, *, seeds: int = 1) -> tuple[Any, ...]:
    """Of `run_steps`, with shapes in place of arrays."""
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

    def keys_of_run() -> Any:
        one = jax.random.key(0, impl="threefry2x32"), jax.random.key(1)
        return one if seeds == 1 else jax.tree.map(lambda k: jax.random.split(k, seeds), one)

    keys, state = jax.eval_shape(keys_of_run), _state(model, config)
    if seeds > 1:
        state = jax.eval_shape(lambda state: stack_states([state] * seeds), state)
    sampler = BalancedSampler(
        clip_ids=_array(np.int32, LABELS),
        first=_array(np.uint32, CLASSES),
        count=_array(np.uint32, CLASSES),
        key=keys[0],
        batch_size=config.data.batch_size,
    )
    return model, Recipe.of(config), state, data, sampler, keys[1], _array(np.int32)


@pytest.mark.parametrize(
    ("preset", "seeds"),
    [
        ("yu2018", 1),
        ("best", 2),
        *(
            pytest.param(preset, 1, marks=pytest.mark.slow)
            for preset in ("yu2018_equations", "best", "kong2019_torch")
        ),
    ],
)
def test_the_training_loop_lowers(preset: str, seeds: int) -> None:
    arguments = _arguments(preset, seeds=seeds)
    lowered = jax.export.export(run_steps, platforms=PLATFORMS)(*arguments)
    assert lowered.platforms == ("tpu", "cuda")
    after = jax.tree.unflatten(lowered.out_tree, lowered.out_avals)[0]
    assert jax.tree.map(jnp.shape, after.params) == jax.tree.map(jnp.shape, arguments[2].params)
    # The whole loop is one program: the host is asked for nothing.
    assert "callback" not in lowered.mlir_module()


@pytest.mark.parametrize("preset", ["yu2018", "best"])
def test_a_step_has_no_loop_within(preset: str) -> None:
    """In each turn of a loop a GPU waits for the host, so batches are drawn for many steps at once."""
    model, recipe, *arrays = _arguments(preset)
    traced = jax.make_jaxpr(partial(run_steps, model, recipe))(*arrays)
    loops = _loops(traced.jaxpr)
    calls = [loop for loop in loops if _loops(loop)]
    assert len(calls) == 1, "one loop draws, and has the loop over steps within"
    steps = [loop for loop in _loops(calls[0]) if _has(loop, "dot_general")]
    assert len(steps) == 1
    assert not _loops(steps[0])


def _loops(jaxpr: Any) -> list[Any]:
    """The bodies of the loops of a program, but not of those within them, as an accelerator has it."""
    found = []
    for eqn in jaxpr.eqns:
        inner = _programs(eqn.params)
        if eqn.primitive.name == "while":
            found.append(eqn.params["body_jaxpr"].jaxpr)
        elif eqn.primitive.name == "scan":
            found += inner
        else:
            # Of those that differ by platform, a CPU's come first.
            for program in inner[-1:] if "branches_platforms" in eqn.params else inner:
                found += _loops(program)
    return found


def _programs(params: dict[str, Any]) -> list[Any]:
    leaves = [getattr(leaf, "jaxpr", leaf) for leaf in jax.tree.leaves(list(params.values()))]
    return [leaf for leaf in leaves if hasattr(leaf, "eqns")]


def _has(jaxpr: Any, primitive: str) -> bool:
    return f" {primitive}[" in str(jaxpr)


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
