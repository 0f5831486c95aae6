"""Examples are the best, the typical and the worst clips by the stated score, and differ in their labels."""

import numpy as np

import mla_jax as mla
from mla_jax.explain import examples
from mla_jax.localization.events import Reference
from tests.support.untrained import WORLD, untrained_model


def test_examples_are_best_typical_and_worst_by_the_stated_score() -> None:
    world, trained = mla.synthetic_clips(WORLD, "eval"), untrained_model(architecture="1-A")
    clips, labels = world.clips, world.clips.multi_hot()
    probs = trained.predict(clips)
    scores = examples.clip_scores(probs, labels)
    expected = [p[y].mean() - p[~y].max() for p, y in zip(probs, labels, strict=True)]
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    mask = clips.mask()
    mask[scores.argmax()] = False  # of the best nothing is known
    truth = Reference(world.events, mask, np.ones(world.events.shape[2], bool))
    shown = examples.example_clips(trained, clips, probs, labels, truth)
    assert [e.kind for e in shown] == ["best"] * 2 + ["typical"] * 2 + ["worst"] * 2
    assert shown[0].score == scores.max()
    assert shown[4].score == scores.min()
    off_middle = np.abs(scores - np.median(scores))
    assert off_middle[scores.tolist().index(shown[2].score)] == off_middle.min()
    for example in shown:
        i = [v.decode() for v in clips.video_ids].index(example.video_id)
        length = clips.num_segments[i]
        assert example.start_time == clips.start_times[i]
        assert example.is_label == [k in clips.labels_of(i) for k in example.classes]
        np.testing.assert_array_equal(example.probabilities, probs[i, example.classes])
        assert example.maps["segment score"].values.shape == (len(example.classes), length)
        if example is shown[0]:
            assert example.events is None
        else:
            sounds = world.events[i, :length].T[example.classes]
            np.testing.assert_array_equal(example.events, sounds)


def test_examples_differ_in_their_labels_and_pass_over_clips_without() -> None:
    labels = np.array([[1, 0], [1, 0], [0, 1], [0, 0], [1, 1], [0, 1], [1, 0]], bool)
    probs = np.array([[9, 0], [8, 0], [0, 7], [9, 0], [9, 0], [6, 0], [3, 2]]) / 10
    scores = examples.clip_scores(probs, labels)
    np.testing.assert_allclose(scores, [0.9, 0.8, 0.7, np.nan, np.nan, -0.6, 0.1])
    chosen = examples.choose_examples(scores, labels, 2)
    assert chosen["best"] == [0, 2]  # 1 has the labels of 0
    rows = [i for kind in chosen.values() for i in kind]
    assert len(rows) == len(set(rows)) >= 4
    assert examples.choose_examples(np.full(3, np.nan), labels[:3], 2)["best"] == []


def test_labels_are_shown_first_and_then_the_most_probable_others() -> None:
    probs, labels = np.array([0.1, 0.9, 0.5, 0.2]), np.array([1, 0, 0, 1], bool)
    assert examples.classes_to_show(probs, labels) == [3, 0, 1, 2]
