"""Maps are of a clip's real segments, of the kinds that the model has."""

from typing import Any

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.data.windows import Windowing
from mla_jax.explain.maps import clip_maps, map_of_windows
from mla_jax.tagging.tagger import Tagger, TagOptions
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


@pytest.mark.parametrize("length", [3, 5, 12])
def test_a_long_clip_is_seen_in_windows_as_predict_sees_it(length: int) -> None:
    trained = untrained_model(architecture="1-A-1-A", join="mean", clip_blocks=1)
    segments = CLIPS.embeddings[: length // 5 + 1].reshape(1, -1, CLIPS.num_features)[:, :length]
    clip = mla.ClipSet.from_arrays(segments, [[]], embedding=CLIPS.embedding, num_classes=K)
    maps, probs = map_of_windows(trained, clip)
    windows = Windowing(trained.max_segments, trained.max_segments)
    options = TagOptions(segments=True, top_k=K)
    (tags,) = Tagger(trained, options, windows, np.zeros(K)).tag([clip])
    assert len(probs) == len(tags.clips) == -(-length // trained.max_segments)
    np.testing.assert_allclose(probs[tags.owner, tags.labels], tags.probs, rtol=1e-5)
    scores = np.zeros((len(probs), K, trained.max_segments))
    scores[tags.owner, tags.labels] = tags.scores
    expected = np.concatenate([*scores], axis=1)[:, :length]
    np.testing.assert_allclose(maps["segment score"].values, expected, rtol=1e-5)
    for one in maps.values():
        assert one.values.shape == (K, length)
