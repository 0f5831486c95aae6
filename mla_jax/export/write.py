"""Exporting a run: opened, written in the format that the output's name says."""

from pathlib import Path

from mla_jax.export.formats import form_of
from mla_jax.export.tagger import Tagger
from mla_jax.runs.folder import require_output
from mla_jax.storage import outputs


def export_run(workdir: str | Path, output: str | Path, *, step: int = 0) -> Tagger:
    """Writes the model of a run for programs that do without this package.

    Args:
      workdir: the run.
      output: what to write; its ending says the format, one of `mla_jax.export.formats.FORMATS`.
      step: the checkpoint; 0: the best by validation, or without validation the newest.

    Returns:
      What was exported.

    Raises:
      UserError: the run cannot be opened, the name says no format, a library is missing, or the output
        cannot be written.
    """
    form = form_of(output)
    if form.is_folder:
        outputs.require_new_folder(output)
    else:
        require_output(output)
    tagger = Tagger.open(workdir, step)
    form.write(tagger, output)
    return tagger
