"""The formats of an export, by the ending of its name."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mla_jax.errors import UserError
from mla_jax.export.tagger import Tagger


class Form(NamedTuple):
    """A format.

    Attributes:
      what: it is, in a few words.
      write: writes a tagger to a path that was looked at.
      is_folder: whether it is a folder, which must be new, rather than a file.
      takes_sound: whether an encoder may stand in front.
    """

    what: str
    write: Callable[[Tagger, str | Path], None]
    is_folder: bool = False
    takes_sound: bool = False


# What writes a format is imported when it is asked for: TensorFlow takes seconds, ONNX may not be there.


def _stablehlo(tagger: Tagger, output: str | Path) -> None:
    from mla_jax.export.stablehlo import write_stablehlo

    write_stablehlo(tagger, output)


def _saved_model(tagger: Tagger, output: str | Path) -> None:
    from mla_jax.export.saved_model import write_saved_model

    write_saved_model(tagger, output)


def _tflite(tagger: Tagger, output: str | Path, bits: int) -> None:
    from mla_jax.export.tflite import write_tflite

    write_tflite(tagger, output, bits=bits)


def _onnx(tagger: Tagger, output: str | Path) -> None:
    from mla_jax.export.onnx import write_onnx

    write_onnx(tagger, output)


FORMATS = {
    ".stablehlo": Form("for JAX on CPUs, GPUs and TPUs", _stablehlo, takes_sound=True),
    ".savedmodel": Form("a folder for TensorFlow Serving", _saved_model, is_folder=True),
    ".int8.tflite": Form("for phones, in 8 bits", functools.partial(_tflite, bits=8)),
    ".tflite": Form("for phones", functools.partial(_tflite, bits=32)),
    ".onnx": Form("for ONNX Runtime and browsers", _onnx),
}
"""Every format by its ending; an ending stands before those that it ends in."""


def form_of(output: str | Path) -> Form:
    """The format that the ending of a name says.

    Raises:
      UserError: it says none.
    """
    for ending, form in FORMATS.items():
        if Path(output).name.endswith(ending):
            return form
    raise UserError(
        f"{output} does not say in which format to export: give a name that ends in "
        f"{', '.join(FORMATS)}"
    )
