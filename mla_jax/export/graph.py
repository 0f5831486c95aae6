"""The tagger as a TensorFlow function with named inputs and outputs, from Keras's layers."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mla_jax.export.keras import in_float32, keras, tf
from mla_jax.export.keras_model import keras_tagger
from mla_jax.export.tagger import Tagger

SIGNATURE = "serving_default"
"""The one signature, by the name that TensorFlow Serving looks for."""


def input_specs(tagger: Tagger) -> list[Any]:
    """The inputs `embeddings` and `mask`, of any number of clips and of segments."""
    shape = [None, None, tagger.trained.num_features]
    return [
        tf.TensorSpec(shape, tagger.dtype, name="embeddings"),
        tf.TensorSpec(shape[:2], tf.bool, name="mask"),
    ]


def tagger_function(model: keras.Model, tagger: Tagger) -> Any:
    """A `tf.function` of (embeddings, mask) that returns `clip` and `segments` by name."""

    def function(embeddings: Any, mask: Any) -> Any:
        with in_float32():
            return model({"embeddings": embeddings, "mask": mask}, training=False)

    return tf.function(function, input_signature=input_specs(tagger))


def save(tagger: Tagger, folder: Path) -> None:
    """Writes the tagger into a folder as a SavedModel."""
    model = keras_tagger(tagger)
    # Keras's own ExportArchive writes each weight twice.
    module = tf.Module()
    module.weights = [weight.value for weight in model.weights]
    module.function = tagger_function(model, tagger)
    with quiet():
        tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.function})


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences the converters, whose warnings are about their own future and their own graphs."""
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
