"""Recordings through an encoder: the same numbers however they come, and what cannot be used."""

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mla_jax.audio.decode import read_sound
from mla_jax.audio.embed import Embedded, Span, embed_file, embed_files
from mla_jax.audio.encoder import Encoder, cut
from mla_jax.audio.statistics import LOG_MEL_STATISTICS
from tests.audio.sounds import cut_in_half, noise, write_sound
from tests.support.helpers import raises_user_error


def loudness(examples: np.ndarray) -> np.ndarray:
    tenths = examples.reshape(len(examples), 10, 1600)
    return 10 * np.log10(np.square(tenths).mean(axis=2) + 1e-10)


LOUDNESS = Encoder(name="loudness", embed=loudness, num_features=10)


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    """As the docstring of `Encoder` has it."""
    loud, soft = noise(0.5, 44_100), 0.1 * noise(0.5, 44_100)
    path = write_sound(tmp_path / "a.flac", np.concatenate([loud, soft, soft]), 44_100)
    embedded = embed_file(path, LOUDNESS)
    assert embedded.embeddings.shape == (2, 10)
    assert embedded.embeddings.dtype == np.float32
    assert embedded.starts.tolist() == [0.0, 1.0]
    assert (embedded.path, embedded.seconds, embedded.flags) == (str(path), 1.5, ())
    fall = embedded.embeddings[0, :4].mean() - embedded.embeddings[0, 6:].mean()
    assert 19 < fall < 21
    np.testing.assert_allclose(embedded.embeddings[1, 6:], -100, atol=1e-4)  # padding


@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_a_stream_is_what_one_pass_gives_to_the_bit(tmp_path: Path, kind: str) -> None:
    path = write_sound(tmp_path / f"a.{kind}", noise(9.3, 44_100), 44_100)
    samples, _ = read_sound(path)
    examples = np.stack(list(cut([samples], LOG_MEL_STATISTICS)))
    assert len(examples) == 10
    one_pass = np.asarray(LOG_MEL_STATISTICS.embed(examples))
    streamed = embed_file(path, LOG_MEL_STATISTICS, batch_size=10)
    np.testing.assert_array_equal(streamed.embeddings, one_pass)


def test_the_batch_size_changes_nothing_but_rounding(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", noise(9.3))
    expected = embed_file(path, LOG_MEL_STATISTICS).embeddings
    for batch_size in (1, 3, 10):
        found = embed_file(path, LOG_MEL_STATISTICS, batch_size=batch_size).embeddings
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_many_files_are_what_each_is_alone_in_their_order(tmp_path: Path) -> None:
    paths = [
        write_sound(tmp_path / f"{i}.wav", noise(seconds, seed=i))
        for i, seconds in enumerate((0.3, 4.0, 1.0, 2.5))
    ]
    for batch_size in (2, 3, 100):
        found = list(embed_files(paths, LOUDNESS, batch_size=batch_size))
        assert [e.path for e in found] == [str(path) for path in paths]
        assert [e.flags for e in found] == [("short",), (), (), ()]
        for path, embedded in zip(paths, found, strict=True):
            alone = embed_file(path, LOUDNESS)
            np.testing.assert_array_equal(embedded.embeddings, alone.embeddings)
            np.testing.assert_array_equal(embedded.starts, alone.starts)


def test_files_come_as_soon_as_they_are_done(tmp_path: Path) -> None:
    paths = [write_sound(tmp_path / f"{i}.wav", noise(2.0)) for i in range(9)]
    taken = []

    def given():
        for path in paths:
            taken.append(path)
            yield path

    next(embed_files(given(), LOUDNESS, batch_size=2, threads=1))
    assert len(taken) == 3


def test_what_cannot_be_used_stops_nothing_else(tmp_path: Path) -> None:
    good = write_sound(tmp_path / "good.wav", noise(2.0))
    late = noise(3.0)
    late[40_000] = np.nan
    late_nan = write_sound(tmp_path / "nan.wav", late, subtype="FLOAT")
    garbage = tmp_path / "garbage.wav"
    garbage.write_bytes(b"garbage" * 1000)
    silent = write_sound(tmp_path / "silent.wav", np.zeros(32_000, np.float32))
    half = cut_in_half(write_sound(tmp_path / "a.flac", noise(8.0)))
    files = [good, late_nan, garbage, silent, half, tmp_path / "nowhere.wav", good]
    found = list(embed_files(files, LOUDNESS))
    assert [bool(e.error) for e in found] == [False, True, True, False, False, True, False]
    assert [e.flags for e in found] == [(), (), (), ("silent",), ("cut",), (), ()]
    for path, embedded in zip(files, found, strict=True):
        assert embedded.path == str(path)
        if embedded.error:
            assert str(path) in embedded.error
            assert embedded.embeddings.shape == (0, 10)
            with raises_user_error(str(path)):
                embed_file(path, LOUDNESS)
    np.testing.assert_array_equal(found[0].embeddings, found[-1].embeddings)


@pytest.mark.parametrize("hop_seconds", [1.0, 0.48])
def test_spans_together_are_the_whole(tmp_path: Path, hop_seconds: float) -> None:
    encoder = dataclasses.replace(LOG_MEL_STATISTICS, hop_seconds=hop_seconds)
    path = write_sound(tmp_path / "a.ogg", noise(10.3, 44_100), 44_100)
    whole = embed_file(path, encoder)
    spans = [Span(path, first, 4) for first in range(0, len(whole.starts), 4)]
    parts = list(embed_files(spans, encoder))
    assert {e.flags for e in parts} == {()}
    np.testing.assert_array_equal(np.concatenate([e.starts for e in parts]), whole.starts)
    np.testing.assert_allclose(
        np.concatenate([e.embeddings for e in parts]), whole.embeddings, rtol=0, atol=1e-5
    )
    rest = next(embed_files([Span(path, first=3)], encoder))
    np.testing.assert_allclose(rest.embeddings, whole.embeddings[3:], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("embed", "dtype", "message"),
    [
        (lambda examples: examples[:, :3], "float32", "(32, 3)"),
        (lambda examples: examples[:1, :10], "float32", "(1, 10)"),
        (lambda examples: examples[:, :10], "uint8", "not uint8"),
        (lambda examples: np.full((32, 10), np.nan), "float32", "NaN"),
        (lambda examples: np.full((32, 10), 1e5, np.float32), "float16", "float16 cannot hold"),
    ],
)
def test_an_encoder_that_breaks_its_word(tmp_path: Path, embed, dtype: str, message: str) -> None:
    path = write_sound(tmp_path / "a.wav", noise(1.0))
    encoder = Encoder(name="mine", embed=embed, num_features=10, dtype=dtype)
    with raises_user_error("encoder mine gave", message):
        embed_file(path, encoder)


def test_a_long_recording_is_never_in_memory(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", noise(300.0))
    encoder = dataclasses.replace(LOUDNESS, embed=lambda examples: loudness(examples))
    tracemalloc.start()
    embedded: Embedded = embed_file(path, encoder, batch_size=8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert embedded.embeddings.shape == (300, 10)
    assert peak < 8e6 < 300 * 16_000 * 4 / 2
