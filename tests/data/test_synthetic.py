"""The generated world: what it promises; and the demo that is made of it."""

import dataclasses
import functools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from mla_jax.data.clips import ClipSet
from mla_jax.data.synthetic import SyntheticClips, SyntheticConfig, synthetic_clips
from tests.support.helpers import FIELDS, raises_user_error
from tests.support.programs import run

CONFIG = SyntheticConfig(num_clips=3000)
EXACT = dataclasses.replace(CONFIG, missing_label_rate=0.0, wrong_label_rate=0.0)


@functools.cache
def make(config: SyntheticConfig = CONFIG, split: str = "train") -> SyntheticClips:
    return synthetic_clips(config, split)


def same(a: ClipSet, b: ClipSet) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


def event_lengths(made: SyntheticClips) -> np.ndarray:
    """How many segments each class sounds in each clip, [num_clips, num_classes]."""
    return made.events.sum(axis=1)


def is_short(made: SyntheticClips) -> np.ndarray:
    return np.array(["short" in name for name in made.classes.names])


# One world, many clips.


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    again = synthetic_clips(dataclasses.replace(CONFIG))
    assert same(make().clips, again.clips)
    assert np.array_equal(make().events, again.events)
    assert make().classes == again.classes
    other = make(dataclasses.replace(CONFIG, seed=1))
    for name in ("embeddings", "label_ids", "video_ids"):
        assert not np.array_equal(getattr(make().clips, name), getattr(other.clips, name)), name


def class_means(made: SyntheticClips) -> np.ndarray:
    """The mean embedding of the segments with each class less that of all, [K, M], of length 1."""
    vectors = made.clips.embeddings[made.clips.mask()].astype(float)
    events = made.events[made.clips.mask()]
    means = events.T @ vectors / events.sum(axis=0)[:, None] - vectors.mean(axis=0)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def test_splits_share_the_world_and_no_clip() -> None:
    train, evaluation = make(), make(split="eval")
    assert train.classes == evaluation.classes
    assert not set(train.clips.video_ids.tolist()) & set(evaluation.clips.video_ids.tolist())
    rows = {v.tobytes() for v in train.clips.embeddings}
    assert not rows & {v.tobytes() for v in evaluation.clips.embeddings}

    def similarity(other: SyntheticClips) -> np.ndarray:
        return class_means(train) @ class_means(other).T

    # Every class sounds alike in both splits, and like no class of another world.
    shared = similarity(evaluation)
    assert (shared.argmax(axis=1) == np.arange(CONFIG.num_classes)).all()
    assert np.diag(shared).min() > 0.8
    assert similarity(make(dataclasses.replace(CONFIG, seed=1))).max() < 0.5
    shares = [made.clips.class_counts() / len(made.clips) for made in (train, evaluation)]
    assert np.corrcoef(shares)[0, 1] > 0.97


def test_video_ids_are_unique_and_look_like_real_ones() -> None:
    ids = [v.decode() for v in make().clips.video_ids]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{11}", v) for v in ids)
    # Few record files, whose names differ in more than case.
    assert len({v[:2] for v in ids}) == len({v[:2].lower() for v in ids}) <= 256


# Events and labels.


def test_without_label_errors_labels_are_the_events() -> None:
    made = make(EXACT)
    np.testing.assert_array_equal(made.clips.multi_hot(), made.events.any(axis=1))
    assert set(np.unique(np.diff(made.clips.label_offsets))) <= set(range(1, 7))


@pytest.mark.parametrize(("missing", "wrong"), [(0.05, 0.05), (0.3, 0.0), (0.0, 0.4)])
def test_labels_are_wrong_at_the_stated_rates(missing: float, wrong: float) -> None:
    config = dataclasses.replace(CONFIG, missing_label_rate=missing, wrong_label_rate=wrong)
    made = make(config)
    truth, labels = made.events.any(axis=1), made.clips.multi_hot()
    assert labels.any(axis=1).all()
    several = truth.sum(axis=1) > 2  # a clip that would lose all its labels keeps them
    lost = (truth & ~labels)[several].sum() / truth[several].sum()
    # A wrong label may hit one that is there.
    added = (labels & ~truth).sum() / (~truth).mean() / len(truth)
    for found, stated, trials in (
        (lost, missing, truth[several].sum()),
        (added, wrong, len(truth)),
    ):
        assert abs(found - stated) <= 4 * np.sqrt(stated * (1 - stated) / trials)


