"""What embeddings mean: which descriptions agree, and how they are kept."""

import dataclasses
import json
from typing import Any

import pytest

from mla_jax.data.embedding import AUDIOSET, Embedding, Scaling
from tests.support.helpers import raises_user_error

UNKNOWN = Embedding("uint8", 128, Scaling(128.0, 128.0))
DETAILED = dataclasses.replace(AUDIOSET, details={"weights": "abc", "pca": "def"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_features": 64}, "features 128 and 64"),
        ({"dtype": "float32"}, "dtype uint8 and float32"),
        ({"scaling": Scaling(0.0, 255.0)}, "scaling (128, 128) and (0, 255)"),
        ({"encoder": "yamnet"}, "encoder vggish and yamnet"),
        ({"postprocessing": ""}, "postprocessing PCA, 8 bits and none"),
        (
            {"encoder": "unknown", "postprocessing": "8 bits"},
            "postprocessing PCA, 8 bits and 8 bits",
        ),
        ({"hop_seconds": 0.96}, "hop_seconds 1.0 and 0.96"),
        ({"example_seconds": 2.0}, "example_seconds 0.96 and 2.0"),
        ({"details": {"weights": "xyz"}}, "weights abc and xyz"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "+".join(value),
)
def test_each_fact_counts(changes: dict[str, Any], said: str) -> None:
    other = dataclasses.replace(DETAILED, **changes)
    assert DETAILED.difference(other) == said
    assert other.difference(DETAILED)
    assert not other.difference(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": "unknown", "postprocessing": ""},
        {"hop_seconds": None},
        {"example_seconds": None},
        {"example_seconds": 0.975},  # the sound under 0.96 s of frames
        {"details": {}},
        {"details": {"weights": "abc", "sample_rate": "16000"}},
    ],
    ids=lambda changes: "+".join(changes),
)
def test_what_is_unknown_agrees_and_is_learned(changes: dict[str, Any]) -> None:
    other = dataclasses.replace(DETAILED, **changes)
    assert not DETAILED.difference(other)
    assert not other.difference(DETAILED)
    expected = {**other.details, **DETAILED.details}
    assert DETAILED.joined(other) == dataclasses.replace(DETAILED, details=expected)
    seconds = other.example_seconds or DETAILED.example_seconds
    assert other.joined(DETAILED) == dataclasses.replace(
        DETAILED, details=expected, example_seconds=seconds
    )


def test_floats_of_either_size_agree() -> None:
    half, single = (Embedding(f, 3, Scaling(0.0, 1.0), "mine") for f in ("float16", "float32"))
    assert not half.difference(single)


def test_a_day_of_differences_is_said_in_one_line() -> None:
    other = Embedding("float32", 1024, Scaling(0.0, 1.0), "yamnet", hop_seconds=0.48)
    assert AUDIOSET.difference(other).count("; ") == 5
    assert "\n" not in AUDIOSET.difference(other)


def test_it_is_kept_as_plain_values() -> None:
    for kept in (UNKNOWN, AUDIOSET, DETAILED):
        assert Embedding.from_json(json.loads(json.dumps(kept.to_json()))) == kept


def test_in_words() -> None:
    assert str(AUDIOSET) == "vggish (PCA, 8 bits), 128 features of uint8, a segment each 1 s"
    unknown = "of an unknown encoder, 128 features of uint8, segments of unknown length"
    assert str(UNKNOWN) == unknown


@pytest.mark.parametrize(
    ("field", "value"),
    [("dtype", "int16"), ("num_features", 0), ("hop_seconds", 0.0), ("hop_seconds", float("nan"))],
)
def test_what_cannot_be(field: str, value: Any) -> None:
    with raises_user_error():
        dataclasses.replace(AUDIOSET, **{field: value})
