"""Long recordings in spans: together they are the whole."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mla_jax.audio.embed import Span, embed_file, embed_files
from mla_jax.audio.encoder import Encoder
from mla_jax.audio.sound_file import sound_info
from mla_jax.audio.spans import joined, spans_of
from tests.audio.sounds import cut_in_half, noise, without_length, write_sound


def peaks(examples: np.ndarray) -> np.ndarray:
    return np.stack([examples.max(axis=1), examples.std(axis=1)], axis=1)


@pytest.mark.parametrize("hop_seconds", [1.0, 0.4])
@pytest.mark.parametrize("seconds", [0.3, 3.0, 6.05, 9.7])
@pytest.mark.parametrize("step", [2, 3, 100])
def test_spans_joined_are_the_whole(
    tmp_path: Path, hop_seconds: float, seconds: float, step: int
) -> None:
    encoder = Encoder(name="peaks", embed=peaks, num_features=2, hop_seconds=hop_seconds)
    path = write_sound(tmp_path / "a.wav", noise(seconds))
    whole = embed_file(path, encoder)
    spans = spans_of(path, sound_info(path), encoder, step)
    assert len(spans) == max(1, len(whole.starts) // step)
    found = joined(list(embed_files(spans, encoder)))
    np.testing.assert_array_equal(found.embeddings, whole.embeddings)
    np.testing.assert_array_equal(found.starts, whole.starts)
    assert found.seconds == pytest.approx(whole.seconds)
    assert (found.path, found.flags, found.error) == (whole.path, whole.flags, "")


@pytest.mark.parametrize("ending", ["flac", "mp3", "wav", "ogg"])
def test_what_is_cut_ends_where_it_ends_at_once(tmp_path: Path, ending: str) -> None:
    encoder = Encoder(name="peaks", embed=peaks, num_features=2)
    path = cut_in_half(write_sound(tmp_path / f"a.{ending}", noise(20.0)))
    whole = embed_file(path, encoder)
    found = joined(list(embed_files(spans_of(path, sound_info(path), encoder, 3), encoder)))
    assert "cut" in whole.flags
    assert found.flags == whole.flags
    count = len(found.starts)
    assert 0 <= len(whole.starts) - count <= 1  # a damaged block is lost whole, wherever it began
    np.testing.assert_allclose(found.embeddings, whole.embeddings[:count], atol=1e-4)


def test_one_silent_or_bad_span(tmp_path: Path) -> None:
    encoder = Encoder(name="peaks", embed=peaks, num_features=2)
    samples = np.concatenate([np.zeros(48_000, np.float32), noise(6.0)])
    path = write_sound(tmp_path / "a.wav", samples)
    spans = spans_of(path, sound_info(path), encoder, 3)
    parts = list(embed_files(spans, encoder))
    assert [part.flags for part in parts] == [("silent",), (), ()]
    assert joined(parts).flags == ()
    bad = dataclasses.replace(parts[1], error="bad")
    assert joined([parts[0], bad, parts[2]]).error == "bad"


def test_an_uncertain_length_is_one_span(tmp_path: Path) -> None:
    encoder = Encoder(name="peaks", embed=peaks, num_features=2)
    path = without_length(write_sound(tmp_path / "a.mp3", noise(9.0)))
    assert spans_of(path, sound_info(path), encoder, 2) == [Span(path)]
    assert spans_of(path, None, encoder, 2) == [Span(path)]
