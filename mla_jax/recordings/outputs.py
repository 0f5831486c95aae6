"""Where embedded clips go: a packed folder, or a file of records."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from mla_jax.data.class_list import FILE_NAME, ClassList, write_class_list
from mla_jax.data.clips import ClipSet
from mla_jax.data.packing import pack
from mla_jax.data.skipped import Skipped, list_beside
from mla_jax.errors import UserError
from mla_jax.storage import outputs

RECORDS = ".tfrecord"


class WriteClips(Protocol):
    """Writes clips as they come, whole or not at all."""

    def __call__(
        self,
        chunks: Iterable[ClipSet],
        output: Path,
        /,
        *,
        classes: ClassList | None,
        source: dict[str, Any],
        skipped: Sequence[Skipped],
    ) -> object:
        """Writes `chunks`, and beside them the classes, where they come from, and what was left out."""


def require_output(output: Path, classes: ClassList | None) -> WriteClips:
    """What writes to `output`, by its ending.

    Raises:
      UserError: something is there, it cannot be written, or other classes are listed beside it.
    """
    if output.suffix != RECORDS:
        outputs.require_new_folder(output)
        return pack
    outputs.require_writable(output)
    if output.exists():
        raise UserError(f"{output} already exists; give another output, or remove it first")
    beside = output.with_name(FILE_NAME)
    if classes is not None and beside.exists():
        classes.require_same(ClassList.read(beside), f"{beside}, the class list beside the output,")
    return _write_records


def _write_records(
    chunks: Iterable[ClipSet],
    output: Path,
    /,
    *,
    classes: ClassList | None,
    source: dict[str, Any],
    skipped: Sequence[Skipped],
) -> None:
    # TensorFlow takes seconds to import.
    from mla_jax.data.formats.record_writer import write_record_file

    if classes is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_class_list(classes, output.parent)
    write_record_file(chunks, output)
    list_beside(output, skipped)
