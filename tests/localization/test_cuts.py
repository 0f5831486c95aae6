"""Strong labels of recordings that were cut into clips."""

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.localization.cuts import labels_of_cuts
from mla_jax.localization.events import segment_reference, segments_to_events
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
