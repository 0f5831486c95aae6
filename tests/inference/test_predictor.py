"""Clip probabilities: batches do not matter, masked padding does not count, averages are averages."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.inference.averaged import average_predictions
from mla_jax.inference.predictor import run_ahead
from mla_jax.models.multi_level import init_variables
from tests.support.helpers import raises_user_error, random_clips

CONFIG = dataclasses.replace(mla.ModelConfig(), hidden_units=8)


@functools.cache
def predictor_of(num_features: int, num_classes: int) -> mla.Predictor:
    model = mla.build_model(CONFIG, num_classes)
    return mla.Predictor(model, init_variables(model, 0, num_features))


def predictor_for(clips: mla.ClipSet) -> mla.Predictor:
    return predictor_of(clips.num_features, clips.num_classes)


@pytest.mark.parametrize("batch_size", [1, 7, 20, 64])
def test_the_size_of_batches_does_not_matter(batch_size: int) -> None:
    clips = random_clips(num_clips=20)
    predictor = dataclasses.replace(predictor_for(clips), batch_size=batch_size)
    done: list[int] = []
    probs = predictor.predict(clips, done.append)
    embeddings = jnp.asarray((clips.embeddings.astype(np.float32) - 128) / 128)
    apply = jax.jit(predictor.model.apply)
    logits = apply(predictor.variables, embeddings, jnp.asarray(clips.mask()))
    np.testing.assert_allclose(probs, jax.nn.sigmoid(logits), rtol=1e-5)
    assert probs.dtype == np.float32
    assert done[-1] == 20
    np.testing.assert_array_equal(predictor.start(clips)(), probs)


def test_weights_are_made_once_and_anew_for_other_variables() -> None:
    clips = random_clips(num_clips=6)
    first = predictor_for(clips)
    assert first.fitted(3).ready is first.ready
    assert first.ready is not None
    assert first.ready.of_clips is first.ready.of_clips

    other = init_variables(first.model, 1, clips.num_features)
    replaced = dataclasses.replace(first, variables=other)
    made = mla.Predictor(first.model, other)
    assert not np.allclose(replaced.predict(clips), first.predict(clips), rtol=1e-3)
    np.testing.assert_array_equal(replaced.predict(clips), made.predict(clips))
    np.testing.assert_array_equal(
        replaced.predict_segments(clips).scores, made.predict_segments(clips).scores
    )

    other_norms = dataclasses.replace(CONFIG, norm_epsilon=0.5)
    model = mla.build_model(other_norms, clips.num_classes)
    changed = dataclasses.replace(first, model=model)
    expected = mla.Predictor(model, first.variables).predict(clips)
    np.testing.assert_array_equal(changed.predict(clips), expected)
    assert not np.allclose(expected, first.predict(clips), rtol=1e-3)


def test_no_clips_have_no_probabilities() -> None:
    clips = random_clips(num_clips=3)
    predictor = predictor_for(clips)
    assert predictor.predict(clips[:0]).shape == (0, 7)
    assert predictor.start(clips[:0])().shape == (0, 7)
    assert predictor.predict_segments(clips[:0]).scores.shape == (0, 5, 7)


def test_with_a_mask_padding_does_not_count() -> None:
    clips = random_clips(num_clips=6, time=5)
    wider = dataclasses.replace(
        clips, embeddings=np.pad(clips.embeddings, ((0, 0), (0, 3), (0, 0)))
    )
    masked = predictor_for(clips)
    unmasked = dataclasses.replace(masked, use_mask=False)
    narrow, full = masked.predict(clips), clips.num_segments == 5
    np.testing.assert_allclose(narrow, masked.predict(wider), rtol=1e-5)
    np.testing.assert_allclose(narrow[full], unmasked.predict(clips)[full], rtol=1e-5)
    assert not np.allclose(unmasked.predict(clips), unmasked.predict(wider), rtol=1e-3)


def test_another_encoders_clips_are_refused() -> None:
    predictor, others = predictor_for(random_clips(features=4)), random_clips(features=6)
    for use in (predictor.predict, predictor.start, predictor.predict_segments):
        with raises_user_error("have 6 features a segment, the model takes 4"):
            use(others)


def test_the_device_has_the_next_batches_before_the_host_waits_for_one() -> None:
    clips = random_clips(num_clips=20)
    events: list[tuple[str, int]] = []

    def start(batch: mla.ClipSet) -> Callable[[], int]:
        events.append(("start", len(batch)))

        def wait() -> int:
            events.append(("wait", len(batch)))
            return len(batch)

        return wait

    batches = [clips[first : first + 4 + first // 4] for first in range(0, 16, 4)]
    found = run_ahead(iter(batches), start)
    first_batch, output = next(found)
    assert first_batch is batches[0]
    assert output == 4
    assert events == [("start", 4), ("start", 5), ("start", 6), ("wait", 4)]
    assert [output for _, output in found] == [5, 6, 7]


def test_averages() -> None:
    parts = [np.full((2, 3), value, np.float32) for value in (0.1, 0.2, 0.6)]
    np.testing.assert_allclose(average_predictions(iter(parts)), 0.3, rtol=1e-6)
    with raises_user_error("no predictions"):
        average_predictions([])
