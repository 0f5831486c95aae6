"""The sound of clips in pictures and reports."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mla_jax.audio.decode import read_sound
from mla_jax.audio.log_mel import VGGISH, log_mel
from mla_jax.report.clip_picture import write_clip_picture
from mla_jax.report.gather import gather
from mla_jax.report.sound import Sounds
from mla_jax.report.write import write_report
from tests.audio.sounds import noise, tone, write_sound
from tests.support.sound_runs import make_sounds, train_on_sounds


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    make_sounds(folder)
    return folder


@pytest.fixture(scope="module")
def run(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_on_sounds(sounds, tmp_path_factory.mktemp("run"))


def played(mp3: bytes) -> np.ndarray:
    samples, rate = soundfile.read(io.BytesIO(mp3))
    assert rate == 16_000
    return samples


def test_the_sound_of_a_clip_is_the_part_of_its_recording(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    both = np.concatenate([tone(3.0), noise(2.0)])
    path = write_sound(tmp_path / "in/a.wav", both)
    files = Sounds(str(tmp_path))
    found = files.of_clip("a", 3.0, 2.0)
    assert found is not None
    part, _ = read_sound(path, start=3.0, seconds=2.0)
    np.testing.assert_allclose(found.log_mel.T, log_mel(part, VGGISH), atol=1e-5)
    assert found.frame_seconds == 0.01
    heard = played(found.mp3)
    assert abs(len(heard) / 16_000 - 2.0) < 0.2
    assert heard.std() == pytest.approx(both[48_000:].std(), rel=0.1)
    short = files.of_clip("in/a.wav", 4.99, 1.0)
    assert short is not None
    assert short.log_mel.shape == (64, 1)
    assert files.of_clip("b", 0.0, 1.0) is None
    assert files.of_clip("a", 9.0, 1.0) is None


@pytest.mark.slow
def test_in_a_report_example_clips_can_be_heard(run: Path, sounds: Path, tmp_path: Path) -> None:
    data = str(run.parent / "train")
    report = write_report([run], tmp_path / "with.html", str(sounds))  # and its labels.csv
    page = (tmp_path / "with.html").read_text()
    embedded = re.findall(r'<audio controls src="data:audio/mpeg;base64,([^"]+)"', page)
    assert len(embedded) == len(report.examples) > 0
    for text, example in zip(embedded, report.examples, strict=True):
        heard = played(base64.b64decode(text))
        assert 0.4 < len(heard) / 16_000 < 1.2  # of the last clip of a recording, half a second
        assert (np.abs(heard).max() > 0.45) == example.video_id.startswith("tone")
    assert "media-src data:;" in page
    # Clips that were embedded before are of the same recordings.
    same = gather([run], data, sounds=str(sounds))
    assert [s and s.mp3 for s in same.sounds] == [s and s.mp3 for s in report.sounds]
    without = write_report([run], tmp_path / "without.html", data)
    assert not without.sounds
    assert "<audio" not in (tmp_path / "without.html").read_text()
    (tmp_path / "other").mkdir()
    write_sound(tmp_path / "other/b.wav", noise(1.0))
    notes = write_report([run], tmp_path / "o.html", data, sounds=str(tmp_path / "other")).notes
    assert f"there is no recording in {tmp_path}/other" in notes[-1]


@pytest.mark.slow
def test_a_picture_of_a_recording_shows_its_sound(run: Path, sounds: Path, tmp_path: Path) -> None:
    data = run.parent / "train"
    for name, given, more in (
        ("sound", sounds / "tone0.wav", {}),
        ("packed", data, {"sounds": str(sounds), "start_time": 0.0}),
        ("none", data, {"start_time": 0.0}),
    ):
        write_clip_picture([run], tmp_path / f"{name}.svg", "tone0.wav", str(given), **more)
    sizes = {path.stem: path.stat().st_size for path in tmp_path.glob("*.svg")}
    assert min(sizes["sound"], sizes["packed"]) > sizes["none"] + 2000