def test_classes_are_unequally_frequent_and_none_is_missing() -> None:
    counts = make().clips.class_counts()
    assert counts.min() > 20
    assert counts.max() > 5 * np.median(counts) / 2
    first, second = np.split(counts, 2)
    assert first.sum() > 1.5 * second.sum()


def test_partners_occur_together_above_chance() -> None:
    def most_lifted(rate: float) -> np.ndarray:
        """For each class, the most over-represented other class: observed over expected."""
        truth = make(dataclasses.replace(EXACT, num_clips=6000, partner_rate=rate)).events.any(
            axis=1
        )
        both = truth.T.astype(float) @ truth
        expected = np.outer(truth.sum(axis=0), truth.sum(axis=0)) / len(truth)
        lift = both / expected
        np.fill_diagonal(lift, 0)
        return lift.max(axis=1)

    assert np.median(most_lifted(0.3)) > 2.5
    assert np.median(most_lifted(0.0)) < 2.0


def test_short_and_long_events() -> None:
    made = make()
    lengths, short = event_lengths(made), is_short(made)
    full = made.clips.num_segments == CONFIG.max_segments
    assert 0.5 < short.mean() < 0.8
    # A class may be drawn twice in a clip, rarely.
    short_lengths = lengths[full][:, short]
    short_lengths = short_lengths[short_lengths > 0]
    assert set(np.unique(short_lengths)) <= {1, 2, 3, 4, 5, 6}
    assert np.isin(short_lengths, (1, 2)).mean() > 0.95
    long_lengths = lengths[full][:, ~short]
    assert set(np.unique(long_lengths[long_lengths > 0])) == {5, 6, 7, 8, 9, 10}


def test_faint_sounds_are_like_classes_and_weaker_than_events() -> None:
    """Along a class's direction, where the class has no event."""

    def loudest(made: SyntheticClips) -> tuple[float, float]:
        mask = made.clips.mask()
        along = (made.clips.embeddings[mask].astype(float) - 128) @ class_means(make()).T
        events = made.events[mask]
        return float(np.median(along[events])), float(np.quantile(along[~events], 0.98))

    event, faint = loudest(make())
    _, nothing = loudest(make(dataclasses.replace(CONFIG, faint_sounds=0)))
    assert 1.2 * nothing < faint < event / 1.5


# Padding and shapes.


def test_short_clips_exist_and_padding_is_zero() -> None:
    made = make()
    segments = made.clips.num_segments
    assert (segments < CONFIG.max_segments).mean() == pytest.approx(
        CONFIG.short_clip_rate, abs=0.02
    )
    assert set(np.unique(segments)) == set(range(1, 11))
    assert not made.clips.embeddings[~made.clips.mask()].any()
    assert not made.events[~made.clips.mask()].any()
    assert made.clips.embeddings[made.clips.mask()].any(axis=1).all()
    assert (make(dataclasses.replace(CONFIG, short_clip_rate=0.0)).clips.num_segments == 10).all()


@pytest.mark.parametrize(
    ("num_clips", "time", "features", "num_classes", "faint"),
    [(50, 1, 8, 2, 2), (1, 4, 3, 1, 0), (1001, 30, 16, 7, 5), (20, 2, 1, 527, 1)],
)
def test_other_sizes(
    num_clips: int, time: int, features: int, num_classes: int, faint: int
) -> None:
    config = SyntheticConfig(
        num_clips=num_clips,
        max_segments=time,
        num_features=features,
        num_classes=num_classes,
        faint_sounds=faint,
        short_clip_rate=0.5,
    )
    made = synthetic_clips(config)
    made.clips.check_values()
    assert made.clips.embeddings.shape == (num_clips, time, features)
    assert made.clips.num_classes == len(made.classes) == num_classes
    assert made.events.shape == (num_clips, time, num_classes)
    assert (np.diff(made.clips.label_offsets) > 0).all()
    assert made.events.any(axis=(1, 2)).all()
    assert not made.clips.embeddings[~made.clips.mask()].any()


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(SyntheticConfig)])
def test_a_wrong_value_is_one_line(field: str) -> None:
    with raises_user_error(field, "-1"):
        SyntheticConfig(**{field: -1})
    if field.endswith("_rate"):
        with raises_user_error(field, "1.5", "0 to 1"):
            SyntheticConfig(**{field: 1.5})


