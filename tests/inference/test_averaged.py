"""Several models as one: the average of one model is that model, and of several their mean."""

import dataclasses

import numpy as np

import mla_jax as mla
from mla_jax.inference.averaged import AveragedPredictor, average_predictions
from mla_jax.models.multi_level import init_variables
from tests.support.helpers import raises_user_error, random_clips

CLIPS = random_clips(num_clips=11)  # of 1 to 5 segments


def predictor_of(architecture: str, seed: int = 0, *, use_mask: bool = True) -> mla.Predictor:
    config = mla.ModelConfig(hidden_units=8, architecture=architecture)
    model = mla.build_model(config, CLIPS.num_classes)
    variables = init_variables(model, seed, CLIPS.num_features)
    return mla.Predictor(model, variables, use_mask=use_mask, batch_size=4)


def test_a_model_averaged_with_itself_is_the_model() -> None:
    one = predictor_of("1-A")
    for times in (1, 3):
        average = AveragedPredictor((one,) * times, batch_size=one.batch_size)
        np.testing.assert_array_equal(average.predict(CLIPS), one.predict(CLIPS))
        ours, its = average.predict_segments(CLIPS), one.predict_segments(CLIPS)
        np.testing.assert_array_equal(ours.probs, its.probs)
        np.testing.assert_array_equal(ours.scores, its.scores)


def test_models_of_any_form_give_their_mean_in_any_order_and_batch() -> None:
    members = (
        predictor_of("1-A"),
        predictor_of("1-A", 1),
        predictor_of("1-A-1-A", 2, use_mask=False),
    )
    mean = np.mean([one.predict(CLIPS) for one in members], axis=0)
    scores = np.mean([one.predict_segments(CLIPS).scores for one in members], axis=0)
    for order in (members, members[::-1]):
        average = dataclasses.replace(AveragedPredictor(order), batch_size=4)
        found = average.predict_segments(CLIPS, with_levels=True)
        for probs in (average.predict(CLIPS), average.start(CLIPS)(), found.probs):
            np.testing.assert_allclose(probs, mean, rtol=1e-6)
            assert probs.dtype == np.float32
        np.testing.assert_allclose(found.scores, scores, rtol=1e-6)  # NaN in padding, too
        assert np.isnan(found.scores[~CLIPS.mask()]).all()
        assert found.levels == ()
    assert not np.allclose(mean, members[0].predict(CLIPS), rtol=1e-3)


def test_of_nothing_there_is_no_average() -> None:
    with raises_user_error("no predictions"):
        average_predictions([])
    with raises_user_error("no model to average"):
        AveragedPredictor(())
    average = AveragedPredictor((predictor_of("1-A"),) * 2)
    assert average.predict(CLIPS[:0]).shape == (0, 7)
    with raises_user_error("have 6 features a segment, the model takes 4"):
        average.predict(random_clips(features=6))
