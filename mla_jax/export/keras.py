"""Keras on TensorFlow, quiet: the one module of the library that imports it."""

import contextlib
import os
from collections.abc import Iterator

# TensorFlow first, which else starts with all its noise, and takes the accelerators.
from mla_jax.data.tensorflow import tf

# Keras would start whatever library a user's settings name.
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
from keras import layers, ops

from mla_jax.errors import UserError

__all__ = ["in_float32", "keras", "layers", "ops", "require_tensorflow", "tf"]


def require_tensorflow() -> None:
    """Raises a UserError if Keras was started before, for another library than TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"Keras was started for {keras.backend.backend()} before; start Python again with "
            "KERAS_BACKEND=tensorflow"
        )


@contextlib.contextmanager
def in_float32() -> Iterator[None]:
    """Lets Keras compute in float32, whatever a user's `keras.json` or program asks of it."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
