"""Embedding with Apache Beam gives what one process gives."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.audio.statistics import LOG_MEL_STATISTICS
from mla_jax.data.class_list import FILE_NAME
from mla_jax.recordings.embed import EmbedOptions, embed_recordings
from tests.audio.sounds import noise, write_sound
from tests.support.programs import python

pytest.importorskip("apache_beam", reason="Apache Beam is not installed (the extra beam)")


@pytest.mark.slow
def test_the_command_writes_the_same_clips(tmp_path: Path) -> None:
    folder = tmp_path / "in/a"
    folder.mkdir(parents=True)
    for i, seconds in enumerate((0.4, 12.0, 1300.5)):
        write_sound(folder / f"{i}.flac", noise(seconds, seed=i))
    (folder / "bad.flac").write_bytes(b"garbage" * 99)
    labels = tmp_path / "labels.csv"
    labels.write_text("filename,labels\n0,Rain\n1,Dog;Rain\n2,Dog\nbad,Dog\n")
    done = python(
        *("-m", "experiments.embed_beam", f"--data={tmp_path}/in/*/*.flac"),
        *("--encoder=log_mel_statistics", f"--labels={labels}", f"--output={tmp_path}/out/part"),
        *("--", "--runner=DirectRunner"),
        PYTHONPATH=":".join(sys.path),
    )
    assert done.returncode == 0, done.stderr
    failed = (tmp_path / "out/part-failed.jsonl").read_text().splitlines()
    assert [json.loads(line)["file"] for line in failed] == [f"{folder}/bad.flac"]
    options = mla.ReadOptions(num_classes=2, max_segments=10)
    found = mla.open_clips(str(tmp_path / "out"), options)
    embed_options = EmbedOptions(clip_seconds=10.0, labels=str(labels))
    embed_recordings([str(tmp_path / "in")], tmp_path / "packed", LOG_MEL_STATISTICS, embed_options)
    expected = mla.open_packed(tmp_path / "packed")
    found = found[np.lexsort((found.start_times, found.video_ids))]
    assert found.video_ids.tolist() == expected.video_ids.tolist()
    np.testing.assert_array_equal(found.start_times, expected.start_times)
    np.testing.assert_array_equal(found.num_segments, expected.num_segments)
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=1e-5)
    assert [found.labels_of(i) for i in range(len(found))] == [
        expected.labels_of(i) for i in range(len(expected))
    ]
    assert not found.embedding.difference(expected.embedding)

    # Records of other classes do not write over the list of those that are there.
    listed = (tmp_path / "out" / FILE_NAME).read_bytes()
    labels.write_text("filename,labels\n0,Bird\n1,Cat\n")
    other = python(
        *("-m", "experiments.embed_beam", f"--data={tmp_path}/in/*/*.flac"),
        *("--encoder=log_mel_statistics", f"--labels={labels}", f"--output={tmp_path}/out/other"),
        PYTHONPATH=":".join(sys.path),
    )
    assert other.returncode == 2
    assert "is another: class 0" in other.stderr
    assert (tmp_path / "out" / FILE_NAME).read_bytes() == listed


def test_a_glob_without_a_folder_is_of_the_folder_that_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mla_jax.recordings.beam import match

    (tmp_path / "1.flac").touch()
    monkeypatch.chdir(tmp_path)
    assert match("*.flac") == [("./1.flac", "1.flac")]
