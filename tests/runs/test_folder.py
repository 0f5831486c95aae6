"""A run's folder, and whose settings it holds."""

import dataclasses
from pathlib import Path

import numpy as np

import mla_jax as mla
from mla_jax.runs.folder import RunFolder, claim
from mla_jax.storage import files
from tests.support.helpers import raises_user_error


def test_a_run_begins_and_finishes(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    for step in (run.config, run.require_model):
        with raises_user_error(f"{tmp_path}/run does not exist; give the folder of a run"):
            step()
    run.path.mkdir()
    assert run.metrics() == []
    with raises_user_error("is no run: it has no config.json; give the folder of a run"):
        run.config()
    with raises_user_error("is no run: it has no checkpoints; train one there first"):
        run.require_model()
    for name in ("b", "a"):
        (run.path / name / "checkpoints/10").mkdir(parents=True)
    with raises_user_error("is no run, but the folder of runs; give one of them: a, b"):
        run.require_model()
    run.write_config(mla.Config())
    assert run.config() == mla.Config()
    assert run.results() is None
    written = {"step": 1, "steps_trained": 2, "evaluated_on": None, "classes": [], "mAP": np.nan}
    files.write_json(run.results_file, written | {"d_prime": np.inf})
    results = RunFolder(str(run)).results()
    assert results is not None
    assert np.isnan(results.pop("mAP"))
    assert results == {"d_prime": np.inf} | {k: v for k, v in written.items() if k != "mAP"}
    for other in ([], {"mAP": 0.5}, "text"):
        files.write_json(run.results_file, other)
        with raises_user_error("results.json is not a run's results; move it away"):
            run.results()


def test_only_the_same_settings_go_on(tmp_path: Path) -> None:
    run, config = RunFolder(tmp_path / "run"), mla.Config()
    run.require_same_settings(config)  # nothing is there yet
    run.write_config(config)
    longer = dataclasses.replace(config, train=mla.TrainConfig(steps=2000))
    run.require_can_go_on(longer)
    with raises_user_error("run holds a run with other settings: train.steps (was 1000, now 2000)"):
        run.require_same_settings(longer)
    other = dataclasses.replace(config, optim=mla.OptimConfig(b1=0.5))
    with raises_user_error("optim.b1 (was 0.9, now 0.5)", "give another --workdir"):
        run.require_can_go_on(other)
    falling = RunFolder(tmp_path / "falling")
    cosine = dataclasses.replace(config, optim=mla.OptimConfig(schedule="cosine"))
    falling.require_can_go_on(cosine)
    falling.write_config(cosine)
    falling.require_can_go_on(cosine)
    with raises_user_error("falling was begun with train.steps=1000", "cannot go on to 2000"):
        falling.require_can_go_on(dataclasses.replace(cosine, train=longer.train))


def test_a_folder_is_claimed_once(tmp_path: Path) -> None:
    for _ in range(2):
        claim(tmp_path / "demo.json", {"num_clips": 5}, "a demo")
    with raises_user_error("holds a demo with other settings: num_clips (was 5, now 6)"):
        claim(tmp_path / "demo.json", {"num_clips": 6}, "a demo")
