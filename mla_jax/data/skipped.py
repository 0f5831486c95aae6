"""The records that were left out because they cannot be used, as `bad_records=skip` lists them."""

import json
from collections.abc import Sequence
from pathlib import Path

from mla_jax.storage import paths
from mla_jax.storage.files import write_text

SKIPPED_FILE = "skipped_records.jsonl"

Skipped = tuple[str, int, str, str]
"""A record or clip left out: its file, index within the file, video id or '', and the reason."""


def to_jsonl(skipped: Sequence[Skipped]) -> str:
    """One JSON object a line: file, record, video_id (null where it cannot be known), reason."""
    return "".join(
        # ASCII alone: a file's name may hold bytes that are no UTF-8.
        json.dumps({"file": file, "record": index, "video_id": video_id or None, "reason": reason})
        + "\n"
        for file, index, video_id, reason in skipped
    )


def list_beside(output: str | Path, skipped: Sequence[Skipped]) -> None:
    """Lists what was left out in `<output's name without ending>.skipped_records.jsonl`, beside it."""
    output = paths.as_path(output)
    write_skipped(output.with_name(f"{output.stem}.{SKIPPED_FILE}"), skipped)


def write_skipped(path: str | Path, skipped: Sequence[Skipped]) -> None:
    """Writes the list to `path`, in one move; where nothing was left out, only to replace an older one.

    Raises:
      UserError: the file cannot be written there.
    """
    path = paths.as_path(path)
    if skipped or path.exists():
        write_text(path, to_jsonl(skipped))
