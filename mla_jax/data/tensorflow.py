"""TensorFlow, quiet and without accelerators: the one module of the library that imports it.

To import this module takes seconds, so only what reads or writes TensorFlow's files does, when it is used.
"""

import contextlib
import os

# Before the import: no start-up chatter (of which the note on oneDNN ignores the log level), and no lines
# about records that cannot be parsed, which get a line of ours. JAX, if there first, has set it to 1.
if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow as tf

for _kind in ("GPU", "TPU"):
    # Else TensorFlow takes the memory that JAX needs. Fails only where TensorFlow already runs.
    with contextlib.suppress(RuntimeError, ValueError):
        tf.config.set_visible_devices([], _kind)

__all__ = ["tf"]
