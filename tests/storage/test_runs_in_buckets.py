"""Runs whose data, folder and outputs are in a bucket."""

import dataclasses
import itertools
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mla_jax.config import Config
from mla_jax.parallel.signals import InterruptedRunError
from mla_jax.report.tensorboard import add_to_board
from mla_jax.runs import seeds, thresholds, trained, use
from mla_jax.runs.checkpoints import Checkpoints
from mla_jax.runs.data import RunData
from mla_jax.runs.metrics_log import read_metrics
from mla_jax.runs.train import train
from mla_jax.storage import files, paths
from mla_jax.storage.parts import Share
from mla_jax.tagging import spread, tag
from mla_jax.tagging.tagger import TagOptions
from tests.parallel import test_processes as processes
from tests.support.bucket_server import BucketServer, bucket_config, left, put
from tests.support.helpers import raises_user_error
from tests.support.small_runs import ROOT, STEPS, run_config, train_command


def stop_at(*counts: int) -> Callable[[], bool]:
    """Says stop at these of the times that it is asked."""
    asked = itertools.count(1)
    return lambda: next(asked) in counts


def test_a_run_in_a_bucket_ends_as_a_local_one(
    run_bucket: str, whole_run: dict[str, Any], bucket_server: BucketServer
) -> None:
    assert left(f"{run_bucket}/whole") == whole_run
    names = bucket_server.names(f"{run_bucket}/whole/")
    assert {n for n in names if "/" not in n} == {"config.json", "metrics.jsonl", "results.json"}
    assert sum(n.startswith("tensorboard/events.out.tfevents.") for n in names) == 1
    before = len(bucket_server.downloads())
    train(bucket_config(run_bucket), f"{run_bucket}/whole", say=lambda _: None)
    assert len(bucket_server.downloads()) - before <= 6, "a finished run is not trained again"


@pytest.mark.slow
def test_an_interrupted_run_goes_on_from_the_bucket_to_the_same_bits(
    run_bucket: str, whole_run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, config = f"{run_bucket}/interrupted", bucket_config(run_bucket)
    real, recorded = Checkpoints.save, {}

    def noting(self: Checkpoints, state: Any, *rest: Any, **named: Any) -> None:
        steps = [r["step"] for r in read_metrics(f"{url}/metrics.jsonl")]
        recorded[int(state.step)] = steps
        real(self, state, *rest, **named)

    monkeypatch.setattr(Checkpoints, "save", noting)
    with pytest.raises(InterruptedRunError) as stop:
        train(config, url, say=lambda _: None, should_stop=stop_at(3))
    assert stop.value.step in recorded
    train(config, url, say=lambda _: None)
    for step, steps in recorded.items():  # what a checkpoint stands on is there before it
        assert steps == list(range(5, step + 1, 5))
    found = left(url)
    assert found | {"steps": whole_run["steps"]} == whole_run
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, batch_size=4))
    with raises_user_error(f"{url} holds a run with other settings", "batch_size"):
        train(other, url)


@pytest.mark.slow
def test_a_damaged_checkpoint_in_a_bucket_is_passed_over_and_moved(
    run_bucket: str, bucket_server: BucketServer, whole_run: dict[str, Any]
) -> None:
    url, said = f"{run_bucket}/damaged", []
    train(bucket_config(run_bucket, steps=20), url, say=lambda _: None)
    name = f"{url}/checkpoints/20/meta/metadata"
    files.write_text(name, bucket_server.content(name).decode().replace("num_features", "num_f"))
    train(bucket_config(run_bucket), url, say=said.append)
    assert any("passed over" in line and f"{url}/damaged/20-0" in line for line in said)
    assert "damaged/20-0/meta/metadata" in bucket_server.names(f"{url}/")
    assert left(url)["state"] == whole_run["state"]


