"""What a model says of segments: what a score is, what attention and classification add up to."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.evaluation.segments import (
    SegmentOutput,
    predict_segments,
    segment_batches,
    start_segments,
)
from tests.helpers import raises_user_error, random_clips

HIDDEN, CLASSES = 8, 7
FORMS = (
    "yu2018:1-A-1-A",
    "kong2019_torch:1-A-1-A",
    "kong2017:1-A",
    "feature_attention:1-A",
    "average_pooling:1-A",
    "max_pooling:1-A",
)


def made(form: str, features: int = 4) -> tuple[mla.MultiLevelModel, dict[str, Any]]:
    """A model whose statistics and biases are none of the initial ones."""
    config = dataclasses.replace(mla.preset(form).model, hidden_units=HIDDEN)
    model = mla.build_model(config, CLASSES)
    variables = mla.init_variables(model, 0, features, class_prior=np.full(CLASSES, 0.3))
    rng = np.random.default_rng(1)
    moved = {
        name: _moved(tree, rng, spread=0.1 if name == "batch_stats" else 0.5)
        for name, tree in variables.items()
    }
    return model, moved


def _moved(tree: Any, rng: np.random.Generator, spread: float) -> Any:
    if isinstance(tree, dict):
        return {name: _moved(sub, rng, spread) for name, sub in tree.items()}
    return np.asarray(tree) + (spread * rng.uniform(-1, 1, tree.shape)).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("form", FORMS)
def test_a_score_is_the_probability_of_the_segment_as_a_clip(form: str) -> None:
    clips = random_clips(num_clips=9)
    model, variables = made(form)
    scores = predict_segments(model, variables, clips, batch_size=9).scores
    assert scores.dtype == np.float32
    assert scores.shape == (9, 5, CLASSES)
    mask = clips.mask()
    assert np.isnan(scores[~mask]).all()
    alone = mla.ClipSet.from_arrays(
        clips.embeddings[mask][:, None], [[]] * int(mask.sum()), num_classes=CLASSES
    )
    np.testing.assert_allclose(
        scores[mask], mla.predict(model, variables, alone, batch_size=9), rtol=1e-5
    )


@pytest.mark.parametrize("form", FORMS)
def test_of_a_clip_of_one_segment_the_score_is_the_probability(form: str) -> None:
    model, variables = made(form)
    clips = random_clips(num_clips=40)
    one = clips.num_segments == 1
    assert 0 < one.sum() < 40
    found = predict_segments(model, variables, clips, batch_size=40)
    np.testing.assert_allclose(found.scores[one, 0], found.probs[one], rtol=1e-5)
    np.testing.assert_allclose(
        found.probs, mla.predict(model, variables, clips, batch_size=40), rtol=1e-5
    )


def test_where_padding_counts_a_clip_is_more_than_its_segment() -> None:
    """Of a clip with padding: of one that has none, the score is the probability all the same."""
    model, variables = made("yu2018:1-A")
    clips = random_clips(num_clips=40)
    found = predict_segments(model, variables, clips, batch_size=40, use_mask=False)
    np.testing.assert_allclose(
        found.probs, mla.predict(model, variables, clips, use_mask=False), rtol=1e-5
    )
    one = clips.num_segments == 1
    assert not np.isclose(found.scores[one, 0], found.probs[one], rtol=1e-2).all(axis=1).any()
    short = random_clips(num_clips=9, time=1)
    found = predict_segments(model, variables, short, batch_size=9, use_mask=False)
    np.testing.assert_allclose(found.scores[:, 0], found.probs, rtol=1e-5)


@pytest.mark.parametrize(
    "form", ["kong2019_keras:1-A-2-A", "kong2019_torch:1-A-1-A", f"kong2019_keras:{'1-A-' * 11}1-A"]
)
def test_levels_add_up_to_the_clips_probability(form: str) -> None:
    """The output layer on every level's sum of a f, in its order, gives what the model gives."""
    clips = random_clips(num_clips=9)
    model, variables = made(form)
    found = predict_segments(model, variables, clips, batch_size=20, with_levels=True)
    mask = clips.mask()
    pooled = []
    for attention, probs in found.levels:
        assert probs is not None
        np.testing.assert_allclose(attention.sum(axis=1), 1, rtol=1e-5)
        assert not attention[~mask].any()
        assert np.isnan(probs[~mask]).all()
        assert ((probs[mask] > 0) & (probs[mask] < 1)).all()
        pooled.append((attention * np.nan_to_num(probs)).sum(axis=1))
    if model.config.join == "deepest_first":
        pooled.reverse()
    output = variables["params"]["output"]
    logits = np.concatenate(pooled, axis=1) @ output["kernel"] + output["bias"]
    np.testing.assert_allclose(sigmoid(logits), found.probs, rtol=1e-4)


