"""Models are read without Orbax, and never wrongly: what is not whole is left to it."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import mla_jax as mla
from mla_jax.runs.saved_weights import META_SHA256, WEIGHTS_SHA256, SavedWeights, meta_checksum
from tests.support.helpers import raises_user_error
from tests.support.programs import python
from tests.support.small_runs import STEPS


@pytest.fixture
def run(whole_workdir: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(whole_workdir, tmp_path / "run"))


def change_meta(run: Path, **changes: object) -> None:
    """Makes the settings beside the last state others, whole by their own checksum."""
    path = run / f"checkpoints/{STEPS}/meta/metadata"
    meta = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(meta | {META_SHA256: meta_checksum(meta)}))


def test_they_are_those_that_orbax_reads(run: Path) -> None:
    quick = SavedWeights(run / "checkpoints").read(STEPS)
    assert quick is not None
    change_meta(run, **{WEIGHTS_SHA256: "unknown"})
    assert SavedWeights(run / "checkpoints").read(STEPS) is None
    trained = mla.TrainedModel.open(run)
    assert trained.step == STEPS
    jax.tree.map(np.testing.assert_array_equal, dict(quick[1]), dict(trained.variables))


def test_one_whose_score_is_not_known_is_not_passed_over_for_the_best(run: Path) -> None:
    """The settings of an older checkpoint have no checksum: which is the best is asked of Orbax."""
    shutil.copytree(run / f"checkpoints/{STEPS}", run / f"checkpoints/{STEPS + 1}")
    assert SavedWeights(run / "checkpoints").steps()[-2:] == [STEPS, STEPS + 1]
    path = run / f"checkpoints/{STEPS}/meta/metadata"
    meta = json.loads(path.read_text())
    del meta[META_SHA256]
    path.write_text(json.dumps(meta | {"validation_mAP": 2.0}))
    saved = SavedWeights(run / "checkpoints")
    assert (saved.steps(), saved.best_step(), saved.read(STEPS + 1)) == ([], None, None)
    assert mla.TrainedModel.open(run).step == STEPS


def test_damage_is_never_taken_for_a_model(run: Path) -> None:
    """Every file of the checkpoint in turn is cut in half: either the model is whole, or there is none."""
    before = mla.TrainedModel.open(run)
    folder = run / f"checkpoints/{STEPS}"
    passed_over = 0
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        found = SavedWeights(run / "checkpoints").read(STEPS)
        if found is None:
            passed_over += 1
        else:
            jax.tree.map(np.testing.assert_array_equal, dict(found[1]), dict(before.variables))
        path.write_bytes(content)
    assert passed_over > 2


def test_other_weights_than_the_settings_say_are_an_error(run: Path) -> None:
    change_meta(run, **{WEIGHTS_SHA256: "0" * 64, "sha256": "0" * 64})
    assert SavedWeights(run / "checkpoints").read(STEPS) is None
    with raises_user_error("damaged", "checksum differs"):
        mla.TrainedModel.open(run)


def test_a_model_is_used_without_what_trains_one(run: Path, run_data: Path) -> None:
    code = f"""
import sys, mla_jax
model = mla_jax.TrainedModel.open({str(run)!r})
assert model.predict(model.open_clips({str(run_data / "eval")!r})).shape[0] == 40
for name in mla_jax.pretrained_models():
    mla_jax.TrainedModel.pretrained(name)
assert not {{"flax", "optax", "orbax", "tensorflow"}} & set(sys.modules)
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
