"""StableHLO by `jax.export`: one file for CPUs, GPUs and TPUs, any number of clips and of segments.

The file is a zip archive of the program and its description, so that neither is without the other.
"""

import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from mla_jax.export.program import tagger_program
from mla_jax.export.tagger import DESCRIPTION, Tagger
from mla_jax.storage import files

PLATFORMS = ("cpu", "cuda", "tpu")
PROGRAM = "program.jax_export"
"""The name of the program in the archive: what `jax.export.deserialize` takes."""


def write_stablehlo(tagger: Tagger, output: str | Path) -> None:
    """Writes the tagger as StableHLO.

    Raises:
      UserError: the file cannot be written.
    """
    batch, time = export.symbolic_shape("clips, segments")
    embeddings = jax.ShapeDtypeStruct(
        (batch, time, tagger.trained.num_features), np.dtype(tagger.dtype)
    )
    mask = jax.ShapeDtypeStruct((batch, time), np.bool_)
    exported = export.export(jax.jit(tagger_program(tagger)), platforms=PLATFORMS)(embeddings, mask)
    write_archive(output, exported, tagger.describe(platforms=PLATFORMS))


def write_archive(
    output: str | Path, exported: export.Exported, description: dict[str, Any]
) -> None:
    """Writes a program and its description as one file."""
    with files.replacing(output, binary=True) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(PROGRAM, exported.serialize())
        archive.writestr(DESCRIPTION, files.to_json(description, indent=1))
