"""What several test files need: clips to work on, and ways to compare them."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mla_jax.data.clips import ClipSet
from mla_jax.data.embedding import Scaling
from mla_jax.data.formats.format import ReadOptions
from mla_jax.data.skipped import Skipped
from mla_jax.data.sources import open_clips
from mla_jax.errors import UserError

FIELDS = (
    "embeddings",
    "num_segments",
    "label_offsets",
    "label_ids",
    "video_ids",
    "start_times",
)


def random_clips(
    *,
    num_clips: int = 20,
    time: int = 5,
    features: int = 4,
    num_classes: int = 7,
    dtype: str = "uint8",
    seed: int = 0,
    scaling: Scaling | None = None,
) -> ClipSet:
    """Clips of 1 to `time` segments and 1 to 4 labels; no two clips, ids or start times are alike."""
    rng = np.random.default_rng(seed)
    shape = (num_clips, time, features)
    if dtype == "uint8":
        embeddings = rng.integers(0, 256, shape).astype(np.uint8)
    else:
        embeddings = rng.normal(size=shape).astype(dtype)
    num_segments = rng.integers(1, time + 1, num_clips)
    embeddings[np.arange(time) >= num_segments[:, None]] = 0
    return ClipSet.from_arrays(
        embeddings,
        [
            rng.choice(num_classes, rng.integers(1, min(4, num_classes) + 1), replace=False)
            for _ in range(num_clips)
        ],
        num_classes=num_classes,
        num_segments=num_segments,
        video_ids=[f"{'-_aZ9'[i % 5]}{i}{'x' * (i % 4)}" for i in range(num_clips)],
        start_times=rng.permutation(num_clips) + 0.25,
        scaling=scaling,
    )


def described(clips: ClipSet, **facts: Any) -> ClipSet:
    """The same clips, of which these facts about their embeddings are known."""
    return dataclasses.replace(clips, embedding=dataclasses.replace(clips.embedding, **facts))


def read_clips(path: str | Path, skipped: list[Skipped] | None = None, **options: Any) -> ClipSet:
    """What a data path names; by default of the classes and the time of `random_clips`."""
    return open_clips(
        str(path), ReadOptions(**{"num_classes": 7, "max_segments": 5, **options}), skipped
    )


def in_order_of_files(clips: ClipSet) -> ClipSet:
    """In the order in which they are read when they were written as records."""
    return clips[np.argsort([bytes(v[:2]) for v in clips.video_ids], kind="stable")]


def assert_same_clips(actual: ClipSet, expected: ClipSet) -> None:
    """Every field has the same values, shape and dtype (byte strings may be stored wider)."""
    for name in FIELDS:
        ours, theirs = getattr(actual, name), getattr(expected, name)
        np.testing.assert_array_equal(ours, theirs, err_msg=name, strict=name != "video_ids")
        assert ours.dtype.kind == theirs.dtype.kind, name
    np.testing.assert_array_equal(actual.known_labels(), expected.known_labels())
    assert actual.num_classes == expected.num_classes
    assert actual.embedding == expected.embedding


def few(chosen: Collection[str], forms: Iterable[str]) -> list[Any]:
    """Names to parametrize a test by, of which those that are not chosen are slow."""
    return [f if f in chosen else pytest.param(f, marks=pytest.mark.slow) for f in forms]


@contextlib.contextmanager
def raises_user_error(*parts: str) -> Iterator[None]:
    """What is inside must raise a `UserError` of one line that contains every one of `parts`."""
    with pytest.raises(UserError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Returns when the condition holds; it must within so many seconds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not come about"
        time.sleep(0.005)
