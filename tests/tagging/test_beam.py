"""Tagging with Apache Beam gives the rows that one process gives."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import mla_jax as mla
from mla_jax.data.formats.record_writer import write_record_file
from mla_jax.tagging.tag import predict_to_file
from mla_jax.tagging.tagger import TagOptions
from tests.audio.sounds import noise, tone, write_sound
from tests.support.programs import python
from tests.support.sound_runs import ENCODER, make_sounds, train_on_sounds

pytest.importorskip("apache_beam", reason="Apache Beam is not installed (the extra beam)")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    make_sounds(folder)
    return train_on_sounds(folder, folder)


def rows_in(*files: Path) -> list[dict[str, Any]]:
    rows = [row for file in sorted(files) for row in pq.read_table(file).to_pylist()]
    return sorted(
        rows, key=lambda row: (row["video_id"], row["start_time"], row["index"], row["segment"])
    )


def tag(run: Path, data: str, output: str) -> list[str]:
    """Tags by the command; returns the lines of what failed."""
    done = python(
        *("-m", "experiments.predict_beam", f"--workdir={run}", f"--data={data}"),
        *(f"--output={output}", "--segments", "--window=4", "--hop=3"),
        *("--", "--runner=DirectRunner"),
        PYTHONPATH=":".join(sys.path),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{output}-*.parquet: ")
    return Path(f"{output}-failed.jsonl").read_text().splitlines()


@pytest.mark.slow
def test_sound_and_embeddings_have_the_rows_of_one_process(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in/a"
    folder.mkdir(parents=True)
    for i, seconds in enumerate((0.4, 12.0)):
        write_sound(folder / f"{i}.flac", noise(seconds, seed=i))
    write_sound(folder / "long.wav", tone(600.5))
    (folder / "bad.flac").write_bytes(b"garbage" * 99)
    options = TagOptions(segments=True, window=4, hop=3)
    one = tmp_path / "one.parquet"
    predict_to_file(run, str(tmp_path / "in"), one, options, bad_records="skip")
    failed = tag(run, f"{tmp_path}/in/**/*.*", f"{tmp_path}/out/part")
    assert [json.loads(line)["file"] for line in failed] == [f"{folder}/bad.flac"]
    assert "is no sound file" in json.loads(failed[0])["reason"]
    assert rows_in(*(tmp_path / "out").glob("*.parquet")) == rows_in(one)

    trained = mla.TrainedModel.open(run)
    clips = trained.open_clips(f"{folder}/[01].flac", needs_labels=False)
    (tmp_path / "records").mkdir()
    write_record_file([clips], tmp_path / "records/a.tfrecord")
    (tmp_path / "records/b.tfrecord").write_bytes(b"garbage" * 99)
    predict_to_file(run, str(tmp_path / "records/a.tfrecord"), one, options)
    failed = tag(run, f"{tmp_path}/records/*.tfrecord", f"{tmp_path}/records_out/part")
    assert {json.loads(line)["file"] for line in failed} == {f"{tmp_path}/records/b.tfrecord"}
    assert rows_in(*(tmp_path / "records_out").glob("*.parquet")) == rows_in(one)
    assert ENCODER.name in str(trained.embedding)

    for name, row in (("a", 0), ("b", 1)):  # of one name in two folders
        (tmp_path / "arrays" / name).mkdir(parents=True)
        count = int(clips.num_segments[row])
        np.save(tmp_path / "arrays" / name / "x.npy", np.asarray(clips.embeddings[row, :count]))
    arrays = f"{tmp_path}/arrays/*/x.npy"
    predict_to_file(run, arrays, one, options, allow_other_embeddings=True)
    assert not tag(run, arrays, f"{tmp_path}/arrays_out/part")
    rows = rows_in(*(tmp_path / "arrays_out").glob("*.parquet"))
    assert rows == rows_in(one)
    assert {row["video_id"] for row in rows} == {"a/x", "b/x"}
