"""Windows cover clips of any length, and batches of them hold what the clips hold."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.data.segment_seconds import assumed_segment_seconds
from mla_jax.data.windows import Windowing, batches_of_windows, find_windows, segment_times
from tests.support.helpers import described, raises_user_error, random_clips


def by_hand(length: int, window: int, hop: int) -> list[tuple[int, int]]:
    """(start, length) of the windows of one clip, one after the other."""
    start, found = 0, []
    while True:
        found.append((start, min(window, length - start)))
        if start + window >= length:
            return found
        start += hop


@pytest.mark.parametrize(("window", "hop"), [(1, 1), (5, 5), (5, 2), (5, 1), (4, 3), (30, 7)])
def test_windows_are_those_found_by_hand(window: int, hop: int) -> None:
    lengths = np.arange(1, 40)
    found = find_windows(lengths, Windowing(window, hop))
    expected = [(i, *w) for i, n in enumerate(lengths.tolist()) for w in by_hand(n, window, hop)]
    assert list(zip(*(column.tolist() for column in found), strict=True)) == expected


@pytest.mark.parametrize(
    ("window", "hop", "width", "size"), [(3, 3, 3, 4), (3, 1, 3, 7), (9, 9, 9, 5), (5, 5, 5, 6)]
)
def test_batches_hold_the_segments_of_the_clips(
    window: int, hop: int, width: int, size: int
) -> None:
    clips = described(random_clips(num_clips=23, time=5), hop_seconds=0.5)
    chunks = [clips[:1], clips[1:9], clips[9:]]
    batches = list(batches_of_windows(chunks, Windowing(window, hop), width=width, batch_size=size))
    assert {len(batch) for batch in batches[:-1]} <= {size}
    assert {batch.embeddings.shape[1:] for batch in batches} == {(width, 4)}
    joined = concatenate(batches)
    joined.check_values()
    item = 0
    for i, length in enumerate(clips.num_segments.tolist()):
        for start, count in by_hand(length, window, hop):
            assert joined.video_ids[item] == clips.video_ids[i]
            assert joined.start_times[item] == clips.start_times[i] + 0.5 * start
            assert joined.num_segments[item] == count
            np.testing.assert_array_equal(
                joined.embeddings[item, :count], clips.embeddings[i, start : start + count]
            )
            assert not joined.embeddings[item, count:].any()
            item += 1
    assert item == len(joined)


def test_clips_that_fit_are_not_copied() -> None:
    clips = random_clips(num_clips=20)
    for batch in batches_of_windows([clips], Windowing(5, 5), width=5, batch_size=6):
        assert np.shares_memory(batch.embeddings, clips.embeddings)


def test_no_more_is_read_than_is_needed() -> None:
    clips = random_clips(num_clips=20)
    taken: list[int] = []

    def chunks() -> Iterator[ClipSet]:
        for i in range(0, 20, 4):
            taken.append(i)
            yield clips[i : i + 4]

    batches = batches_of_windows(chunks(), Windowing(5, 5), width=5, batch_size=4)
    assert taken == []
    next(batches)
    assert taken == [0]


def test_windows_that_leave_segments_out_are_refused() -> None:
    for window, hop, message in ((0, 1, "window=0"), (5, 6, "hop=6"), (5, 0, "hop=0")):
        with raises_user_error(message):
            Windowing(window, hop)


def test_times_are_as_given_and_as_the_clips_say(caplog: pytest.LogCaptureFixture) -> None:
    starts = np.array([0.123456789, 86_400.0, 1_700_000_010.0])
    clips = dataclasses.replace(random_clips(num_clips=3), start_times=starts)
    rows, segments = np.indices((3, 4))
    times = segment_times(described(clips, hop_seconds=0.96), rows, segments)
    assert times[:, 0].tolist() == starts.tolist()
    assert times[1].tolist() == [86_400.0, 86_400.96, 86_401.92, 86_402.88]
    assert times[2].tolist() == [1_700_000_010.0 + t for t in (0.0, 0.96, 1.92, 2.88)]
    assert not caplog.messages
    # What nothing says is said.
    assumed_segment_seconds.cache_clear()
    assert segment_times(clips, rows, segments)[1].tolist() == [86_400.0 + t for t in range(4)]
    assert "neither data nor run say how long a segment is" in caplog.text
