"""Maps are of a clip's real segments, of the kinds that the model has."""

from typing import Any

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.explain.maps import clip_maps
from tests.support.untrained import WORLD, K, untrained_model

CLIPS = mla.synthetic_clips(WORLD, "eval").clips
FEW = CLIPS[np.argsort(CLIPS.num_segments, kind="stable")[:6]]


@pytest.mark.parametrize(
    ("form", "kinds"),
    [
        ({"architecture": "1-A-1-A"}, ["probability", "signed", "signed"]),
        ({"architecture": "1-A"}, ["probability", "weight"]),
        pytest.param(
            {"architecture": "1-A", "pooling": "mean"}, ["probability"], marks=pytest.mark.slow
        ),
        ({"architecture": "1-A-1-A", "join": "mean"}, ["probability", "weight", "weight"]),
        ({"architecture": "1-A", "attend_to": "features"}, ["probability"]),
        pytest.param(
            {"architecture": "1-A", "clip_blocks": 1},
            ["probability", "signed"],
            marks=pytest.mark.slow,
        ),
        ({"architecture": "1-A", "clip_blocks": 1, "join": "mean"}, ["probability", "weight"]),
    ],
    ids=str,
)
def test_maps_are_of_real_segments_and_of_the_right_kind(
    form: dict[str, Any], kinds: list[str]
) -> None:
    assert FEW.num_segments[0] < FEW.max_segments
    trained = untrained_model(**form)
    scores = trained.predict_segments(FEW).scores
    for i, maps in enumerate(clip_maps(trained, FEW)):
        length = FEW.num_segments[i]
        assert [one.kind for one in maps.values()] == kinds
        np.testing.assert_allclose(maps["segment score"].values, scores[i, :length].T, rtol=1e-5)
        for one in maps.values():
            assert one.values.shape == (K, length)
            np.testing.assert_array_equal(one.of([4, 2]).values, one.values[[4, 2]])
            if one.kind == "signed":
                np.testing.assert_allclose(one.values.sum(axis=1), 0, atol=1e-5)
            if one.kind == "weight":
                np.testing.assert_allclose(one.values.sum(axis=1), 1, rtol=1e-5)
