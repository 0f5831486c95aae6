"""Exporting a run: opened, written in the format that the output's name says."""

from pathlib import Path

from mla_jax.errors import UserError
from mla_jax.export.formats import FORMATS, form_of
from mla_jax.export.tagger import Tagger
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.runs.folder import require_output
from mla_jax.runs.names import workdirs_of
from mla_jax.storage import outputs


def export_run(
    workdir: str | Path, output: str | Path, *, step: int = 0, sound: EncoderFiles | None = None
) -> Tagger:
    """Writes the model of a run for programs that do without this package.

    Args:
      workdir: the run.
      output: what to write; its ending says the format, one of `mla_jax.export.formats.FORMATS`.
      step: the checkpoint; 0: the best by validation, or without validation the newest.
      sound: the files of the run's encoder, if that is to stand in front, so that sound goes in.

    Returns:
      What was exported.

    Raises:
      UserError: the run cannot be opened, the name says no format, a library is missing, or the output
        cannot be written.
    """
    form = form_of(output)
    if sound is not None and not form.takes_sound:
        able = ", ".join(ending for ending, form in FORMATS.items() if form.takes_sound)
        raise UserError(f"{output} cannot take sound; export to {able}, or without sound")
    if form.is_folder:
        outputs.require_new_folder(output)
    else:
        require_output(output)
    if len(workdirs_of(workdir)) > 1:
        raise UserError(f"{workdir} are several runs; an export is of one")
    tagger = Tagger.open(workdir, step, sound)
    form.write(tagger, output)
    return tagger
