"""An exported file opened by the library that it is for, to compare what it says with the model."""

import contextlib
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.errors import UserError

Run = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
"""Of embeddings and mask, `clip` and `segments`."""


def open_export(path: str | Path) -> Run:
    """The function in an exported file.

    Raises:
      UserError: its runtime is not installed.
    """
    for ending, opened in _RUNTIMES.items():
        if Path(path).name.endswith(ending):
            with _needs(path, ending):
                return opened(str(path))
    raise UserError(f"{path} is no exported tagger: it ends in none of {', '.join(_RUNTIMES)}")


@contextlib.contextmanager
def _needs(path: str | Path, ending: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        extra = ending.removeprefix(".")
        raise UserError(
            f"{path} needs the extra {extra} to run: pip install 'mla_jax[{extra}]' ({error})"
        ) from error


def _stablehlo(path: str) -> Run:
    import jax
    from jax import export

    from mla_jax.export.stablehlo import PROGRAM

    with zipfile.ZipFile(path) as archive:
        call = jax.jit(export.deserialize(bytearray(archive.read(PROGRAM))).call)
    return lambda embeddings, mask: _arrays(call(embeddings, mask))


def _saved_model(path: str) -> Run:
    from mla_jax.data.tensorflow import tf
    from mla_jax.export.graph import SIGNATURE

    model = tf.saved_model.load(path)  # kept as long as its function
    function = model.signatures[SIGNATURE]

    def run(embeddings: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        assert model is not None
        return _arrays(function(embeddings=tf.constant(embeddings), mask=tf.constant(mask)))

    return run


def _tflite(path: str) -> Run:
    function = _interpreter(path).get_signature_runner()
    return lambda embeddings, mask: _arrays(function(embeddings=embeddings, mask=mask))


def _interpreter(path: str) -> Any:
    """LiteRT's; without it TensorFlow's own, the same program under its old name."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from mla_jax.data.tensorflow import tf

        Interpreter = tf.lite.Interpreter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is a new name
        return Interpreter(path)


def _onnx(path: str) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(embeddings: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        found = session.run(names, {"embeddings": embeddings, "mask": mask})
        return dict(zip(names, found, strict=True))

    return run


def _arrays(found: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.asarray(values) for name, values in found.items()}


_RUNTIMES = {
    ".stablehlo": _stablehlo,
    ".savedmodel": _saved_model,
    ".tflite": _tflite,
    ".onnx": _onnx,
}
