"""How levels are weighed: what they add makes the logit, and shares follow what they are shares of."""

import dataclasses

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.explain.levels import level_shares, output_by_level, variance_shares, weight_shares
from tests.support.untrained import WORLD, K, untrained_model

CLIPS = mla.synthetic_clips(WORLD, "eval").clips


@pytest.mark.parametrize(("norm", "join"), [(False, "shallowest_first"), (True, "deepest_first")])
def test_what_segments_add_sums_to_the_logit(norm: bool, join: str) -> None:
    trained = untrained_model(architecture="1-A-1-A", output_norm=norm, join=join)
    rng = np.random.default_rng(0)
    variables = dict(trained.variables)
    factor, offset = np.ones(K), np.zeros(K)
    if norm:
        scale, bias, mean, var = rng.normal(size=(4, K)).astype(np.float32)
        stats = {"mean": mean, "var": var**2}
        variables["params"] |= {"output_norm": {"scale": scale, "bias": bias}}
        variables["batch_stats"] |= {"output_norm": stats}
        factor = scale / np.sqrt(var**2 + trained.config.model.norm_epsilon)
        offset = bias - mean * factor
    trained = dataclasses.replace(trained, variables=variables)
    by_level = output_by_level(trained)
    assert by_level is not None
    logits = np.asarray(variables["params"]["output"]["bias"]) * factor + offset
    levels = trained.predict_segments(CLIPS, with_levels=True).levels
    for level, weights in zip(levels, by_level, strict=True):
        logits = logits + (level.contributions() @ weights).sum(axis=1)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), trained.predict(CLIPS), rtol=1e-4)


def test_shares_are_of_variance_where_there_are_clips() -> None:
    trained = untrained_model(architecture="1-A-2-A")
    by_level = output_by_level(trained)
    assert by_level is not None
    weights, variance = level_shares(trained), level_shares(trained, CLIPS)
    assert weights is not None
    assert variance is not None
    assert weights.names == variance.names == ("after block 1", "after block 3")
    np.testing.assert_array_equal(weights.shares, weight_shares(by_level))
    np.testing.assert_allclose(variance.shares.sum(axis=0), 1)
    assert (weights.by_variance, variance.by_variance) == (False, True)
    of_features = level_shares(untrained_model(architecture="1-A-1-A", attend_to="features"), CLIPS)
    assert of_features is not None
    assert of_features.by_variance
    assert level_shares(untrained_model(architecture="2-A"), CLIPS) is None
    assert level_shares(trained, CLIPS[:1]) is None


@pytest.mark.parametrize("join", ["mean", pytest.param("deepest_first", marks=pytest.mark.slow)])
def test_a_level_of_whole_clips_has_its_share(join: str) -> None:
    trained = untrained_model(architecture="1-A", join=join, clip_blocks=1)
    found = level_shares(trained, CLIPS)
    assert found is not None
    assert found.names == ("after block 1", "whole clip")
    np.testing.assert_allclose(found.shares.sum(axis=0), 1)
    assert (np.abs(found.shares) > 1e-3).all()


def test_without_an_output_layer_a_level_adds_its_own_logit() -> None:
    trained = untrained_model(architecture="1-A-2-A", join="mean")
    assert output_by_level(trained) is None
    assert level_shares(trained) is None
    found = level_shares(trained, CLIPS)
    assert found is not None
    levels = trained.predict_segments(CLIPS, with_levels=True).levels
    p = np.stack([level.contributions().sum(axis=1) for level in levels]).astype(np.float64)
    added = np.log(p / (1 - p)) / 2
    np.testing.assert_allclose(
        1 / (1 + np.exp(-added.sum(axis=0))), trained.predict(CLIPS), rtol=1e-4
    )
    np.testing.assert_allclose(found.shares, variance_shares(added), atol=1e-3)


def test_shares_of_weights_follow_the_kernel() -> None:
    by_level = np.zeros((2, 2, 2))
    by_level[0, :, 0] = [3, 4]  # norm 5, class 0
    by_level[1, :, 0] = [0, 15]
    by_level[1, :, 1] = [1, 0]
    np.testing.assert_allclose(weight_shares(by_level), [[0.25, 0], [0.75, 1]])
    assert np.isnan(weight_shares(by_level * [1, 0])[:, 1]).all()


def test_shares_of_variance_add_up_and_leave_out_what_never_moves() -> None:
    rng = np.random.default_rng(0)
    by_level = rng.normal(size=(3, 5, 5))
    probs = rng.random((3, 400, 5))
    probs[1] = 0.7  # says the same of every clip
    shares = variance_shares(np.matmul(probs, by_level))
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(shares[1], 0, atol=1e-12)
    # Of levels that vary independently of each other, each has its own variance.
    added = np.einsum("lnj,ljk->lnk", probs, by_level)
    own = added.var(axis=1)
    np.testing.assert_allclose(shares, own / own.sum(axis=0), atol=0.15)
    # What a batch norm behind the layer does, and a bias, changes nothing.
    scaled = variance_shares(np.matmul(probs, by_level * np.array([1, -2, 3, 0.1, 5])))
    np.testing.assert_allclose(scaled, shares, rtol=1e-9, atol=1e-12)
    assert np.isnan(variance_shares(np.ones((3, 10, 5)))).all()
