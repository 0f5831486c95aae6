"""What a model says of segments: what a score is, what attention and classification add up to."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.models.multi_level import init_variables
from tests.support.helpers import random_clips

HIDDEN, CLASSES = 8, 7
FORMS = (
    "yu2018:1-A-1-A",
    "kong2019_torch:1-A-1-A",
    "kong2017:1-A",
    "feature_attention:1-A",
    "average_pooling:1-A",
    "max_pooling:1-A",
)


def predictor_of(form: str, **choices: Any) -> mla.Predictor:
    """A model of this form, whose statistics and biases are none of the initial ones."""
    config = dataclasses.replace(mla.preset(form).model, hidden_units=HIDDEN)
    model = mla.build_model(config, CLASSES)
    variables = init_variables(model, 0, 4, class_prior=np.full(CLASSES, 0.3))
    rng = np.random.default_rng(1)

    def moved(tree: Any, by: float) -> Any:
        return jax.tree.map(
            lambda x: np.asarray(x) + (by * rng.uniform(-1, 1, x.shape)).astype(np.float32), tree
        )

    variables = {k: moved(v, 0.1 if k == "batch_stats" else 0.5) for k, v in variables.items()}
    return mla.Predictor(model, variables, **{"batch_size": 40} | choices)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("form", FORMS)
def test_a_score_is_the_probability_of_the_segment_as_a_clip(form: str) -> None:
    """So that of a clip of one segment it is the clip's own."""
    clips = random_clips(num_clips=40)
    predictor = predictor_of(form)
    found = predictor.predict_segments(clips)
    scores, mask = found.scores, clips.mask()
    assert scores.dtype == np.float32
    assert scores.shape == (40, 5, CLASSES)
    assert np.isnan(scores[~mask]).all()
    alone = mla.ClipSet.from_arrays(
        clips.embeddings[mask][:, None], [[]] * int(mask.sum()), num_classes=CLASSES
    )
    np.testing.assert_allclose(scores[mask], predictor.predict(alone), rtol=1e-5)
    np.testing.assert_allclose(found.probs, predictor.predict(clips), rtol=1e-5)
    one = clips.num_segments == 1
    assert 0 < one.sum() < 40
    np.testing.assert_allclose(scores[one, 0], found.probs[one], rtol=1e-5)


def test_where_padding_counts_a_clip_is_more_than_its_segment() -> None:
    """Of a clip with padding: of one that has none, the score is the probability all the same."""
    predictor = predictor_of("yu2018:1-A", use_mask=False)
    clips = random_clips(num_clips=40)
    found = predictor.predict_segments(clips, with_levels=True)
    np.testing.assert_allclose(found.probs, predictor.predict(clips), rtol=1e-5)
    one, padding = clips.num_segments == 1, ~clips.mask()
    assert not np.isclose(found.scores[one, 0], found.probs[one], rtol=1e-2).all(axis=1).any()
    assert np.isnan(found.scores[padding]).all()
    assert (found.levels[0].attention[padding] > 0).all()
    short = predictor.predict_segments(random_clips(num_clips=9, time=1))
    np.testing.assert_allclose(short.scores[:, 0], short.probs, rtol=1e-5)


@pytest.mark.parametrize(
    "form",
    [
        "kong2019_keras:1-A-2-A",
        "kong2019_torch:1-A-1-A",
        pytest.param(f"kong2019_keras:{'1-A-' * 11}1-A", marks=pytest.mark.slow),
    ],
)
def test_levels_add_up_to_the_clips_probability(form: str) -> None:
    """The output layer on every level's sum of a f, in its order, gives what the model gives."""
    clips = random_clips(num_clips=9)
    predictor = predictor_of(form)
    found = predictor.predict_segments(clips, with_levels=True)
    mask = clips.mask()
    pooled = []
    for attention, probs in found.levels:
        assert probs is not None
        np.testing.assert_allclose(attention.sum(axis=1), 1, rtol=1e-5)
        assert not attention[~mask].any()
        assert np.isnan(probs[~mask]).all()
        assert ((probs[mask] > 0) & (probs[mask] < 1)).all()
        pooled.append((attention * np.nan_to_num(probs)).sum(axis=1))
    if predictor.model.config.join == "deepest_first":
        pooled.reverse()
    output = predictor.variables["params"]["output"]
    logits = np.concatenate(pooled, axis=1) @ output["kernel"] + output["bias"]
    np.testing.assert_allclose(sigmoid(logits), found.probs, rtol=1e-4)


def test_with_one_level_the_score_is_f() -> None:
    found = predictor_of("yu2018:2-A").predict_segments(random_clips(num_clips=9), with_levels=True)
    (level,) = found.levels
    assert level.segment_probs is not None
    np.testing.assert_allclose(found.scores, level.segment_probs, rtol=1e-5)
    pooled = np.nansum(level.attention * level.segment_probs, axis=1)
    np.testing.assert_allclose(pooled, found.probs, rtol=1e-5)


def test_with_features_attention_is_of_features_and_there_is_no_f() -> None:
    found = predictor_of("feature_attention:1-A").predict_segments(
        random_clips(num_clips=9), with_levels=True
    )
    (level,) = found.levels
    assert level.attention.shape == (9, 5, HIDDEN)
    np.testing.assert_allclose(level.attention.sum(axis=1), 1, rtol=1e-5)
    assert level.segment_probs is None


def assert_same_output(one: Any, other: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), one, other)


def test_what_lies_in_padding_and_how_batches_are_cut_does_not_matter() -> None:
    clips = random_clips(num_clips=20)
    predictor = predictor_of("yu2018:1-A-1-A", batch_size=20)
    whole = predictor.predict_segments(clips, with_levels=True)
    assert len(whole.levels) == 2
    dirty = np.array(clips.embeddings)
    dirty[~clips.mask()] = 77
    other = dataclasses.replace(clips, embeddings=dirty)
    assert_same_output(predictor.predict_segments(other, with_levels=True), whole)
    assert predictor.predict_segments(clips).levels == ()
    by_seven = dataclasses.replace(predictor, batch_size=7)
    parts = list(by_seven.segment_batches(clips, with_levels=True))
    assert [len(part.probs) for part in parts] == [7, 7, 6]
    cut = by_seven.predict_segments(clips, with_levels=True)
    assert_same_output(cut, whole)
    np.testing.assert_array_equal(cut.scores[7:14], parts[1].scores)
    assert_same_output(by_seven.start_segments(clips, with_levels=True)(), cut)
