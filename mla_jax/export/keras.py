"""Keras on TensorFlow, quiet: the one module of the library that imports it."""

import os

# TensorFlow first, which else starts with all its noise, and takes the accelerators.
from mla_jax.data.tensorflow import tf

# Keras would start whatever library a user's settings name.
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
from keras import layers, ops

from mla_jax.errors import UserError

__all__ = ["keras", "layers", "ops", "require_tensorflow", "tf"]


def require_tensorflow() -> None:
    """Raises a UserError if Keras was started before, for another library than TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"Keras was started for {keras.backend.backend()} before; start Python again with "
            "KERAS_BACKEND=tensorflow"
        )
