"""A SavedModel, which TensorFlow Serving serves and `tf.saved_model.load` opens."""

from pathlib import Path

from mla_jax.export.graph import save
from mla_jax.export.tagger import DESCRIPTION, Tagger
from mla_jax.storage import files
from mla_jax.storage.folders import new_folder

EXTRA = "assets.extra"
"""TensorFlow's name of the folder for files that it leaves alone."""


def write_saved_model(tagger: Tagger, output: str | Path) -> None:
    """Writes the tagger as a SavedModel, a folder, with its description in assets.extra.

    Raises:
      UserError: the folder cannot be written.
    """
    with new_folder(output, last="saved_model.pb") as folder:
        save(tagger, folder)
        files.write_json(folder / EXTRA / DESCRIPTION, tagger.describe())