@pytest.mark.slow
def test_a_table_in_a_bucket_goes_on_to_the_same_scores(
    bucket: str, bucket_server: BucketServer, run_data: Path, tmp_path: Path
) -> None:
    put(run_data, f"{bucket}/data")
    short = {"steps": 4, "eval_every": 1, "checkpoint_every": 1}  # asks to stop before every step

    def row(config: Config, folder: str | Path, **more: Any) -> list[dict[str, Any]]:
        data = RunData.open(config)
        results = seeds.train_row(config, [0, 1], folder, data, say=lambda _: None, **more)
        return [{k: v for k, v in each.items() if k != "seconds"} for each in results]

    there, url = bucket_config(bucket, **short), f"{bucket}/table/row"
    with pytest.raises(InterruptedRunError):
        row(there, url, should_stop=stop_at(3))
    assert any("sums-" in name for name in bucket_server.names(f"{url}/.training/"))
    assert row(there, url) == row(run_config(run_data, **short), tmp_path / "row")
    assert not bucket_server.names(f"{url}/.training")


@pytest.mark.slow
def test_thresholds_are_kept_in_the_bucket(run_bucket: str) -> None:
    url, config = f"{run_bucket}/validated", bucket_config(run_bucket, steps=10)
    data = dataclasses.replace(config.data, validation_fraction=0.4)
    train(dataclasses.replace(config, data=data), url, say=lambda _: None)
    chosen = thresholds.choose_for_run(url)
    kept = thresholds.thresholds_of(url, trained.TrainedModel.open(url))
    np.testing.assert_array_equal(kept, chosen)
    assert files.read_json(f"{url}/thresholds.json")["step"] == 10


@pytest.mark.slow
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


@pytest.mark.slow
def test_two_processes_share_a_bucket(
    bucket: str, run_data: Path, whole_run: dict[str, Any]
) -> None:
    """Both read the data from there, and Orbax writes for both; all else one of them writes."""
    put(run_data, f"{bucket}/data")
    processes.train(f"{bucket}/data", f"{bucket}/run", 2)
    processes.require_equal_to_rounding(left(f"{bucket}/run"), whole_run)


@pytest.mark.slow
def test_evaluate_and_predict_read_and_write_buckets(
    run_bucket: str, bucket_server: BucketServer, run_data: Path, tmp_path: Path
) -> None:
    run, data, out = f"{run_bucket}/whole", f"{run_bucket}/data/eval", f"{run_bucket}/out"
    scores = use.evaluate(run, data, output=f"{out}/eval.json")
    assert files.read_json(f"{out}/eval.json")["mAP"] == scores["mAP"]
    assert scores["mAP"] == files.read_json(f"{run}/results.json")["mAP"]
    tag.predict_to_file(run, data, f"{out}/tags.parquet")
    tag.predict_to_file(run, str(run_data / "eval"), tmp_path / "tags.parquet")
    many = f"{out}/many.parquet"
    options = TagOptions(batch_size=16)
    done = [
        spread.predict_share(Share(i, 2), run, data, many, options, part_clips=16) for i in range(2)
    ]
    assert done[0] is None
    tag.predict_to_file(run, data, tmp_path / "one.parquet", options)
    assert bucket_server.content(many) == (tmp_path / "one.parquet").read_bytes()
    assert not paths.as_path(f"{many}.unfinished").exists()
    assert bucket_server.content(f"{out}/tags.parquet") == (tmp_path / "tags.parquet").read_bytes()


def test_pictures_for_tensorboard_replace_those_before(
    bucket: str, bucket_server: BucketServer
) -> None:
    for name in ("events.older.report", "events.scalars"):
        files.write_text(f"{bucket}/tensorboard/{name}", "")
    add_to_board(f"{bucket}/tensorboard", {"settings": "text"}, {}, 1)
    names = bucket_server.names(f"{bucket}/tensorboard/")
    assert len(names) == 2
    assert "events.scalars" in names
    assert "events.older.report" not in names