def test_with_one_level_the_score_is_f() -> None:
    clips = random_clips(num_clips=9)
    model, variables = made("yu2018:2-A")
    found = predict_segments(model, variables, clips, batch_size=20, with_levels=True)
    (level,) = found.levels
    assert level.segment_probs is not None
    np.testing.assert_allclose(found.scores, level.segment_probs, rtol=1e-5)
    pooled = np.nansum(level.attention * level.segment_probs, axis=1)
    np.testing.assert_allclose(pooled, found.probs, rtol=1e-5)


def test_with_features_attention_is_of_features_and_there_is_no_f() -> None:
    clips = random_clips(num_clips=9)
    model, variables = made("feature_attention:1-A")
    found = predict_segments(model, variables, clips, batch_size=20, with_levels=True)
    (level,) = found.levels
    assert level.attention.shape == (9, 5, HIDDEN)
    np.testing.assert_allclose(level.attention.sum(axis=1), 1, rtol=1e-5)
    assert level.segment_probs is None


def test_padding_has_a_share_of_attention_where_it_counts() -> None:
    clips = random_clips(num_clips=9)
    model, variables = made("yu2018:1-A")
    found = predict_segments(
        model, variables, clips, batch_size=20, use_mask=False, with_levels=True
    )
    padding = ~clips.mask()
    assert (found.levels[0].attention[padding] > 0).all()
    assert np.isnan(found.scores[padding]).all()


def assert_same_output(one: SegmentOutput, other: SegmentOutput) -> None:
    for ours, theirs in zip(
        [one.probs, one.scores, *(a for level in one.levels for a in level)],
        [other.probs, other.scores, *(a for level in other.levels for a in level)],
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_what_lies_in_padding_and_how_batches_are_cut_does_not_matter() -> None:
    clips = random_clips(num_clips=20)
    model, variables = made("yu2018:1-A-1-A")
    whole = predict_segments(model, variables, clips, batch_size=20, with_levels=True)
    assert len(whole.levels) == 2
    dirty = np.array(clips.embeddings)
    dirty[~clips.mask()] = 77
    other = dataclasses.replace(clips, embeddings=dirty)
    assert_same_output(
        predict_segments(model, variables, other, batch_size=20, with_levels=True), whole
    )
    parts = list(segment_batches(model, variables, clips, batch_size=7, with_levels=True))
    assert [len(part.probs) for part in parts] == [7, 7, 6]
    cut = predict_segments(model, variables, clips, batch_size=7, with_levels=True)
    assert_same_output(cut, whole)
    np.testing.assert_array_equal(cut.scores[7:14], parts[1].scores)
    assert start_segments(model, variables, clips, batch_size=20)().levels == ()


def test_what_cannot_be_is_refused() -> None:
    model, variables = made("yu2018:1-A")
    with raises_user_error("have 6 features a segment, the model takes 4"):
        predict_segments(model, variables, random_clips(features=6))
    with raises_user_error("20 clips are more than batch_size=10"):
        start_segments(model, variables, random_clips(), batch_size=10)
    with raises_user_error("no clips"):
        predict_segments(model, variables, random_clips()[:0])
