"""Sound as bytes that a browser plays."""

import io

import numpy as np

from mla_jax.audio.sound_file import soundfile


def to_mp3(samples: np.ndarray, sample_rate: int) -> bytes:
    """Mono samples, [samples] within -1 to 1, as an mp3: some 4 kB a second at 16 kHz."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", sample_rate, 1, format="MP3") as file:
        for begin in range(0, len(samples), sample_rate):
            file.write(samples[begin : begin + sample_rate])
    return buffer.getvalue()
