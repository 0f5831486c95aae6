"""Progress is readable with and without a terminal."""

import io

import pytest

from mla_jax.progress import Progress


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
