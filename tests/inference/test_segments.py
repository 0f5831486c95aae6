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
CLASS_UNITS = (
    "yu2018:2-A",
    "yu2018:1-A-1-A join=mean",
    "yu2018:1-A-1-A join=mean clip_blocks=1",
    "kong2019_torch:1-A-1-A join=mean pooling=attention_over_time",
)
"""Forms with attention in which unit k of a head is class k."""
FORMS = (
    "yu2018:1-A-1-A",
    "kong2019_torch:1-A-1-A",
    "kong2017:1-A",
    "feature_attention:1-A",
    "average_pooling:1-A",
    "max_pooling:1-A",
    "yu2018:1-A clip_blocks=1",
)


def predictor_of(form: str, **choices: Any) -> mla.Predictor:
    """A model of this form, whose statistics and biases are none of the initial ones."""
    form, _, others = form.partition(" ")
    pairs = (pair.split("=") for pair in others.split())
    changes: dict[str, Any] = {k: int(v) if v.isdecimal() else v for k, v in pairs}
    config = dataclasses.replace(mla.preset(form).model, hidden_units=HIDDEN, **changes)
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


def logit(p: np.ndarray) -> np.ndarray:
    p = p.astype(np.float64)
    return np.log(p) - np.log1p(-p)


def windows_as_clips(clips: mla.ClipSet, size: int) -> mla.ClipSet:
    """The window around each real segment, cut out of its clip."""
    before, rows = size // 2, []
    for embeddings, length in zip(clips.embeddings, clips.num_segments, strict=True):
        rows += [
            embeddings[max(0, t - before) : min(length, t + size - before)] for t in range(length)
        ]
    padded = np.zeros((len(rows), size, clips.num_features), clips.embeddings.dtype)
    for row, window in zip(padded, rows, strict=True):
        row[: len(window)] = window
    lengths = np.array([len(window) for window in rows], np.int32)
    return mla.ClipSet.from_arrays(
        padded, [[]] * len(rows), num_segments=lengths, num_classes=CLASSES
    )


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Of all pairs of rows."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def shared(
    predictor: mla.Predictor, clips: mla.ClipSet, evidence: np.ndarray, probs: np.ndarray
) -> np.ndarray:
    """What is heard, [clips, time, classes], shared among segments and classes that are alike."""
    config, variables = predictor.model.config, predictor.variables
    scaling = clips.embedding.scaling
    x = (clips.embeddings.astype(np.float64) - scaling.offset) / scaling.scale
    if config.input_norm:
        norm, kept = variables["params"]["input_norm"], variables["batch_stats"]["input_norm"]
        x = (x - kept["mean"]) / np.sqrt(kept["var"] + config.norm_epsilon) * norm["scale"]
        x = x + norm["bias"]
    num_levels = sum(name.startswith("head") for name in variables["params"])
    alike = np.zeros((CLASSES, CLASSES))
    if config.units_are_classes:
        kernels = [class_kernel(predictor, level) for level in range(num_levels)]
        of_levels = [cosines((k - k.mean(axis=1, keepdims=True)).T) for k in kernels]
        alike = np.maximum(np.mean(of_levels, axis=0), 0) * (1 - np.eye(CLASSES))
    result = np.full(evidence.shape, np.nan)
    for clip, length in enumerate(clips.num_segments):
        weights = np.exp(cosines(x[clip, :length]) / 0.25)
        e = weights / weights.sum(axis=1, keepdims=True) @ evidence[clip, :length]
        others = (e - e.mean(axis=0)) * np.sqrt(probs[clip])
        result[clip, :length] = e + others @ alike
    return result


def logits_of_windows(predictor: mla.Predictor, clips: mla.ClipSet, size: int) -> np.ndarray:
    """Of the windows around all real segments, as clips, but for the level that hears whole clips."""
    windows, config = windows_as_clips(clips, size), predictor.model.config
    if not config.clip_blocks:
        return logit(predictor.predict(windows))
    levels = list(predictor.predict_segments(windows, with_levels=True).level_probs)
    whole = predictor.predict_segments(clips, with_levels=True).level_probs[-1]
    levels[-1] = np.repeat(whole, clips.num_segments, axis=0)
    if config.join == "mean":
        return np.mean([logit(level) for level in levels], axis=0)
    assert config.join == "deepest_first"
    params, stats = predictor.variables["params"], predictor.variables["batch_stats"]
    output, norm, kept = params["output"], params["output_norm"], stats["output_norm"]
    y = np.concatenate(levels[::-1], axis=1) @ output["kernel"] + output["bias"]
    y = (y - kept["mean"]) / np.sqrt(kept["var"] + config.norm_epsilon)
    return y * norm["scale"] + norm["bias"]


def class_kernel(predictor: mla.Predictor, level: int) -> np.ndarray:
    """The weights of a level's class logits, [units, classes], with its batch norm in them."""
    config, variables = predictor.model.config, predictor.variables
    head = variables["params"][f"head_{level}"]
    if "classify_norm" not in head:
        return head["classify"]["kernel"]
    var = variables["batch_stats"][f"head_{level}"]["classify_norm"]["var"]
    return (
        head["classify"]["kernel"]
        * head["classify_norm"]["scale"]
        / np.sqrt(var + config.norm_epsilon)
    )


