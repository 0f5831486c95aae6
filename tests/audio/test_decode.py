"""Sound files of every kind, whole, in part, and broken."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from mla_jax.audio.decode import Sound, read_sound
from mla_jax.audio.sound_file import sound_info
from tests.audio.sounds import cut_in_half, noise, tone, without_length, write_sound
from tests.support.helpers import raises_user_error

RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000)
LOSSY = ("ogg", "opus", "mp3")


def assert_is_tone(path: Path, seconds: float, tolerance: float) -> None:
    """Every sample but those beside the ends, where a resampler rings."""
    samples, flags = read_sound(path)
    assert flags == ()
    assert samples.dtype == np.float32
    assert abs(len(samples) - seconds * 16_000) <= 0.5
    inner = slice(800, -800)
    np.testing.assert_allclose(
        samples[inner], tone(seconds)[: len(samples)][inner], rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("rate", RATES)
def test_any_sample_rate(tmp_path: Path, rate: int) -> None:
    path = write_sound(tmp_path / "a.wav", tone(2.0, rate), rate)
    assert_is_tone(path, 2.0, 1e-4)


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"),
    [
        ("wav", "PCM_U8", 0.01),
        ("aiff", "PCM_S8", 0.01),
        ("wav", "PCM_16", 1e-4),
        ("wav", "PCM_24", 1e-6),
        ("flac", "PCM_24", 1e-6),
        ("wav", "PCM_32", 1e-6),
        ("wav", "FLOAT", 1e-6),
        ("caf", "FLOAT", 1e-6),
        ("wav", "DOUBLE", 1e-6),
        ("au", "PCM_16", 1e-4),
    ],
)
def test_any_format_and_depth(tmp_path: Path, kind: str, subtype: str, tolerance: float) -> None:
    path = write_sound(tmp_path / f"a.{kind}", tone(1.0), subtype=subtype)
    assert_is_tone(path, 1.0, tolerance)
    info = sound_info(path)
    assert (info.seconds, info.exact, info.sample_rate, info.channels) == (1.0, True, 16_000, 1)
    assert info.format.endswith(subtype)


@pytest.mark.parametrize("kind", LOSSY)
def test_what_loses_something(tmp_path: Path, kind: str) -> None:
    rate = 48_000 if kind == "opus" else 44_100
    assert_is_tone(write_sound(tmp_path / f"a.{kind}", tone(3.0, rate), rate), 3.0, 0.02)


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    weights = np.arange(1, channels + 1, dtype=np.float32) * 2 / (channels + 1)
    samples = tone(0.5)[:, None] * weights / 2
    path = write_sound(tmp_path / "a.wav", samples, subtype="FLOAT")
    assert sound_info(path).channels == channels
    np.testing.assert_allclose(read_sound(path)[0], tone(0.5) / 2, rtol=0, atol=1e-6)


def test_blocks_are_what_one_pass_gives_to_the_bit(tmp_path: Path) -> None:
    samples = noise(5.0, 44_100)
    path = write_sound(tmp_path / "a.wav", samples, 44_100, subtype="FLOAT")
    blocks = list(Sound(path))
    assert len(blocks) > 5
    np.testing.assert_array_equal(np.concatenate(blocks), soxr.resample(samples, 44_100, 16_000))


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "unknown mp3"])
@pytest.mark.parametrize("start", [0.0, 0.25, 3.0, 7.123, 9.5])
def test_a_part_is_what_the_whole_has_there(tmp_path: Path, kind: str, start: float) -> None:
    # Of a tone, an mp3's frames keep bits for later ones: a seek that loses them is heard.
    samples = np.concatenate([tone(5.0, 44_100), noise(5.0, 44_100)])
    path = write_sound(tmp_path / f"a.{kind[-4:].strip()}", samples, 44_100)
    if kind == "unknown mp3":
        path = without_length(path)
    whole, _ = read_sound(path)
    part, flags = read_sound(path, start=start, seconds=1.5)
    assert flags == ()
    first = round(start * 16_000)
    expected = whole[first : first + 24_000]
    assert len(part) == len(expected) == (24_000 if start < 9 else len(whole) - first)
    np.testing.assert_allclose(part, expected, rtol=0, atol=2e-6)


def test_an_mp3_of_varying_bit_rate_that_does_not_state_its_length_is_read_to_its_end(
    tmp_path: Path,
) -> None:
    """By itself libsndfile reads the first seconds of it, and says nothing."""
    loud_then_soft = np.concatenate(
        [noise(5, 44_100) * 3, 0.001 * tone(15, 44_100), tone(1, 44_100)]
    )
    path = without_length(
        write_sound(tmp_path / "a.mp3", loud_then_soft, 44_100, bitrate_mode="VARIABLE")
    )
    assert soundfile.info(path).duration < 12
    samples, flags = read_sound(path)
    assert flags == ()
    assert 21.0 <= len(samples) / 16_000 < 21.1
    assert np.abs(samples[-8_000:-2_000]).max() > 0.4
    assert not sound_info(path).exact


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_neither_ending_nor_name_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data = write_sound(tmp_path / f"a.{kind}", tone(0.5)).read_bytes()
    monkeypatch.chdir(tmp_path)
    for name in (
        "-",
        "--x.wav",
        "a b.wav",
        "Größe ü.ogg",
        "x.raw",
        "x.mp3",
        "x.flac",
        "x.txt",
        "x",
    ):
        Path(name).write_bytes(data)
        assert sound_info(name).seconds == 0.5
        assert len(read_sound(name)[0]) == 8_000
    name = os.fsdecode(b"latin-\xe4.wav")
    Path(name).write_bytes(data)
    assert len(read_sound(name)[0]) == 8_000


def test_what_is_no_sound_is_one_line(tmp_path: Path) -> None:
    files = {
        "empty.wav": b"",
        "garbage.wav": np.random.default_rng(0).bytes(50_000),
        "text.mp3": b"no sound\n" * 1000,
        "zeros.flac": bytes(50_000),
        "film.mp4": b"\0\0\0\x18ftypisom" + bytes(1000),
        "film.wav": b"\x1aE\xdf\xa3" + bytes(1000),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for name, part in {
        "empty.wav": "is empty",
        "garbage.wav": "is no sound file",
        "text.mp3": "is no sound file",
        "zeros.flac": "is no sound file",
        "film.mp4": "ffmpeg",
        "film.wav": "Matroska",
        "nowhere.wav": "does not exist",
        ".": "is a folder",
    }.items():
        for read in (sound_info, read_sound):
            with raises_user_error(str(tmp_path / name), part):
                read(tmp_path / name)


def test_no_samples_are_an_error_and_one_is_not(tmp_path: Path) -> None:
    none = write_sound(tmp_path / "none.wav", tone(0))
    with raises_user_error("none.wav has no sound", "0 s long"):
        read_sound(none)
    one = write_sound(tmp_path / "one.wav", np.full(1, 0.5, np.float32), 44_100)
    with raises_user_error("one.wav has no sound"):  # a third of a sample at 16 kHz
        read_sound(one)
    one = write_sound(tmp_path / "one.wav", np.full(1, 0.5, np.float32))
    assert read_sound(one)[0].tolist() == [0.5]
    second = write_sound(tmp_path / "a.wav", tone(1))
    with raises_user_error("no sound at 3 s", "1 s long"):
        read_sound(second, start=3)
    for part in ({"start": -1.0}, {"seconds": 0.0}, {"start": float("nan")}):
        with raises_user_error("a.wav", *part):
            read_sound(second, **part)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_that_is_not_a_number_is_an_error(tmp_path: Path, bad: float) -> None:
    samples = np.stack([tone(2.0, 48_000), tone(2.0, 48_000)], axis=1)
    samples[72_000, 1] = bad
    path = write_sound(tmp_path / "a.wav", samples, 48_000, subtype="FLOAT")
    with raises_user_error(str(path), "not a number", "1.500 s"):
        read_sound(path)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "aiff", "au"])
def test_a_cut_file_gives_what_is_left_and_says_so(tmp_path: Path, kind: str) -> None:
    path = write_sound(tmp_path / f"a.{kind}", noise(10.0, 44_100), 44_100)
    whole, flags = read_sound(path)
    assert flags == ()
    samples, flags = read_sound(cut_in_half(path))
    assert flags == ("cut",)
    assert 4.0 < len(samples) / 16_000 < 6.0
    np.testing.assert_allclose(samples[:48_000], whole[:48_000], rtol=0, atol=1e-6)


def test_a_file_cut_within_its_header_is_an_error(tmp_path: Path) -> None:
    for kind in ("wav", "flac", "ogg", "mp3"):
        path = write_sound(tmp_path / f"a.{kind}", noise(1.0))
        path.write_bytes(path.read_bytes()[:40])
        with raises_user_error(str(path)):
            read_sound(path)


def test_a_wav_whose_writer_did_not_know_the_size_is_not_cut(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(1.0))
    data = bytearray(path.read_bytes())
    for place in (4, data.index(b"data") + 4):
        data[place : place + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    samples, flags = read_sound(path)
    assert (len(samples), flags) == (16_000, ())


@pytest.mark.parametrize(
    ("samples", "flags"),
    [
        (np.zeros(16_000, np.float32), ("silent",)),
        (np.full(16_000, 2.0**-16, np.float32), ("silent",)),
        (tone(1.0) * 0.001, ()),
        (np.clip(tone(1.0) * 100, -1, 1), ()),
        (tone(1.0) * 3, ()),
        (tone(1.0) * 32_768, ("unscaled",)),
    ],
    ids=["zeros", "dither", "soft", "clipped", "loud", "integers"],
)
def test_silence_and_integers_stored_as_floats_are_flagged(
    tmp_path: Path, samples: np.ndarray, flags: tuple[str, ...]
) -> None:
    path = write_sound(tmp_path / "a.wav", samples, subtype="FLOAT")
    assert read_sound(path)[1] == flags


def test_an_id3_tag_with_a_picture_hides_nothing(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mp3", noise(2.0, 44_100), 44_100)
    size = 300_000
    tag = b"ID3\x03\0\0" + bytes((size >> shift) & 127 for shift in (21, 14, 7, 0)) + bytes(size)
    tagged = tmp_path / "tagged.mp3"
    tagged.write_bytes(tag + path.read_bytes())
    np.testing.assert_array_equal(read_sound(tagged)[0], read_sound(path)[0])
    assert sound_info(tagged).exact
