"""Whole ways through the commands with everything in a bucket, and what is killed there."""

import dataclasses
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mla_jax as mla
from mla_jax import buckets, files, rows, run_thresholds, runs, trained
from mla_jax.data.labels import FILE_NAME
from mla_jax.data.record_writer import write_records
from mla_jax.run_data import RunData
from mla_jax.training.interruption import InterruptedRunError
from tests import test_processes as processes
from tests.bucket_server import BucketServer, bucket_config, left, put
from tests.helpers import assert_same_clips, random_clips
from tests.small_runs import ROOT, STEPS, run_config, train_command

pytestmark = pytest.mark.slow


def run(program: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"experiments.{program}", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def ok(program: str, *flags: str) -> str:
    done = run(program, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_with_all_of_its_paths_in_a_bucket(
    bucket: str, bucket_server: BucketServer, tmp_path: Path
) -> None:
    """From records, one of them damaged, to a report."""
    classes = mla.ClassList(tuple(f"/m/{k}" for k in range(7)), tuple("ABCDEFG"))
    for seed, split in enumerate(("train", "eval")):
        write_records(random_clips(num_clips=40, seed=seed), tmp_path / "records" / split)
    damaged = sorted((tmp_path / "records" / "eval").iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:-3])
    put(tmp_path / "records", f"{bucket}/records")
    files.write_text(f"{bucket}/records/{FILE_NAME}", classes.to_csv())

    inputs = {"train": f"{bucket}/records/train", "eval": f"{bucket}/records/eval/*.tfrecord"}
    for split, path in inputs.items():
        more = ["--bad_records=skip", "--max_segments=5"]
        args = [f"--input={path}", *more]
        said = ok("prepare_data", *args, f"--output={bucket}/packed/{split}")
        local = str(tmp_path / "records" / split) + ("/*.tfrecord" if "*" in path else "")
        listed = f"--class_list={bucket}/records/{FILE_NAME}"
        ok("prepare_data", f"--input={local}", *more, listed, f"--output={tmp_path}/packed/{split}")
        there = mla.open_packed(f"{bucket}/packed/{split}")
        assert_same_clips(there, mla.open_packed(tmp_path / "packed" / split))
    assert f"{bucket}/records/eval/{damaged.name}, record" in said
    (line,) = bucket_server.content(f"{bucket}/packed/eval/skipped_records.jsonl").splitlines()
    assert json.loads(line)["file"] == f"{bucket}/records/eval/{damaged.name}"
    assert "as it was written" in ok("prepare_data", f"--verify={bucket}/packed/train")
    refused = run("prepare_data", f"--input={inputs['eval']}", f"--output={bucket}/packed/none")
    assert refused.returncode == 2
    assert f"{bucket}/records/eval/{damaged.name}, record" in refused.stderr

    trained_as = ["--config.model.hidden_units=8", "--config.model.architecture=1-A"]
    trained_as += ["--config.data.batch_size=8", "--config.train.steps=20"]
    data = [f"--config.data.{s}={bucket}/packed/{s}" for s in ("train", "eval")]
    ok("train", *trained_as, *data, f"--workdir={bucket}/runs/one")
    again = run("train", *trained_as, *data, f"--workdir={bucket}/runs/one")
    assert f"{bucket}/runs/one is finished" in again.stderr
    assert sum("report" in n for n in bucket_server.names(f"{bucket}/runs/one/tensorboard/")) == 1

    run_flag, out = f"--workdir={bucket}/runs/one", f"{bucket}/out"
    ok("evaluate", run_flag, f"--data={bucket}/packed/eval", f"--output={out}/eval.json")
    assert files.read_json(f"{out}/eval.json")["classes"][1]["name"] == "B"
    flags = [run_flag, "--bad_records=skip", f"--output={out}/tags.jsonl"]
    ok("predict", *flags, f"--input={inputs['eval']}")
    (line,) = bucket_server.content(f"{out}/tags.skipped_records.jsonl").splitlines()
    assert json.loads(line)["file"] == f"{bucket}/records/eval/{damaged.name}"
    ok("report", run_flag, f"--output={out}/report.html")
    assert b"<html" in bucket_server.content(f"{out}/report.html")
    ok("compare", f"--workdirs={bucket}/runs/one", f"--output={out}/compared.json")
    assert files.read_json(f"{out}/compared.json")[0]["name"] == "one"


def test_a_table_in_a_bucket_goes_on_to_the_same_figures(
    bucket: str, bucket_server: BucketServer, run_data: Path, tmp_path: Path
) -> None:
    put(run_data, f"{bucket}/data")
    short = {"steps": 20, "eval_every": 5, "checkpoint_every": 5}
    there, here = bucket_config(bucket, **short), run_config(run_data, **short)
    asked = itertools.count()
    with pytest.raises(InterruptedRunError):
        rows.train_row(
            there,
            [0, 1],
            f"{bucket}/table/row",
            RunData.open(there),
            say=lambda _: None,
            should_stop=lambda: next(asked) == 5,
        )
    assert any("sums-" in name for name in bucket_server.names(f"{bucket}/table/row/.training/"))
    quiet = {"say": lambda _: None}
    found = rows.train_row(there, [0, 1], f"{bucket}/table/row", RunData.open(there), **quiet)
    expected = rows.train_row(here, [0, 1], tmp_path / "row", RunData.open(here), **quiet)
    assert not bucket_server.names(f"{bucket}/table/row/.training")
    for ours, theirs in zip(found, expected, strict=True):
        assert {k: v for k, v in ours.items() if k != "seconds"} == {
            k: v for k, v in theirs.items() if k != "seconds"
        }
    for split, name in (("train", "bal_train"), ("eval", "eval")):
        put(run_data / split, f"{bucket}/named/{name}")
    made = ok(
        "table1",
        f"--data_dir={bucket}/named",
        f"--workdir={bucket}/table1",
        "--rows=average_pooling",
        "--seeds=0",
        "--steps=2",
        "--evaluations=1",
    )
    assert "average_pooling" in made
    names = bucket_server.names(f"{bucket}/table1/")
    assert {"table1.json", "table1.md", "figure3.png", "settings.json"} <= set(names)
    assert bucket_server.content(f"{bucket}/table1/figure3.png").startswith(b"\x89PNG")


def test_keras_weights_from_a_bucket_to_a_bucket(bucket: str, tmp_path: Path) -> None:
    from tests.keras_files import ibm_model, write_keras2

    model = ibm_model(time=5, features=16, hidden=8, classes=7)
    buckets.put([(write_keras2(model, tmp_path / "model.h5"), f"{bucket}/model.h5")])
    said = ok("import_keras", f"--weights={bucket}/model.h5", f"--workdir={bucket}/run")
    assert "2-A-1-A" in said
    ok("import_keras", f"--weights={tmp_path}/model.h5", f"--workdir={tmp_path}/run")
    ours, theirs = (mla.TrainedModel.open(w) for w in (f"{bucket}/run", tmp_path / "run"))
    clips = random_clips(time=5, features=16)
    np.testing.assert_array_equal(ours.predict(clips), theirs.predict(clips))
    assert files.read_json(f"{bucket}/run/config.json")["data"]["mask"] is False
    refused = run("import_keras", f"--weights={bucket}/model.h5", f"--workdir={bucket}/run")
    assert refused.stderr.startswith(f"error: {bucket}/run already exists")


def test_thresholds_are_kept_in_the_bucket(run_bucket: str) -> None:
    url, config = f"{run_bucket}/validated", bucket_config(run_bucket, steps=10)
    data = dataclasses.replace(config.data, validation_fraction=0.4)
    runs.train(dataclasses.replace(config, data=data), url, say=lambda _: None)
    chosen = run_thresholds.choose_for_run(url)
    kept = run_thresholds.thresholds_of(url, trained.TrainedModel.open(url))
    np.testing.assert_array_equal(kept, chosen)
    assert files.read_json(f"{url}/thresholds.json")["step"] == 10


def test_a_run_killed_in_a_bucket_goes_on_to_the_same_bits(
    run_bucket: str, bucket_server: BucketServer, whole_run: dict[str, object]
) -> None:
    """Killed as soon as there is anything of the first checkpoint, and again of the second."""
    url = f"{run_bucket}/killed"
    command = train_command(f"{run_bucket}/data", url)
    for step in (10, 20):
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            while not bucket_server.names(f"{url}/checkpoints/{step}"):
                assert process.poll() is None
                time.sleep(0.01)
            process.kill()
    assert not bucket_server.names(f"{url}/results.json")
    assert subprocess.run(command, cwd=ROOT).returncode == 0
    found = left(url)
    assert found["metrics"][-1]["step"] == STEPS
    for what in ("state", "metrics", "results"):
        assert found[what] == whole_run[what], what


def test_two_processes_share_a_bucket(
    bucket: str, run_data: Path, whole_run: dict[str, Any]
) -> None:
    """Both read the data from there, and Orbax writes for both; all else one of them writes."""
    put(run_data, f"{bucket}/data")
    processes.train(f"{bucket}/data", f"{bucket}/run", 2)
    processes.require_equal_to_rounding(left(f"{bucket}/run"), whole_run)
