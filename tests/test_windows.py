"""Windows cover clips of any length, and batches of them hold what the clips hold."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mla_jax.config import DataConfig
from mla_jax.data import frames, recordings, sources
from mla_jax.data.clips import ClipSet, concatenate
from mla_jax.data.packed import pack
from mla_jax.data.record_writer import write_records
from mla_jax.data.windows import batches_of_windows, find_windows
from tests.helpers import raises_user_error, random_clips


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
    found = find_windows(lengths, window, hop)
    expected = [(i, *w) for i, n in enumerate(lengths.tolist()) for w in by_hand(n, window, hop)]
    assert list(zip(*(column.tolist() for column in found), strict=True)) == expected


@pytest.mark.parametrize(
    ("window", "hop", "width", "size"), [(3, 3, 3, 4), (3, 1, 3, 7), (9, 9, 9, 5), (5, 5, 5, 6)]
)
def test_batches_hold_the_segments_of_the_clips(
    window: int, hop: int, width: int, size: int
) -> None:
    clips = random_clips(num_clips=23, time=5)
    chunks = [clips[:1], clips[1:9], clips[9:]]
    batches = list(
        batches_of_windows(
            chunks, window=window, hop=hop, width=width, batch_size=size, segment_seconds=0.5
        )
    )
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
    for batch in batches_of_windows([clips], window=5, hop=5, width=5, batch_size=6):
        assert np.shares_memory(batch.embeddings, clips.embeddings)


def test_no_more_is_read_than_is_needed() -> None:
    clips = random_clips(num_clips=20)
    taken: list[int] = []

    def chunks() -> object:
        for i in range(0, 20, 4):
            taken.append(i)
            yield clips[i : i + 4]

    batches = batches_of_windows(chunks(), window=5, hop=5, width=5, batch_size=4)  # type: ignore[arg-type]
    assert taken == []
    next(batches)
    assert taken == [0]


def test_windows_that_leave_segments_out_are_refused() -> None:
    for window, hop, message in ((0, 1, "window=0"), (5, 6, "hop=6"), (5, 0, "hop=0")):
        with raises_user_error(message):
            batches_of_windows([], window=window, hop=hop, width=5, batch_size=4)


def long_and_short() -> list[ClipSet]:
    """Clips of 1 to 5 segments, one of 20,000, and short ones again; by files."""
    rng = np.random.default_rng(5)
    recording = ClipSet.from_arrays(
        rng.integers(1, 256, (1, 20_000, 4)).astype(np.uint8),
        [[2]],
        num_classes=7,
        video_ids=["recording"],
        start_times=np.array([3.0]),
    )
    last = random_clips(num_clips=6, seed=2)
    last = dataclasses.replace(last, start_times=last.start_times + 100)
    return [random_clips(num_clips=9, seed=1), recording, last]


def test_records_of_any_length_are_read(tmp_path: Path) -> None:
    sets = long_and_short()
    for name, clips in zip("abc", sets, strict=True):
        write_records(clips, tmp_path / name)
        for path in (tmp_path / name).iterdir():
            path.rename(tmp_path / f"{name}{path.name}")
    files = sorted(tmp_path.glob("*.tfrecord"))
    stored = [f for path in files for f in frames.read_frames([path])]
    assert sum(len(f.payload) > recordings._SMALL_BYTES for f in stored) == 1
    stream = sources.stream_clips(
        str(tmp_path), DataConfig(), 7, num_features=4, needs_labels=False
    )
    chunks = list(stream.chunks)
    assert stream.clips == 16
    assert stream.place == f"file {len(files)} of {len(files)}"
    assert max(chunk.embeddings.shape[1] for chunk in chunks if len(chunk) > 1) <= 5
    found = {}
    for chunk in chunks:
        for i, video_id in enumerate(chunk.video_ids.tolist()):
            found[video_id, chunk.start_times[i]] = chunk.embeddings[i, : chunk.num_segments[i]]
    assert len(found) == 16
    for clips in sets:
        for i, video_id in enumerate(clips.video_ids.tolist()):
            np.testing.assert_array_equal(
                found[video_id, clips.start_times[i]], clips.embeddings[i, : clips.num_segments[i]]
            )


def test_a_stream_is_lazy_and_says_how_much_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_CHUNK_CLIPS", 6)
    clips = random_clips(num_clips=20)
    pack([clips], tmp_path / "packed")
    np.savez(tmp_path / "a.npz", x=clips.embeddings, y=clips.multi_hot())
    for name in ("packed", "a.npz"):
        stream = sources.stream_clips(str(tmp_path / name), DataConfig(), 7, num_features=4)
        assert (stream.total, stream.time, stream.clips) == (20, 5, 0)
        first = next(stream.chunks)
        assert (len(first), stream.clips) == (6, 6)
        rest = concatenate([first, *stream.chunks])
        np.testing.assert_array_equal(rest.embeddings, clips.embeddings)
        assert stream.clips == 20
    with raises_user_error("7 classes, but 9 are in use"):
        sources.stream_clips(str(tmp_path / "packed"), DataConfig(), 9, num_features=4)
    with raises_user_error("/no/where does not exist"):
        sources.stream_clips("/no/where", DataConfig(), 7, num_features=4)
    # What only reading shows is told then, as that an array is missing.
    np.savez(tmp_path / "b.npz", y=clips.multi_hot())
    with raises_user_error("has no array x"):
        next(sources.stream_clips(f"{tmp_path}/b.npz", DataConfig(), 7, num_features=4).chunks)
    (tmp_path / "bad.tfrecord").write_bytes(b"nothing of the kind")
    skip = DataConfig(bad_records="skip")
    stream = sources.stream_clips(f"{tmp_path}/bad.tfrecord", skip, 7, num_features=4)
    with raises_user_error("has no record that can be used"):
        list(stream.chunks)
    assert len(stream.skipped) == 1
