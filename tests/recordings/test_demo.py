"""The demonstration with sound, and its made-up recordings."""

import numpy as np
import pytest

from mla_jax.audio.decode import read_sound
from mla_jax.recordings import synthetic
from tests.support import programs


def test_made_up_recordings_sound_when_they_say(tmp_path) -> None:
    rng = np.random.default_rng(1)
    made = synthetic.make_up(rng, 60.0, 12)
    assert len(made.events) == 12
    loud = np.abs(made.samples) > 0.06
    inside = np.zeros(len(made.samples), bool)
    for onset, offset, label in made.events:
        begin, end = round(onset * synthetic.RATE), round(offset * synthetic.RATE)
        assert not inside[begin:end].any()
        inside[begin:end] = True
        assert loud[begin:end].any()
        assert 0 <= label < len(synthetic.CLASSES)
    assert not loud[~inside].any()
    synthetic.write_wav(tmp_path / "a.wav", made.samples)
    read, flags = read_sound(tmp_path / "a.wav")
    np.testing.assert_allclose(read, made.samples, atol=1e-4)
    assert not flags
    assert not synthetic.make_up(rng, 5.0, 0).events


@pytest.mark.slow
def test_the_demo_tags_what_sounds(tmp_path) -> None:
    done = programs.ok("demo_audio", f"--workdir={tmp_path}/demo")
    rows = [line.split("|")[1:3] for line in done.stdout.splitlines()[2:]]
    right = sum(truth.split()[0] in tags for truth, tags in rows)
    assert right >= 10
    assert "<audio" in (tmp_path / "demo/report.html").read_text()
    again = programs.ok("demo_audio", f"--workdir={tmp_path}/demo")
    assert again.stdout == done.stdout
