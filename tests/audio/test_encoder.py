"""How a recording becomes examples, and what an encoder says of itself."""

import dataclasses
import json

import numpy as np
import pytest

from mla_jax.audio.encoder import Encoder, Remainder, cut
from mla_jax.data.embedding import Embedding, Scaling
from tests.support.helpers import raises_user_error


def encoder(example_seconds: float = 1.0, hop_seconds: float = 1.0, rate: int = 100) -> Encoder:
    return Encoder(
        name="mine",
        embed=lambda examples: examples[:, :1],
        num_features=1,
        sample_rate=rate,
        example_seconds=example_seconds,
        hop_seconds=hop_seconds,
    )


def examples_of(samples: int, made: Encoder, remainder: Remainder, block: int) -> list[np.ndarray]:
    recording = np.arange(1, samples + 1, dtype=np.float32)
    return list(cut(np.array_split(recording, max(1, samples // block)), made, remainder))


@pytest.mark.parametrize("remainder", ["pad", "drop"])
@pytest.mark.parametrize(
    ("example_seconds", "hop_seconds"),
    [(1.0, 1.0), (0.97, 1.0), (0.97, 0.96), (0.97, 0.48), (1, 3)],
)
def test_each_example_is_the_sound_at_its_time(
    example_seconds: float, hop_seconds: float, remainder: Remainder
) -> None:
    made = encoder(example_seconds, hop_seconds)
    for samples in (1, 9, 96, 97, 98, 100, 105, 109, 110, 111, 150, 197, 200, 207, 310, 777):
        found = examples_of(samples, made, remainder, block=23)
        assert len(found) == made.num_segments(samples, remainder)
        starts = np.round(made.starts(len(found)) * 100).astype(int)
        assert np.diff(starts).tolist() == [made.hop_samples] * (len(found) - 1)
        for start, example in zip(starts, found, strict=True):
            expected = np.zeros(made.example_samples)
            there = np.arange(start, min(start + made.example_samples, samples))
            expected[: len(there)] = there + 1
            np.testing.assert_array_equal(example, expected)


@pytest.mark.parametrize(
    ("hop", "seconds", "padded", "dropped"),
    [
        (1.0, 0.5, 1, 1),  # short: always padded
        (1.0, 0.98, 1, 1),
        (1.0, 5.0, 5, 5),
        (1.0, 5.05, 5, 5),  # less than a tenth of a second makes no example
        (1.0, 5.1, 6, 5),
        (1.0, 5.98, 6, 6),
        (0.96, 10.0, 11, 10),
        (0.48, 0.98, 1, 1),
        (0.48, 1.06, 1, 1),
        (0.48, 1.08, 2, 1),
        (0.48, 5.0, 10, 9),
    ],
)
def test_the_last_example(hop: float, seconds: float, padded: int, dropped: int) -> None:
    made = encoder(0.98, hop)
    samples = round(seconds * 100)
    assert made.num_segments(samples, "pad") == padded
    assert made.num_segments(samples, "drop") == dropped


def test_no_sound_has_no_segment() -> None:
    assert encoder().num_segments(0) == 0
    assert not list(cut([], encoder()))


def test_a_recording_in_two_spans_has_the_same_examples() -> None:
    made = encoder(0.97, 0.48)
    recording = np.arange(777, dtype=np.float32)
    whole = list(cut([recording], made))
    rest = list(cut([recording[5 * 48 :]], made, first=5))
    np.testing.assert_array_equal(rest, whole[5:])
    # Too little is left for a segment of the whole, so it is none of a span either.
    assert made.num_segments(5 * 48 + 52) == 5
    assert not list(cut([recording[: 4 + 48]], made, first=5))
    assert list(cut([recording[: 4 + 48]], made))


def test_times_do_not_drift() -> None:
    """A day of hops of 0.96 s, to the bit."""
    made = encoder(0.975, 0.96, rate=16_000)
    starts = made.starts(90_000)
    assert starts[-1] == 89_999 * 15_360 / 16_000
    assert starts.dtype == np.float64
    np.testing.assert_array_equal(made.starts(10, first=1000), starts[1000:1010])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hop_seconds", 0.0),
        ("hop_seconds", -1.0),
        ("hop_seconds", float("nan")),
        ("example_seconds", 0.9999),
        ("example_seconds", float("inf")),
        ("num_features", 0),
        ("sample_rate", 0),
        ("dtype", "int16"),
    ],
)
def test_what_cannot_be(field: str, value: float) -> None:
    with raises_user_error("encoder mine", field):
        dataclasses.replace(encoder(), **{field: value})


def test_its_description_is_all_that_counts_but_the_function() -> None:
    made = dataclasses.replace(encoder(0.97, 0.48), dtype="uint8", postprocessing="rounded")
    assert made.describe() == Embedding(
        dtype="uint8",
        num_features=1,
        scaling=Scaling(128.0, 128.0),
        encoder="mine",
        postprocessing="rounded",
        hop_seconds=0.48,
        example_seconds=0.97,
        details={"sample_rate": "100"},
    )
    assert Embedding.from_json(json.loads(json.dumps(made.describe().to_json()))) == made.describe()
    assert made == dataclasses.replace(made, embed=lambda examples: examples)
    assert made != dataclasses.replace(made, hop_seconds=0.96)
