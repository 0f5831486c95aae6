"""TFLite files, for phones and small computers: floats, or weights of 8 bits.

Behind the model stands the description as a zip archive, where TFLite's own files of metadata stand too:
programs that want the model see no difference, and `zipfile` opens it.
"""

import tempfile
import zipfile
from pathlib import Path

from mla_jax.export.graph import quiet, save
from mla_jax.export.keras import tf
from mla_jax.export.tagger import DESCRIPTION, Tagger
from mla_jax.storage import files


def write_tflite(tagger: Tagger, output: str | Path, *, bits: int = 32) -> None:
    """Writes the tagger as a TFLite file.

    Args:
      tagger: what to write.
      output: the file.
      bits: 32, float32; or 8: the weights of the dense layers are bytes, and are multiplied as such with what
        comes in, which is made bytes clip by clip. No clips are needed to calibrate that.

    Raises:
      UserError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        save(tagger, Path(folder))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if bits == 8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        model = converter.convert()
    with files.replacing(output, binary=True) as file:
        file.write(model)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(DESCRIPTION, files.to_json(tagger.describe(bits=bits), indent=1))
