"""Compiled inference: batches do not matter, padding does not count, and averages are averages."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mla_jax as mla
from tests.helpers import random_clips

CONFIG = dataclasses.replace(mla.ModelConfig(), hidden_units=8)


def _model(clips: mla.ClipSet) -> tuple[Any, dict]:
    model = mla.build_model(CONFIG, clips.num_classes)
    return model, mla.init_variables(model, 0, clips.num_features)


@pytest.mark.parametrize("batch_size", [1, 7, 20, 64])
def test_the_size_of_batches_does_not_matter(batch_size: int) -> None:
    clips = random_clips(num_clips=20)
    model, variables = _model(clips)
    done: list[int] = []
    probs = mla.predict(model, variables, clips, batch_size=batch_size, on_progress=done.append)
    embeddings = jnp.asarray((clips.embeddings.astype(np.float32) - 128) / 128)
    logits = jax.jit(model.apply)(variables, embeddings, jnp.asarray(clips.mask()))
    np.testing.assert_allclose(probs, jax.nn.sigmoid(logits), rtol=1e-5)
    assert probs.dtype == np.float32
    assert done[-1] == 20


def test_a_mask_makes_filling_up_harmless() -> None:
    clips = random_clips(num_clips=6, time=5)
    wider = dataclasses.replace(
        clips, embeddings=np.pad(clips.embeddings, ((0, 0), (0, 3), (0, 0)))
    )
    model, variables = _model(clips)
    narrow = mla.predict(model, variables, clips)
    np.testing.assert_allclose(narrow, mla.predict(model, variables, wider), rtol=1e-5)
    unmasked = mla.predict(model, variables, clips, use_mask=False)
    assert not np.allclose(
        unmasked, mla.predict(model, variables, wider, use_mask=False), rtol=1e-3
    )
    full = clips.num_segments == 5
    np.testing.assert_allclose(narrow[full], unmasked[full], rtol=1e-5)


def test_another_encoders_clips_are_refused() -> None:
    model, variables = _model(random_clips(features=4))
    with pytest.raises(mla.UserError, match="have 6 features a segment, the model takes 4"):
        mla.predict(model, variables, random_clips(features=6))


def test_averages() -> None:
    parts = [np.full((2, 3), value, np.float32) for value in (0.1, 0.2, 0.6)]
    np.testing.assert_allclose(mla.average_predictions(iter(parts)), 0.3, rtol=1e-6)
    with pytest.raises(mla.UserError, match="no predictions"):
        mla.average_predictions([])
