"""The log of a run: metrics.jsonl, and TensorBoard's files beside it."""

import json
from pathlib import Path

import pytest

from mla_jax.runs import metrics_log
from mla_jax.runs.metrics_log import MetricsLog, read_metrics
from tests.support.bucket_server import BucketServer
from tests.support.helpers import raises_user_error


def steps_in(workdir: str | Path) -> list[int]:
    return [entry["step"] for entry in read_metrics(f"{workdir}/metrics.jsonl")]


def test_a_log_that_goes_on_has_every_step_once(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, 0) as log:
        for step in (2, 4, 6):
            log.write({"step": step, "loss": 1.0 / step})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 8, "lo')  # killed here
    with MetricsLog(tmp_path, 4) as log:
        assert steps_in(tmp_path) == [2, 4]
        log.write({"step": 6, "loss": float("nan")})
    assert steps_in(tmp_path) == [2, 4, 6]
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_log_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"loss": 1}\n{"step": 2}\n')
    with raises_user_error("line 1 is no "):
        read_metrics(tmp_path / "metrics.jsonl")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n' + "[" * 100_000 + "\n")
    with raises_user_error("line 2 is no "):
        read_metrics(tmp_path / "metrics.jsonl")


def test_a_log_in_a_bucket_is_put_there_now_and_then(
    bucket: str, bucket_server: BucketServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{bucket}/run"
    with MetricsLog(url, 0) as log:
        for step in (1, 2, 3):
            log.write({"step": step, "loss": 0.5})
        assert steps_in(url) == []
        with monkeypatch.context() as patch:
            patch.setattr(metrics_log, "PUBLISH_SECONDS", 0)
            log.write({"step": 4, "loss": 0.5})
        assert steps_in(url) == [1, 2, 3, 4]
        log.write({"step": 5, "loss": 0.5})
        log.publish()
        assert steps_in(url) == [1, 2, 3, 4, 5]
        log.write({"step": 6, "loss": 0.5})
    assert steps_in(url) == [1, 2, 3, 4, 5, 6]
    with MetricsLog(url, 4):
        assert steps_in(url) == [1, 2, 3, 4]
    assert sum("events" in n for n in bucket_server.names(f"{url}/tensorboard/")) == 2
