"""The list of the records that were left out."""

import json
import os
from pathlib import Path

from mla_jax.data.skipped import write_skipped


def test_the_list_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_skipped(tmp_path / "none.jsonl", ())
    assert not (tmp_path / "none.jsonl").exists()
    path = tmp_path / "run" / "skipped_records.jsonl"
    entries = [("a\udcff.tfrecord", 3, "-é\ufffd", 'it has "no" label'), ("b", 0, "", "empty")]
    write_skipped(path, entries)
    read = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [tuple(entry.values()) for entry in read] == [entries[0], ("b", 0, None, "empty")]
    write_skipped(path, entries[:1])
    assert len(path.read_text().splitlines()) == 1
    write_skipped(path, ())  # the records were mended
    assert path.read_text() == ""
    assert os.listdir(path.parent) == [path.name]
