"""The sound of clips: what is drawn above their maps, and heard."""

from typing import NamedTuple

import numpy as np

from mla_jax.errors import UserError
from mla_jax.recordings.inputs import find_recordings
from mla_jax.recordings.labels import rows_by_name

LONGEST = 60.0
"""Seconds of a clip that can be heard in a report, so that the file stays small."""


class ClipSound(NamedTuple):
    """The sound of a clip.

    Attributes:
      log_mel: [bands, frames], the lowest band first.
      frame_seconds: from one frame to the next.
      mp3: the sound as an mp3 file, of `LONGEST` seconds at most.
    """

    log_mel: np.ndarray
    frame_seconds: float
    mp3: bytes


class Sounds:
    """The recordings that clips are of."""

    def __init__(self, given: str) -> None:
        """Finds the files; none is opened.

        Args:
          given: the recordings, as `mla_jax.recordings.inputs` takes them. A clip's is the one whose name is
            the clip's id, with or without folder and ending.

        Raises:
          UserError: they name no sound file.
        """
        self._recordings = find_recordings([given]).recordings
        self._rows = rows_by_name(self._recordings)

    def of_clip(self, video_id: str, start_time: float, seconds: float) -> ClipSound | None:
        """The sound of a clip; None if there is no such recording, or it cannot be used."""
        from mla_jax.audio.decode import read_sound
        from mla_jax.audio.encode import to_mp3
        from mla_jax.audio.log_mel import VGGISH, log_mel

        row = self._rows.get(video_id)
        if row is None:
            return None
        rate = VGGISH.sample_rate
        try:
            samples, _ = read_sound(
                self._recordings[row].path, sample_rate=rate, start=start_time, seconds=seconds
            )
        except UserError:
            return None
        whole = np.pad(samples, (0, max(0, VGGISH.window - len(samples))))
        heard = samples[: round(LONGEST * rate)]
        return ClipSound(
            log_mel=np.asarray(log_mel(whole, VGGISH)).T,
            frame_seconds=VGGISH.hop / rate,
            mp3=to_mp3(heard, rate),
        )
