"""Weights out of TensorFlow's files; to import this module imports TensorFlow."""

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mla_jax.data.tensorflow import tf
from mla_jax.errors import UserError

_LAYER = re.compile(r"tower0/network/(layer\d+)/")


def read_checkpoint(path: str, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Variables of a checkpoint, of version 1 (one file) or 2.

    Raises:
      UserError: it cannot be read, or a variable is not in it.
    """
    try:
        reader = tf.train.load_checkpoint(path)
        there = reader.get_variable_to_shape_map()
        missing = [name for name in names if name not in there]
        if missing:
            raise UserError(
                f"{path} has no variable {missing[0]}, nor {len(missing) - 1} others that are needed; "
                f"it has {', '.join(sorted(there)[:3])}, ..."
            )
        return {name: np.asarray(reader.get_tensor(name)) for name in names}
    except UserError:
        raise
    except Exception as error:  # TensorFlow's share no base class
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no TensorFlow checkpoint, or damaged: {reason}") from error


def read_tflite_layers(path: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The weights and biases of YAMNet's layers in its 8-bit TFLite file, as float32.

    A number is `(integer - zero point) * scale`, with a scale for each output channel.

    Returns:
      By the layer's name, such as `layer1`: weights as the file has them, [out, 3, 3, in] or, depthwise,
      [1, 3, 3, out], and biases [out].

    Raises:
      UserError: it cannot be read.
    """
    interpreter = tflite_interpreter(path)
    weights: dict[str, np.ndarray] = {}
    biases: dict[str, np.ndarray] = {}
    for tensor in interpreter.get_tensor_details():
        layer = _LAYER.match(tensor["name"])
        quantised = tensor["quantization_parameters"]
        # What has one scale is not a constant but a result.
        if layer is None or len(quantised["scales"]) < 2:
            continue
        kind = weights if len(tensor["shape"]) == 4 else biases
        kind[layer[1]] = dequantised_tensor(interpreter, tensor)
    return {name: (weights[name], biases[name]) for name in weights if name in biases}


def run_yamnet_tflite(path: str, examples: np.ndarray) -> np.ndarray:
    """The embeddings that TensorFlow's interpreter makes of examples.

    Args:
      path: YAMNet's TFLite file with a waveform for its input.
      examples: float32 [examples, samples].

    Returns:
      float32 [examples, 1024].

    Raises:
      UserError: it cannot be read, or takes something else.
    """
    interpreter = tflite_interpreter(path, experimental_preserve_all_tensors=True)
    given = interpreter.get_input_details()[0]
    embeddings = [
        tensor
        for tensor in interpreter.get_tensor_details()
        if tensor["name"].endswith("/reduce_mean") and len(tensor["shape"]) == 4
    ]
    if list(given["shape"]) != [examples.shape[1]] or not embeddings:
        raise UserError(
            f"{path} is not a YAMNet that takes a waveform of {examples.shape[1]} samples"
        )
    rows = []
    for example in examples:
        interpreter.set_tensor(given["index"], example)
        interpreter.invoke()
        rows.append(dequantised_tensor(interpreter, embeddings[0]).reshape(-1))
    return np.stack(rows)


def tflite_interpreter(path: str, **options: bool) -> tf.lite.Interpreter:
    """TensorFlow's own interpreter of a TFLite file, ready to run.

    Raises:
      UserError: it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning)  # that it will move elsewhere
            interpreter = tf.lite.Interpreter(path, **options)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no TFLite file, or damaged: {reason}") from error
    return interpreter


def dequantised_tensor(interpreter: tf.lite.Interpreter, tensor: Mapping[str, Any]) -> np.ndarray:
    """The values of one of the interpreter's quantised tensors, as its details describe it, float32."""
    values, quantised = interpreter.get_tensor(tensor["index"]), tensor["quantization_parameters"]
    shape = [1] * values.ndim
    shape[int(quantised["quantized_dimension"])] = -1
    scales, zeros = (quantised[name].reshape(shape) for name in ("scales", "zero_points"))
    return np.asarray((values.astype(np.float64) - zeros) * scales, np.float32)
