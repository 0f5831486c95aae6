"""Strong labels of recordings that were cut into clips."""

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.localization.cuts import labels_of_cuts
from mla_jax.localization.events import segment_reference, segments_to_events
from mla_jax.localization.strong_labels import Event
from tests.support.helpers import raises_user_error


@pytest.mark.parametrize("seconds", [1.0, 0.5])
def test_cuts_have_what_the_whole_has(seconds: float) -> None:
    rng = np.random.default_rng(0)
    active = rng.random((2, 12, 3)) < 0.4
    labels = segments_to_events(active, ["a.wav", "b.wav"], resolution=seconds)
    embeddings = np.ones((4, 5, 2), np.float32)
    counts = np.array([5, 5, 2, 5])
    clips = mla.ClipSet.from_arrays(
        embeddings,
        [[0]] * 4,
        num_classes=3,
        num_segments=counts,
        video_ids=["a", "a", "a", "b.wav"],
        start_times=np.array([0, 5, 10, 0]) * seconds,
    )
    by_clip, ids = labels_of_cuts(labels, clips, seconds)
    assert len(set(ids)) == 4
    assert ids[3] == "b.wav"
    assert by_clip["b.wav"] == labels["b.wav"]
    found = segment_reference(by_clip, ids, clips.mask(), 3, resolution=seconds)
    np.testing.assert_array_equal(np.concatenate(found.active[:3])[:12], active[0])
    np.testing.assert_array_equal(found.active[3], active[1, :5])
    with raises_user_error("3 clips have the id 'a'"):
        segment_reference(labels, clips.video_ids, clips.mask(), 3, resolution=seconds)


def test_without_cuts_nothing_changes() -> None:
    clips = mla.ClipSet.from_arrays(np.ones((2, 3, 2), np.float32), [[0], [0]], num_classes=1)
    labels = {"clip0000000.wav": [(0.5, 1.0, 0)], "other": []}
    by_clip, ids = labels_of_cuts(labels, clips, 1.0)  # type: ignore[arg-type]
    assert by_clip == labels
    assert ids == ["clip0000000", "clip0000001"]


def test_files_of_one_video_go_to_the_clips_of_their_starts() -> None:
    video = "-_aB3456789"
    clips = mla.ClipSet.from_arrays(
        np.ones((3, 10, 2), np.float32),
        [[0]] * 3,
        num_classes=1,
        video_ids=[video] * 3,
        start_times=np.array([100.0, 30.0, 0.0]),
    )
    labels = {
        f"{video}_30000": [Event(1.0, 2.0, 0)],
        f"{video}_100000": [Event(3.0, 4.0, 0)],
        f"Y{video}_7.000_17.000.wav": [],
    }
    by_clip, ids = labels_of_cuts(labels, clips, 1.0)
    truth = segment_reference(
        by_clip,
        ids,
        clips.mask(),
        1,
        unmatched="skip",
        start_times=clips.start_times,
    )
    assert np.argwhere(truth.active)[:, :2].tolist() == [[0, 3], [1, 1]]
    assert truth.files_without_clip == (f"Y{video}_7.000_17.000.wav",)
    assert truth.mask.any(axis=1).tolist() == [True, True, False]
    with raises_user_error("another file", f"'{video}, from 100.0 s'"):
        labels_of_cuts(labels | {f"{video}.wav": []}, clips, 1.0)
