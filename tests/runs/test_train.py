"""A run in its folder: what it refuses, what may change, what it leaves."""

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.data.splits import hold_out
from mla_jax.parallel.signals import InterruptedRunError
from mla_jax.runs.convergence import end_of, scored
from mla_jax.runs.data import RunData
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.thresholds import thresholds_of
from mla_jax.runs.use import evaluate
from mla_jax.storage import files
from mla_jax.training.sampler import make_sampler
from tests.support.helpers import raises_user_error, random_clips
from tests.support.small_runs import SMALL, train_quietly

NAMES = tuple(f"class {k}" for k in range(7))
MIDS = tuple(f"/m/{k}" for k in range(7))


def _config(folder: Path, **train: int) -> mla.Config:
    return mla.Config.from_dict(
        {
            "model": SMALL,
            "data": {"train": str(folder / "train"), "eval": str(folder / "eval"), "batch_size": 8},
            "train": {"steps": 4, "log_every": 2, "eval_every": 2, "checkpoint_every": 2, **train},
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, split in enumerate(("train", "eval")):
        classes = mla.ClassList(MIDS, NAMES)
        mla.pack([random_clips(num_clips=30, seed=seed)], tmp_path / split, classes=classes)
    return tmp_path


def test_an_eval_set_of_other_classes_is_refused(folder: Path) -> None:
    other = mla.ClassList(MIDS[::-1], NAMES[::-1])
    (folder / "eval/class_labels_indices.csv").write_text(other.to_csv())
    with pytest.raises(mla.UserError, match=r"beside .*eval is another: class 0 is 'class 6'"):
        RunData.open(_config(folder))


def test_an_eval_set_of_another_encoder_is_refused(folder: Path) -> None:
    mla.pack([random_clips(features=9)], folder / "wide")
    config = _config(folder)
    data = dataclasses.replace(config.data, eval=str(folder / "wide"))
    with raises_user_error("has other embeddings than", "features 9 and 4"):
        RunData.open(dataclasses.replace(config, data=data))


@pytest.mark.slow
def test_a_run_that_diverged_before_a_checkpoint_can_be_mended(folder: Path) -> None:
    config, run = _config(folder), RunFolder(folder / "run")
    wild = dataclasses.replace(config, optim=mla.OptimConfig(learning_rate=1e38))
    with raises_user_error("is not finite", "its batch was ", f"{run.not_finite_file} names all"):
        train_quietly(wild, run.path)
    assert run.results() is None
    told = files.read_json(run.not_finite_file)
    clips = mla.open_packed(folder / "train")
    rows = make_sampler(clips, "balanced", seed=0, batch_size=8)(told["step"] - 1).tolist()
    assert told["clips"] == [{"row": i, "video_id": clips.video_ids[i].decode()} for i in rows]
    assert train_quietly(config, run.path)["step"] == 4


def test_what_may_change_and_what_may_not(folder: Path) -> None:
    train_quietly(_config(folder), folder / "run")
    longer = _config(folder, steps=8, log_every=3, eval_every=0, checkpoint_every=5)
    with pytest.raises(InterruptedRunError):
        train_quietly(longer, folder / "run", should_stop=lambda: True)
    run = RunFolder(folder / "run")
    assert run.results() is None, "a run that was made longer is not finished any more"
    assert train_quietly(longer, run.path)["step"] == 8
    assert [entry["step"] for entry in run.metrics()] == [2, 4, 5, 6, 8]
    with raises_user_error("train.seed (was 0, now 1)"):
        train_quietly(_config(folder, seed=1), folder / "run")


def test_a_run_without_eval_split_says_so(folder: Path) -> None:
    config = _config(folder)
    alone = dataclasses.replace(config, data=dataclasses.replace(config.data, eval=""))
    results = train_quietly(alone, folder / "run")
    assert results["evaluated_on"] is None
    assert "mAP" not in results
    assert results["step"] == 4
    assert not RunFolder(folder / "run").thresholds_file.exists()
    # Eval data that are named later are scored then.
    later = train_quietly(config, folder / "run")
    assert (later["evaluated_on"], later["steps_trained"]) == ("eval", 4)
    assert later["mAP"] == evaluate(folder / "run", config.data.eval)["mAP"]
    assert train_quietly(config, folder / "run") == later


def test_validation_chooses_the_step(folder: Path) -> None:
    config = _config(folder, steps=12)
    data = dataclasses.replace(config.data, validation_fraction=0.4)
    wild = mla.OptimConfig(learning_rate=0.5)  # so that the last step is not the best
    config = dataclasses.replace(config, data=data, optim=wild)
    impatient = dataclasses.replace(config, train=dataclasses.replace(config.train, patience=1))
    ended = train_quietly(impatient, folder / "run")
    run = RunFolder(folder / "run")
    assert ended["ended_by"] == "patience"
    assert ended["steps_trained"] == end_of(scored(run.metrics()), 1) == run.metrics()[-1]["step"]
    assert train_quietly(impatient, folder / "run") == ended
    blind = dataclasses.replace(impatient, data=dataclasses.replace(data, eval=""))
    without = train_quietly(blind, folder / "later")
    assert without["evaluated_on"] == "validation"
    later = train_quietly(impatient, folder / "later")
    for name in ("evaluated_on", "step", "steps_trained", "ended_by", "mAP"):
        assert later[name] == ended[name], name
    results = train_quietly(config, folder / "run")
    assert results["steps_trained"] == 12 > ended["steps_trained"]
    assert results["step_chosen_by"] == "best validation mAP"
    best = max(run.metrics(), key=lambda entry: entry["validation_mAP"])
    assert results["step"] == best["step"] < 12
    assert results["mAP"] == pytest.approx(best["eval_mAP"])
    assert mla.TrainedModel.open(run.path).step == best["step"]


def test_evaluating_what_says_little_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Copies of training clips are counted, not those of clips held out; without labels no score."""
    config = _config(folder)
    data = dataclasses.replace(config.data, validation_fraction=0.3)
    train_quietly(dataclasses.replace(config, data=data), folder / "run")
    trained, held = hold_out(mla.open_packed(folder / "train"), 0.3)
    assert held is not None
    ids = np.array([b"one", b"two", b"three"])
    copies = dataclasses.replace(trained[[1, 4, 2]], video_ids=ids)
    classes = mla.ClassList(MIDS, NAMES)
    mla.pack([copies, held[:2]], folder / "copies", classes=classes)
    caplog.clear()
    evaluate(folder / "run", str(folder / "copies"))
    assert "copies of clips that the model was trained on: 3 of 5 clips" in caplog.text
    caplog.clear()
    evaluate(folder / "run", str(folder / "eval"))
    assert not caplog.messages
    none = mla.ClipSet.from_arrays(held.embeddings[:5], np.zeros((5, 7), bool))
    mla.pack([none], folder / "none", classes=classes)
    with raises_user_error("none has no labels, so nothing can be scored"):
        evaluate(folder / "run", str(folder / "none"))


def test_a_run_made_before_opens_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at step 8 of 12, two steps after a log entry, by a version that wrote no thresholds."""
    with zipfile.ZipFile(Path(__file__).with_name("run_made_before.zip")) as kept:
        kept.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)  # its settings name data/train and data/eval
    expected = json.loads(Path("expected.json").read_text())
    model = mla.TrainedModel.open("run")
    assert model.step == expected["step"] == 8
    assert model.embedding is None  # it does not say
    probs = model.predict(model.open_clips("data/eval"))
    np.testing.assert_allclose(probs, expected["probabilities"], rtol=1e-5)
    np.testing.assert_allclose(thresholds_of("run", model), expected["thresholds"], rtol=1e-5)
    run = RunFolder("run")
    assert not run.thresholds_file.exists()
    results = train_quietly(run.config(), "run")
    assert {name: results[name] for name in expected["results"]} == expected["results"]
    entries = run.metrics()
    assert [entry["step"] for entry in entries] == [3, 6, 9, 12]
    for entry, like in zip(entries, expected["metrics"], strict=True):
        assert {name: entry[name] for name in like} == pytest.approx(like, rel=1e-4)
    assert files.read_json(run.thresholds_file)["step"] == 12


def test_patience_that_is_asked_for_later_ends_a_run_where_it_stands(folder: Path) -> None:
    config = _config(folder, steps=30, log_every=1, eval_every=1, checkpoint_every=1)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, validation_fraction=0.4),
        optim=mla.OptimConfig(learning_rate=0.5),
    )
    said: list[str] = []
    with pytest.raises(InterruptedRunError):
        train_quietly(
            config,
            folder / "run",
            say=said.append,
            should_stop=lambda: any(line.startswith("step 12") for line in said),
        )
    metrics = RunFolder(folder / "run").metrics()
    end, stands_at = end_of(scored(metrics), 1), metrics[-1]["step"]
    assert end is not None
    assert end < stands_at < 30
    impatient = dataclasses.replace(config, train=dataclasses.replace(config.train, patience=1))
    ended = train_quietly(impatient, folder / "run")
    assert (ended["ended_by"], ended["steps_trained"]) == ("patience", stands_at)
    assert ended["step"] <= stands_at
