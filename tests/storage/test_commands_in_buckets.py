"""Whole ways through the commands with all of their paths in a bucket."""

import json
from pathlib import Path

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.data.class_list import FILE_NAME
from mla_jax.data.formats.record_writer import write_records
from mla_jax.pretrained.import_keras import import_keras
from mla_jax.storage import files
from tests.support.bucket_server import BucketServer, put
from tests.support.helpers import raises_user_error, random_clips
from tests.support.keras_files import ibm_model, write_keras2
from tests.support.programs import ok, run

pytestmark = pytest.mark.slow


def test_every_command_with_all_of_its_paths_in_a_bucket(
    bucket: str, bucket_server: BucketServer, tmp_path: Path
) -> None:
    """From records, one of them damaged, to a report."""
    for seed, split in enumerate(("train", "eval")):
        write_records(random_clips(num_clips=40, seed=seed), tmp_path / split)
    damaged = min((tmp_path / "eval").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-3])
    url = f"{put(tmp_path, f'{bucket}/records')}/eval/{damaged.name}"
    classes = mla.ClassList(tuple(f"/m/{k}" for k in range(7)), tuple("ABCDEFG"))
    files.write_text(f"{bucket}/records/{FILE_NAME}", classes.to_csv())

    inputs = {"train": f"{bucket}/records/train", "eval": f"{bucket}/records/eval/*.tfrecord"}
    skip = "--bad_records=skip"
    for split, path in inputs.items():
        args = [f"--data={path}", skip, "--max_segments=5"]
        done = ok("prepare_data", *args, f"--output={bucket}/packed/{split}")
    assert f"{url}, record" in done.stdout
    (line,) = bucket_server.content(f"{bucket}/packed/eval/skipped_records.jsonl").splitlines()
    assert json.loads(line)["file"] == url
    assert "as it was written" in ok("prepare_data", f"--verify={bucket}/packed/train").stdout
    refused = run("prepare_data", f"--data={inputs['eval']}", f"--output={bucket}/packed/none")
    assert refused.returncode == 2
    assert f"{url}, record" in refused.stderr

    workdir, out = f"--workdir={bucket}/runs/one", f"{bucket}/out"
    args = ["--config.model.hidden_units=8", "--config.model.architecture=1-A", workdir]
    args += ["--config.data.batch_size=8", "--config.train.steps=20"]
    args += [f"--config.data.{split}={bucket}/packed/{split}" for split in inputs]
    ok("train", *args)
    assert f"{bucket}/runs/one is finished" in ok("train", *args).stderr
    assert sum("report" in n for n in bucket_server.names(f"{bucket}/runs/one/tensorboard/")) == 1
    ok("evaluate", workdir, f"--data={bucket}/packed/eval", f"--output={out}/eval.json")
    assert files.read_json(f"{out}/eval.json")["classes"][1]["name"] == "B"
    ok("predict", workdir, skip, f"--output={out}/tags.jsonl", f"--data={inputs['eval']}")
    (line,) = bucket_server.content(f"{out}/tags.skipped_records.jsonl").splitlines()
    assert json.loads(line)["file"] == url
    ok("report", workdir, f"--output={out}/report.html")
    assert b"<html" in bucket_server.content(f"{out}/report.html")
    ok("compare", f"--workdirs={bucket}/runs/one", f"--output={out}/compared.json")
    assert files.read_json(f"{out}/compared.json")[0]["name"] == "one"


def test_table1_from_a_bucket_to_a_bucket(
    bucket: str, bucket_server: BucketServer, run_data: Path
) -> None:
    for split, name in (("train", "bal_train"), ("eval", "eval")):
        put(run_data / split, f"{bucket}/named/{name}")
    args = [f"--data={bucket}/named", f"--workdir={bucket}/table1", "--rows=average_pooling"]
    done = ok("table1", *args, "--seeds=0", "--steps=2", "--evaluations=1")
    assert "average_pooling" in done.stdout
    names = bucket_server.names(f"{bucket}/table1/")
    assert {"table1.json", "table1.md", "figure3.png", "settings.json"} <= set(names)
    assert bucket_server.content(f"{bucket}/table1/figure3.png").startswith(b"\x89PNG")


def test_keras_weights_from_a_bucket_to_a_bucket(bucket: str, tmp_path: Path) -> None:
    model = ibm_model(time=5, features=16, hidden=8, classes=7)
    write_keras2(model, tmp_path / "model.h5")
    weights = f"--weights={put(tmp_path, bucket)}/model.h5"
    assert "2-A-1-A" in ok("import_keras", weights, f"--workdir={bucket}/run").stdout
    import_keras(tmp_path / "model.h5", tmp_path / "run")
    ours, theirs = (mla.TrainedModel.open(w) for w in (f"{bucket}/run", tmp_path / "run"))
    clips = random_clips(time=5, features=16)
    np.testing.assert_array_equal(ours.predict(clips), theirs.predict(clips))
    assert files.read_json(f"{bucket}/run/config.json")["data"]["mask"] is False
    with raises_user_error(f"{bucket}/run already exists"):
        import_keras(f"{bucket}/model.h5", f"{bucket}/run")
