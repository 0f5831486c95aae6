"""The folded model gives what the model gives, in every form."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.models.fold import fold
from mla_jax.models.folded import folded_logits
from mla_jax.models.multi_level import MultiLevelModel, init_variables
from mla_jax.models.variables import Variables, flat, nested
from mla_jax.presets import PRESETS
from tests.support.helpers import few

B, T, M, K = 6, 5, 9, 4
# Norms everywhere; a shared head and no bias; no norm at all; no attention; a vector that is pooled.
FORMS = {
    name: PRESETS[name]().model
    for name in ("yu2018", "kong2019_torch", "kong2017", "max_pooling", "feature_attention")
}
FORMS["features of several levels"] = dataclasses.replace(
    FORMS["yu2018"], attend_to="features", join="shallowest_first"
)
FORMS["features by their maximum"] = dataclasses.replace(
    FORMS["yu2018"], attend_to="features", pooling="max"
)
FORMS["levels that are averaged"] = dataclasses.replace(FORMS["yu2018"], join="mean")
FORMS["a level of whole clips, averaged"] = dataclasses.replace(
    FORMS["levels that are averaged"], clip_blocks=2
)
FORMS["a level of whole clips, mixed"] = dataclasses.replace(FORMS["yu2018"], clip_blocks=1)
FEW = ("yu2018", "kong2019_torch", "feature_attention", "a level of whole clips, averaged")


def trained_for_long(model: MultiLevelModel) -> Variables:
    """Variables of which no two are alike, as after some training; norms far from doing nothing."""
    rng = np.random.default_rng(5)

    def drawn(place: str, leaf: jax.Array) -> jax.Array:
        noise = rng.normal(size=leaf.shape).astype(np.float32)
        if place.endswith("/var"):
            return jnp.asarray(np.exp(noise))
        return leaf + (3 * noise if place.endswith("/mean") else 0.2 * noise)

    variables = flat(init_variables(model, 0, M, class_prior=np.full(K, 0.3)))
    return nested({place: drawn(place, leaf) for place, leaf in variables.items()})


@pytest.mark.parametrize("form", few(FEW, FORMS))
def test_probabilities_are_those_of_the_model(form: str) -> None:
    config = dataclasses.replace(FORMS[form], hidden_units=12)
    model = mla.build_model(config, K)
    variables = trained_for_long(model)
    x = np.random.default_rng(0).normal(size=(B, T, M)).astype(np.float32)
    mask = np.arange(T) < np.array([T, 1, 3, 2, T, 0])[:, None]
    x[~mask] = np.inf  # what padding holds is nobody's business
    expected = jax.jit(model.apply)(variables, x, mask)
    weights = fold(config, variables)
    found = jax.jit(lambda w, x, mask: folded_logits(config, w, x, mask))(weights, x, mask)
    np.testing.assert_allclose(jax.nn.sigmoid(found), jax.nn.sigmoid(expected), atol=1e-6)
    assert np.ptp(jax.nn.sigmoid(found)) > 0.1


def test_names_of_variables() -> None:
    tree = {"params": {"a": {"kernel": 1, "bias": 2}, "b": {"c": {"scale": 3}}}, "batch_stats": {}}
    named = flat(tree)
    assert named == {"params/a/kernel": 1, "params/a/bias": 2, "params/b/c/scale": 3}
    assert nested(named) == {"params": tree["params"]}
