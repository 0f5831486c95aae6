"""Evaluation beside the steps: the same run as with one after the other."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import pytest

from mla_jax.inference.predictor import Predictor
from mla_jax.runs.evaluation import Evaluation, Evaluator
from tests.support.small_runs import left_by, run_config, train_quietly


def test_steps_go_on_while_an_evaluation_is_finished(
    run_data: Path, whole_run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each evaluation waits until the run is about to make further steps, and for the last until its end."""
    going_on, started, start = threading.Event(), [], Evaluator.start

    def start_and_wait(
        self: Evaluator, step: int, predictors: Sequence[Predictor]
    ) -> Callable[[], Evaluation]:
        finish = start(self, step, predictors)
        started.append(step)
        going_on.clear()

        def finish_later() -> Evaluation:
            assert step == 40 or going_on.wait(timeout=60), "the steps wait for the evaluation"
            return finish()

        return finish_later

    def about_to_go_on() -> bool:
        going_on.set()
        return False

    monkeypatch.setattr(Evaluator, "start", start_and_wait)
    monkeypatch.setattr(jax, "default_backend", lambda: "an accelerator")
    train_quietly(run_config(run_data), tmp_path / "run", should_stop=about_to_go_on)
    assert started == [10, 20, 30, 40]
    assert left_by(tmp_path / "run") == whole_run