@pytest.mark.parametrize(
    "form",
    [
        "yu2018:1-A-1-A",
        "yu2018:1-A-1-A join=mean clip_blocks=1",
        "feature_attention:1-A",
        *(
            pytest.param(form, marks=pytest.mark.slow)
            for form in (
                "max_pooling:1-A-1-A join=mean",
                "yu2018:1-A-1-A join=mean",
                "yu2018:1-A clip_blocks=1",
                "kong2019_torch:1-A-1-A",
                "kong2017:1-A",
                "average_pooling:1-A",
                "yu2018:2-A",
                "kong2019_torch:1-A-1-A join=mean pooling=attention_over_time",
            )
        ),
    ],
)
def test_scores_are_blends_of_what_the_model_says_of_windows_as_clips(form: str) -> None:
    clips = random_clips(num_clips=40)
    predictor = predictor_of(form)
    found = predictor.predict_segments(clips)
    mask = clips.mask()
    assert found.scores.dtype == np.float32
    assert found.scores.shape == (40, 5, CLASSES)
    assert np.isnan(found.scores[~mask]).all()
    np.testing.assert_allclose(found.probs, predictor.predict(clips), rtol=1e-5)
    clip = np.repeat(found.probs[:, None], 5, axis=1)[mask]
    alone = predictor.predict(windows_as_clips(clips, 1))
    one, near = (logits_of_windows(predictor, clips, size) for size in (1, 3))
    says = np.zeros(found.scores.shape)
    if form in (*CLASS_UNITS, "kong2017:1-A"):
        levels = predictor.predict_segments(clips, with_levels=True).levels
        with np.errstate(divide="ignore"):
            log_a = np.mean([np.log(level.attention) for level in levels], axis=0)
        log_a[~mask] = np.nan
        says = log_a - np.nanmean(log_a, axis=1, keepdims=True)
    evidence = np.full(found.scores.shape, np.nan)
    evidence[mask] = (near + one + says[mask]) / 2
    q = sigmoid(shared(predictor, clips, evidence, found.probs)[mask])
    np.testing.assert_allclose(found.scores[mask], clip**0.7 * q**0.3, rtol=2e-4)
    by_name = {n: predictor.predict_segments(clips, score=n).scores for n in ("alone", "clip")}
    np.testing.assert_allclose(by_name["alone"][mask], alone, rtol=1e-5)
    np.testing.assert_allclose(by_name["clip"][mask], clip, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_a_score_of_one_segment_or_of_equal_ones_is_the_clips_and_time_may_run_backwards(
    form: str,
) -> None:
    predictor = predictor_of(form)
    clips = random_clips(num_clips=40)
    one = clips.num_segments == 1
    assert 0 < one.sum() < 40
    found = predictor.predict_segments(clips)
    np.testing.assert_allclose(found.scores[one, 0], found.probs[one], rtol=1e-5)
    held = dataclasses.replace(clips, embeddings=np.repeat(clips.embeddings[:, :1], 5, axis=1))
    constant = predictor.predict_segments(held)
    expected = np.where(clips.mask()[:, :, None], constant.probs[:, None], np.nan)
    np.testing.assert_allclose(constant.scores, expected, rtol=1e-4)
    full = clips.num_segments == 5
    backwards = dataclasses.replace(clips, embeddings=clips.embeddings[:, ::-1])
    np.testing.assert_allclose(
        predictor.predict_segments(backwards).scores[full], found.scores[full][:, ::-1], rtol=1e-4
    )


def test_a_score_that_is_not_known_is_refused() -> None:
    with pytest.raises(mla.UserError, match="'best' is not known: choose from in_context, alone"):
        predictor_of("yu2018:1-A").predict_segments(random_clips(num_clips=2), score="best")


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
        pytest.param("kong2019_torch:1-A-1-A clip_blocks=1", marks=pytest.mark.slow),
        pytest.param(f"kong2019_keras:{'1-A-' * 11}1-A", marks=pytest.mark.slow),
    ],
)
def test_levels_add_up_to_the_clips_probability(form: str) -> None:
    """The output layer on what the levels say, in its order, gives what the model gives."""
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
    for sums, level_probs in zip(pooled, found.level_probs, strict=False):
        np.testing.assert_allclose(level_probs, sums, rtol=1e-5)
    assert len(found.level_probs) == predictor.model.config.num_levels
    pooled = list(found.level_probs)
    if predictor.model.config.join == "deepest_first":
        pooled.reverse()
    output = predictor.variables["params"]["output"]
    logits = np.concatenate(pooled, axis=1) @ output["kernel"] + output["bias"]
    np.testing.assert_allclose(sigmoid(logits), found.probs, rtol=1e-4)


def test_with_one_level_the_score_alone_is_f() -> None:
    found = predictor_of("yu2018:2-A").predict_segments(
        random_clips(num_clips=9), score="alone", with_levels=True
    )
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
    assert predictor.predict_segments(clips).level_probs == ()
    by_seven = dataclasses.replace(predictor, batch_size=7)
    parts = list(by_seven.segment_batches(clips, with_levels=True))
    assert [len(part.probs) for part in parts] == [7, 7, 6]
    cut = by_seven.predict_segments(clips, with_levels=True)
    assert_same_output(cut, whole)
    np.testing.assert_array_equal(cut.scores[7:14], parts[1].scores)
    assert_same_output(by_seven.start_segments(clips, with_levels=True)(), cut)
