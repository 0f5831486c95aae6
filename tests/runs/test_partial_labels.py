"""Runs on partly labelled clips, where what is not known does not count, and on one class of everything."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import mla_jax as mla
from mla_jax.explain.examples import clip_scores
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.thresholds import thresholds_of
from mla_jax.runs.use import evaluate
from mla_jax.storage import files
from mla_jax.training.state import class_prior
from tests.support.helpers import raises_user_error
from tests.support.small_runs import run_config, train_quietly


def make(
    folder: Path, num_classes: int, *, partly: bool, num_clips: int = 120
) -> tuple[np.ndarray, np.ndarray]:
    """Packs train and eval; returns the eval labels, and which of them are known."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(num_classes, 6))
    for split in ("train", "eval"):
        labels = rng.random((num_clips, num_classes)) < 0.3
        noise = rng.normal(size=(num_clips, 4, 6))
        embeddings = ((labels @ centres)[:, None] + noise).astype(np.float32)
        known = rng.random(labels.shape) < 0.5
        known[np.arange(num_clips), rng.integers(0, num_classes, num_clips)] = True
        mask = known if partly else None
        ids = [f"{split}{i}" for i in range(num_clips)]
        clips = mla.ClipSet.from_arrays(embeddings, labels, video_ids=ids, label_mask=mask)
        mla.pack([clips[:50], clips[50:]], folder / split)
    return labels, known if partly else np.ones_like(known)


@pytest.mark.parametrize(
    ("num_classes", "partly"), [pytest.param(1, False, marks=pytest.mark.slow), (3, True)]
)
def test_trains_evaluates_and_chooses_thresholds(
    tmp_path: Path, num_classes: int, partly: bool
) -> None:
    labels, known = make(tmp_path, num_classes, partly=partly)
    config = run_config(tmp_path, steps=60, eval_every=20, checkpoint_every=20)
    data = dataclasses.replace(config.data, validation_fraction=0.3, batch_size=16)
    optim = dataclasses.replace(config.optim, learning_rate=0.02)
    workdir = tmp_path / "run"
    results = train_quietly(dataclasses.replace(config, data=data, optim=optim), workdir)
    model = mla.TrainedModel.open(workdir)
    probs = model.predict(mla.open_packed(tmp_path / "eval"))
    expected = [
        average_precision_score(labels[known[:, k], k], probs[known[:, k], k])
        for k in range(num_classes)
    ]
    assert results["mAP"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert results["mAP"] > 0.8
    assert evaluate(workdir, str(tmp_path / "eval"))["mAP"] == pytest.approx(
        results["mAP"], abs=1e-6
    )
    rows = results["classes"]
    assert [row.get("num_known", 120) for row in rows] == known.sum(axis=0).tolist()
    thresholds = thresholds_of(workdir, model)
    found = (probs >= thresholds)[known]
    assert (found == labels[known]).mean() > 0.8
    assert files.read_json(RunFolder(workdir).thresholds_file)["macro_F1"] > 0.8


def test_a_mask_is_packed_and_opened_again(tmp_path: Path) -> None:
    labels, known = make(tmp_path, 3, partly=True)
    clips = mla.open_packed(tmp_path / "eval", verify=True)
    assert clips.label_mask is not None
    np.testing.assert_array_equal(clips.label_mask, known)
    np.testing.assert_array_equal(clips.multi_hot(), labels & known)
    make(tmp_path / "all", 3, partly=False)
    assert not (tmp_path / "all" / "eval" / "label_mask.npy").exists()


def test_what_is_not_known_counts_in_no_prior_and_no_example(tmp_path: Path) -> None:
    labels, known = make(tmp_path, 3, partly=True)
    clips = mla.open_packed(tmp_path / "eval")
    expected = [(labels[known[:, k], k].sum() + 0.5) / (known[:, k].sum() + 1) for k in range(3)]
    np.testing.assert_allclose(class_prior(clips), expected)
    probs = np.array([[0.2, 0.9, 0.4]])
    has = np.array([[True, False, False]])
    assert clip_scores(probs, has, np.array([[True, False, True]])) == pytest.approx(0.2 - 0.4)
    assert np.isnan(clip_scores(probs, has, has))
    with raises_user_error("labels that are not known", "mla_jax.pack"):
        mla.write_records(clips, tmp_path / "records")
