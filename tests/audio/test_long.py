"""An hour of mp3: every second is where it was, and memory is that of a minute."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mla_jax.audio.decode import read_sound
from mla_jax.audio.embed import Span, embed_files
from tests.audio.sounds import noise, tone, write_sound
from tests.audio.test_embed import LOUDNESS

ROOT = Path(__file__).parent.parent.parent
SECONDS = 3600

PROGRAM = """
import resource, sys
import numpy as np
from mla_jax.audio.embed import embed_file
from tests.audio.test_embed import LOUDNESS
kilobytes = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
embed_file(sys.argv[1], LOUDNESS)
before = kilobytes()
embedded = embed_file(sys.argv[2], LOUDNESS)
assert embedded.embeddings.shape == (3600, 10), embedded.embeddings.shape
print(kilobytes() - before)
"""


def loud_seconds() -> np.ndarray:
    """Which seconds have a tone, bool [3600]; the others have soft noise."""
    return np.random.default_rng(0).random(SECONDS) < 0.5


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rate = 22_050
    loud, soft = tone(1.0, rate, 700), 0.01 * noise(1.0, rate)
    samples = np.concatenate([loud if is_loud else soft for is_loud in loud_seconds()])
    return write_sound(tmp_path_factory.mktemp("hour") / "hour.mp3", samples, rate)


@pytest.mark.slow
def test_each_second_is_found_where_it_is(hour: Path) -> None:
    whole, last = embed_files([hour, Span(hour, 3500)], LOUDNESS)
    np.testing.assert_array_equal(whole.starts, np.arange(SECONDS))
    # All tenths but those beside a border, which an mp3 blurs.
    found = whole.embeddings[:, 1:-1] > -20
    np.testing.assert_array_equal(found, np.repeat(loud_seconds()[:, None], 8, axis=1))
    assert last.starts[0] == 3500.0
    np.testing.assert_allclose(last.embeddings, whole.embeddings[3500:], rtol=0, atol=0.05)


@pytest.mark.slow
def test_a_part_near_the_end_is_exact(hour: Path) -> None:
    whole, _ = read_sound(hour)
    part, _ = read_sound(hour, start=3590.123, seconds=5)
    first = round(3590.123 * 16_000)
    np.testing.assert_allclose(part, whole[first : first + 80_000], rtol=0, atol=2e-6)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(hour: Path, tmp_path: Path) -> None:
    minute = write_sound(tmp_path / "minute.mp3", noise(60.0, 22_050), 22_050)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(minute), str(hour)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 8_000  # kilobytes more; an hour of samples is 230,400