# The demo.


@pytest.mark.slow
def test_the_demo_runs_from_end_to_end_and_again(tmp_path: Path) -> None:
    workdir = tmp_path / "demo"
    flags = (f"--workdir={workdir}", "--num_clips=300", "--steps=2")
    # What a demo leaves that is stopped while it writes records.
    unfinished = workdir / "data" / "records" / ".train.partial"
    unfinished.mkdir(parents=True)
    (unfinished / "zz.tfrecord").write_bytes(b"half a rec")

    first = run("demo", *flags)
    assert first.returncode == 0, first.stderr
    what, when = first.stdout.split("\n\n")
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in what.splitlines()]
    assert rows[0] == ["model", "step", "mAP", "AUC", "d-prime"]
    assert [row[0] for row in rows[2:]] == ["2-A-1-A", "average-pooling"]
    assert (workdir / "table.md").read_text() == first.stdout
    results = json.loads((workdir / "results.json").read_text())
    for line in when.splitlines()[2:]:
        name, score, *figures = re.split(r"\s*\|\s*", line)[1:-1]
        told = results["models"][name]["when"][score]
        for cell, figure in zip(figures, ("average_precision", "auc", "within_clips"), strict=True):
            assert float(cell) == pytest.approx(told[figure], abs=5e-4)
    for row in rows[2:]:
        model = results["models"][row[0]]
        assert [float(cell) for cell in row[1:]] == [
            pytest.approx(model[name], abs=5e-4) for name in ("step", "mAP", "AUC", "d_prime")
        ]
        assert model["evaluated_on"] == "eval"
        assert model["num_clips"] == 30
        assert model["clips"]["train"] + model["clips"]["validation"] == 300
        assert (workdir / row[0] / "results.json").is_file()
    for split in ("train", "eval"):
        assert list((workdir / "data" / "records" / split).glob("*.tfrecord"))
        assert (workdir / "data" / "packed" / split / "manifest.json").is_file()
    assert not unfinished.exists()

    # What is lost is made again, and only that.
    shutil.rmtree(workdir / "data" / "packed" / "eval")
    (workdir / "table.md").unlink()
    again = run("demo", *flags)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout == (workdir / "table.md").read_text()
    assert "the train clips are packed already" in again.stderr
    assert "packing" in again.stderr
    assert "generating" not in again.stderr
    assert again.stderr.count("is finished: 2 steps") == 2

    other = run("demo", f"--workdir={workdir}", "--num_clips=200")
    assert other.returncode == 2
    assert other.stderr.startswith("error: ")
    assert other.stderr.count("\n") == 1
    assert "--workdir" in other.stderr


@pytest.mark.slow
def test_the_demo_refuses_a_folder_without_features(tmp_path: Path) -> None:
    done = run("demo", f"--data={tmp_path}", f"--workdir={tmp_path}/demo")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/bal_train has no .tfrecord files")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_attention_beats_average_pooling_in_the_demo(tmp_path: Path) -> None:
    done = run("demo", f"--workdir={tmp_path}/demo")
    assert done.returncode == 0, done.stderr
    models = json.loads((tmp_path / "demo" / "results.json").read_text())["models"]
    attention, average = models["2-A-1-A"]["mAP"], models["average-pooling"]["mAP"]
    assert attention > 0.74
    assert average > 0.48  # beaten, but well trained
    assert attention > average + 0.1
    for score in ("in_context", "alone"):
        when = [models[name]["when"][score] for name in ("2-A-1-A", "average-pooling")]
        assert when[0]["average_precision"] > when[1]["average_precision"]
