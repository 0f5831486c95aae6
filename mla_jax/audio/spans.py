"""Long recordings in spans that are embedded one by one, and joined again."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mla_jax.audio.embed import Embedded, Path, Span
from mla_jax.audio.encoder import Encoder
from mla_jax.audio.sound_file import SoundInfo


def spans_of(
    path: Path, info: SoundInfo | None, encoder: Encoder, step: int, overlap: int = 0
) -> list[Span]:
    """A recording in spans, the last to its end; one whose length is not certain is a single span.

    Args:
      path: the sound file.
      info: what its header says; None if it cannot be read.
      encoder: says how many segments there are.
      step: segments from the beginning of one span to that of the next, 2 or more.
      overlap: segments that a span has in common with the next.
    """
    if info is None or not info.exact:
        return [Span(path)]
    segments = encoder.num_segments(int(info.seconds * encoder.sample_rate))
    last = max(1, (segments - overlap) // step) - 1
    spans = [Span(path, k * step, step + overlap) for k in range(last)]
    return [*spans, Span(path, last * step)]


def joined(parts: Sequence[Embedded]) -> Embedded:
    """What became of a recording, from its spans in order, which do not overlap.

    It ends with the span in which it is cut or damaged, as it does when it is embedded at once.
    """
    used: list[Embedded] = []
    for part in parts:
        used.append(part)
        if part.error or "cut" in part.flags:
            break
    first, last = used[0], used[-1]
    if last.error or len(used) == 1:
        return last
    silent = all("silent" in part.flags for part in used)
    flags = {flag for part in used for flag in part.flags if flag != "silent" or silent}
    return dataclasses.replace(
        first,
        embeddings=np.concatenate([part.embeddings for part in used]),
        starts=np.concatenate([part.starts for part in used]),
        # Of a span that is cut at once there may be no segment.
        seconds=max(float(part.starts[0]) + part.seconds for part in used if len(part.starts)),
        flags=tuple(sorted(flags)),
    )
