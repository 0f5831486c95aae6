"""Every form of the model in every format says what the model says, in the format's own runtime."""

from pathlib import Path

import numpy as np
import pytest

from mla_jax.errors import UserError
from mla_jax.export.formats import FORMATS, form_of
from mla_jax.export.keras import keras
from mla_jax.export.keras_model import keras_tagger
from mla_jax.export.keras_pooling import POOLS
from mla_jax.export.runtimes import Run, open_export
from mla_jax.export.tagger import Tagger
from mla_jax.models.pooling import POOLINGS
from tests.support.taggers import (
    FORMS,
    clips_of,
    expected,
    mask_of,
    padding_is_left_out,
    require_runtime,
    tagger_of,
)

ENDINGS = [ending for ending in FORMATS if ending != ".stablehlo"]
QUICK = ("yu2018", "whole_clips", "attention_over_time")
"""All forms are slow tests, in every format."""


@pytest.mark.parametrize(
    "form", [f if f in QUICK else pytest.param(f, marks=pytest.mark.slow) for f in FORMS]
)
def test_the_keras_model_says_what_the_model_says(form: str) -> None:
    tagger = tagger_of(form)
    model, clips = keras_tagger(tagger), clips_of(tagger)

    def run(embeddings: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        found = model({"embeddings": embeddings, "mask": mask}, training=False)
        return {name: np.asarray(values) for name, values in found.items()}

    agrees(run, tagger)
    assert np.ptp(run(clips.embeddings, mask_of(clips))["clip"], axis=0).min() > 1e-3, "too alike"


@pytest.mark.parametrize("ending", [".tflite", pytest.param(".onnx", marks=pytest.mark.slow)])
def test_a_file_says_what_the_model_says(ending: str, tmp_path: Path) -> None:
    tagger = tagger_of("yu2018")
    run = exported(tagger, tmp_path / f"tagger{ending}")
    agrees(run, tagger)
    padding_is_left_out(run, tagger)


@pytest.mark.parametrize("ending", [".savedmodel", pytest.param(".onnx", marks=pytest.mark.slow)])
def test_a_file_is_in_float32_whatever_is_asked_of_keras(ending: str, tmp_path: Path) -> None:
    """As by a `keras.json` of another project."""
    keras.config.set_floatx("float16")
    keras.config.set_dtype_policy("mixed_float16")
    try:
        tagger = tagger_of("whole_clips")
        agrees(exported(tagger, tmp_path / f"tagger{ending}"), tagger)
        assert keras.config.floatx() == "float16"
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_every_file(form: str, ending: str, tmp_path: Path) -> None:
    tagger = tagger_of(form, dtype="float32", use_mask=form != "equations")
    run = exported(tagger, tmp_path / f"tagger{ending}")
    agrees(run, tagger)
    # What is not finite gets through ONNX's masks, and the guide says so.
    padding_is_left_out(run, tagger, 1e3 if ending == ".onnx" else np.nan)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".tflite", ".onnx"])
def test_small_scores_are_not_rounded_to_nothing(ending: str, tmp_path: Path) -> None:
    """A runtime's own sigmoid may end at 3e-8, of which the score of a segment takes a root."""
    tagger = tagger_of("averaged")
    params = tagger.trained.variables["params"]
    for head in ("head_0", "head_1"):
        norm = params[head]["classify_norm"]
        norm["bias"] = norm["bias"] - 18
    run, clips = exported(tagger, tmp_path / f"tagger{ending}"), clips_of(tagger)
    found, there = run(np.asarray(clips.embeddings), mask_of(clips)), mask_of(clips)
    scores = expected(tagger, clips)["segments"][there]
    assert scores.max() < 1e-4
    np.testing.assert_allclose(found["segments"][there], scores, rtol=1e-2)


@pytest.mark.slow
def test_eight_bits_are_smaller_and_nearly_the_same(tmp_path: Path) -> None:
    tagger = tagger_of("yu2018", hidden_units=128)
    clips = clips_of(tagger)
    run = exported(tagger, tmp_path / "tagger.int8.tflite")
    found = run(np.asarray(clips.embeddings), mask_of(clips))
    differences = np.abs(found["clip"] - expected(tagger, clips)["clip"])
    assert 0 < differences.max() < 0.05
    form_of("tagger.tflite").write(tagger, tmp_path / "tagger.tflite")
    sizes = [
        (tmp_path / f"tagger{ending}").stat().st_size for ending in (".int8.tflite", ".tflite")
    ]
    assert sizes[0] < 0.6 * sizes[1]


def exported(tagger: Tagger, path: Path) -> Run:
    require_runtime(path)
    form_of(path).write(tagger, path)
    return open_export(path)


def agrees(run: Run, tagger: Tagger) -> None:
    """On clips of all lengths at once, and on one alone: other sizes of a batch, and of time."""
    clips = clips_of(tagger)
    for some in (clips, clips[:1]):
        found = run(np.asarray(some.embeddings), mask_of(some))
        for name, values in expected(tagger, some).items():
            np.testing.assert_allclose(found[name], values, atol=1e-5, err_msg=name)


def test_every_pooling_is_written_in_keras() -> None:
    assert POOLS.keys() == POOLINGS.keys()


def test_a_pooling_that_is_not_written_in_keras_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from mla_jax.export import keras_model

    monkeypatch.setattr(keras_model, "POOLS", {})
    with pytest.raises(UserError, match=r"pooling .max. is not written in Keras"):
        keras_tagger(tagger_of("max"))
