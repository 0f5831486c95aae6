"""Writes the report of some runs as one HTML file: gather, render, write."""

from collections.abc import Sequence
from pathlib import Path

from mla_jax.errors import UserError
from mla_jax.recordings.encoder_files import DEFAULT as DEFAULT_FILES
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.report.contents import Report
from mla_jax.report.gather import gather
from mla_jax.runs.folder import require_output
from mla_jax.storage import files


def write_report(
    workdirs: Sequence[str | Path],
    output: str | Path,
    data: str = "",
    *,
    classes: Sequence[str] = (),
    events: str | Path = "",
    sounds: str = "",
    segment_seconds: float | None = None,
    allow_other_embeddings: bool = False,
    labels: str = "",
    encoder_files: EncoderFiles = DEFAULT_FILES,
) -> Report:
    """Writes a report to `output`, an HTML file, which appears when it is complete.

    The other arguments are those of `gather`.

    Raises:
      UserError: a run or the data cannot be used, the output cannot be written, or what draws is not
        installed.
    """
    try:
        from mla_jax.report.page import render
    except ImportError as error:
        raise UserError(
            f"a report needs {error.name}, which is not installed: pip install 'mla_jax[plots]'"
        ) from error
    require_output(output, [data, events, labels])
    report = gather(
        workdirs,
        data,
        classes=classes,
        events=events,
        sounds=sounds,
        segment_seconds=segment_seconds,
        allow_other_embeddings=allow_other_embeddings,
        labels=labels,
        encoder_files=encoder_files,
    )
    files.write_text(output, render(report))
    return report
