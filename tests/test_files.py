"""Files are whole or not there; progress is readable with and without a terminal."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from mla_jax import files
from mla_jax.errors import UserError
from mla_jax.progress import Progress
from mla_jax.training.metrics_log import MetricsLog, read_metrics


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    files.write_text(path, "old")

    def fail() -> None:
        with files.replacing(path) as file:
            file.write("half of the n")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/a\.txt"):
        files.write_text(tmp_path / "file" / "a.txt", "text")


def test_json_has_null_for_what_json_does_not_have(tmp_path: Path) -> None:
    value = {"a": np.float32(1.5), "b": [np.nan, np.inf], "c": np.arange(2), 3: (True, None)}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == {
        "a": 1.5,
        "b": [None, None],
        "c": [0, 1],
        "3": [True, None],
    }
    (tmp_path / "a.json").write_text('{"a": ')
    with pytest.raises(UserError, match=r"a\.json is damaged"):
        files.read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"cannot read .*b\.json"):
        files.read_json(tmp_path / "b.json")


def test_a_log_that_goes_on_has_every_step_once(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, 0) as log:
        for step in (2, 4, 6):
            log.write({"step": step, "loss": 1.0 / step})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 8, "lo')  # killed here
    with MetricsLog(tmp_path, 4) as log:
        assert [r["step"] for r in log.records] == [2, 4]
        log.write({"step": 6, "loss": float("nan")})
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl")] == [2, 4, 6]
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_a_log_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"loss": 1}\n{"step": 2}\n')
    with pytest.raises(UserError, match="line 1 is no record with a step"):
        read_metrics(tmp_path / "metrics.jsonl")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_rate_and_time_left(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = _Terminal() if terminal else io.StringIO()
    progress = Progress("train", 1000, "steps", start=100, stream=stream)
    for done, at in ((110, 0.1), (200, 20.0), (201, 20.1), (1000, 40.0)):
        now[0] = at
        progress.update(done, "loss 0.5")
    progress.close()
    shown = [line for line in stream.getvalue().replace("\r", "\n").split("\n") if line]
    assert [line.rstrip() for line in shown] == [
        "train 200/1,000 steps | 4.5/s | 2:57 left | loss 0.5",
        "train 1,000/1,000 steps | 22.3/s | 0:00 left | loss 0.5",
    ]
