"""StableHLO by `jax.export`: one file for CPUs, GPUs and TPUs, any number of clips and of segments.

The file is a zip archive of the program and its description, so that neither is without the other.
"""

import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from mla_jax.audio.encoder import Encoder
from mla_jax.errors import UserError
from mla_jax.export.program import tagger_program
from mla_jax.export.sound_program import sound_program
from mla_jax.export.tagger import DESCRIPTION, Tagger
from mla_jax.storage import files

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM = "program.jax_export"
"""The name of the program in the archive: what `jax.export.deserialize` takes."""


def write_stablehlo(tagger: Tagger, output: str | Path) -> None:
    """Writes the tagger as StableHLO.

    Raises:
      UserError: the encoder is no function of JAX, or the file cannot be written.
    """
    more: dict[str, Any] = {}
    if tagger.encoder is None:
        exported = _of_embeddings(tagger)
    else:
        exported, more = _of_sound(tagger, tagger.encoder)
    description = tagger.describe(platforms=PLATFORMS, **more)
    with files.replacing(output, binary=True) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(PROGRAM, exported.serialize())
        archive.writestr(DESCRIPTION, files.to_json(description, indent=1))


def _of_embeddings(tagger: Tagger) -> export.Exported:
    batch, time = export.symbolic_shape("clips, segments")
    shape = (batch, time, tagger.trained.num_features)
    embeddings = jax.ShapeDtypeStruct(shape, np.dtype(tagger.dtype))
    mask = jax.ShapeDtypeStruct((batch, time), np.bool_)
    return export.export(jax.jit(tagger_program(tagger)), platforms=PLATFORMS)(embeddings, mask)


def _of_sound(tagger: Tagger, encoder: Encoder) -> tuple[export.Exported, dict[str, Any]]:
    """The program, and what the description says of its inputs and outputs."""
    batch, samples = export.symbolic_shape("clips, samples")
    waveform = jax.ShapeDtypeStruct((batch, samples), np.float32)
    num_samples = jax.ShapeDtypeStruct((batch,), np.int32)
    program = jax.jit(sound_program(tagger, encoder))
    try:
        exported = export.export(program, platforms=PLATFORMS)(waveform, num_samples)
    except jax.errors.JAXTypeError as error:
        raise UserError(
            f"encoder {encoder.name} cannot be exported: its embed is no function of JAX alone; export "
            "without sound, and embed beforehand"
        ) from error
    mask = {"dtype": "bool", "shape": ["clips", "segments"]}
    return exported, {
        "sample_rate": encoder.sample_rate,
        "inputs": {
            "waveform": {"dtype": "float32", "shape": ["clips", "samples"]},
            "num_samples": {"dtype": "int32", "shape": ["clips"]},
        },
        "outputs": {**tagger.outputs(), "mask": mask},
    }
