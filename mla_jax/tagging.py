"""Tags clips with a trained run, as a stream: read, predict, write, a batch at a time."""

import collections
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mla_jax import run_thresholds, tag_files
from mla_jax.data.clips import ClipSet
from mla_jax.data.skipped import list_beside
from mla_jax.data.sources import ClipStream
from mla_jax.data.windows import batches_of_windows, require_window
from mla_jax.errors import UserError
from mla_jax.evaluation.predict import start_prediction
from mla_jax.evaluation.segments import start_segments
from mla_jax.progress import Progress
from mla_jax.tag_files import Tags
from mla_jax.trained import TrainedModel

# A batch has at most so many clips, and of long ones so few that they have at most so many segments.
_BATCH_CLIPS = 500
_BATCH_SEGMENTS = 5000
# So many batches are with the device while the host writes those before.
_BATCHES_AHEAD = 2


class Tagged(NamedTuple):
    """What was tagged.

    Attributes:
      clips: how many clips were read.
      items: how many were written: clips, and of long ones windows.
      skipped: how many were left out.
    """

    clips: int
    items: int
    skipped: int


def predict_to_file(
    workdir: str | Path,
    data: str,
    output: str | Path,
    *,
    top_k: int = 5,
    step: int = 0,
    bad_records: str = "",
    segments: bool = False,
    threshold: float | str | None = None,
    window: int = 0,
    hop: int = 0,
    segment_seconds: float = 1.0,
) -> Tagged:
    """Writes the most probable labels of every clip, in bounded memory.

    A clip of more than `window` segments is written as windows, each an item with a start time of its own;
    `mla_jax.data.windows` says which. The file's ending says its format (`mla_jax.tag_files` has the
    columns of .csv and .parquet); a line of .jsonl is

        {"video_id": ..., "start_time": seconds, "labels": [{"index", "mid", "name", "probability"}, ...]}

    labels by falling probability, equal ones by index. With `segments` a line also has `segment_starts`, the
    seconds into the video at which each segment begins, and a label `segments`, their scores
    (`mla_jax.evaluation.segments` says what a score is). The file appears when it is complete; records
    that were left out (`bad_records="skip"`) are listed beside it.

    Args:
      workdir: the run.
      data: a packed folder; a folder, file or glob of TFRecords; or an HDF5 or .npz file.
      output: the file to write: .jsonl, .csv or .parquet.
      top_k: the most labels that an item gets.
      step: which checkpoint; 0: the best by validation, else the newest.
      bad_records: error or skip; as in training if not given.
      segments: write the scores of segments too.
      threshold: only labels that are at least so probable are reported, so that an item may have none;
        "validation": each class has its own, chosen on the run's validation split (`run_thresholds`).
      window: segments of a window; 0: as many as clips had in training.
      hop: segments from the start of one window to that of the next; 0: `window`.
      segment_seconds: how long a segment is; AudioSet's have 1.0.

    Raises:
      UserError: an argument is not valid, the run or the data cannot be used, or the output cannot be
        written.
    """
    tag_files.require_format(output)
    _check(top_k, threshold, segment_seconds)
    trained = TrainedModel.open(workdir, step)
    window = window or trained.max_segments
    hop = hop or window
    require_window(window, hop)
    limits = np.zeros(len(trained.classes))
    if threshold is not None:
        limits[:] = (
            run_thresholds.thresholds_of(workdir, trained)
            if threshold == "validation"
            else float(threshold)
        )
    stream = trained.stream_clips(data, bad_records=bad_records)
    width = min(window, stream.time or window)
    batch_size = max(1, min(_BATCH_CLIPS, _BATCH_SEGMENTS // width))
    batches = batches_of_windows(
        stream.chunks,
        window=window,
        hop=hop,
        width=width,
        batch_size=batch_size,
        segment_seconds=segment_seconds,
    )
    progress = _Shown(stream, window)
    items = 0
    with tag_files.open_tag_file(
        output, trained.classes, segments=segments, segment_seconds=segment_seconds
    ) as write:
        start = partial(_start_segments if segments else _start_clips, trained, batch_size)
        for clips, (probs, scores) in _run_ahead(batches, start):
            write(_choose(clips, probs, scores, limits, top_k))
            items += len(clips)
            progress.update(items)
    progress.close()
    list_beside(output, stream.skipped)
    return Tagged(stream.clips, items, len(stream.skipped))


def _check(top_k: int, threshold: float | str | None, segment_seconds: float) -> None:
    if top_k < 1:
        raise UserError(f"top_k={top_k} is not valid: it must be at least 1")
    if not 0 < segment_seconds < np.inf:
        raise UserError(f"segment_seconds={segment_seconds} is not valid: it must be above 0")
    if threshold is None or threshold == "validation":
        return
    try:
        valid = 0 <= float(threshold) <= 1
    except ValueError:
        valid = False
    if not valid:
        raise UserError(
            f"threshold={threshold} is not valid: it must be a probability, 0 to 1, or validation"
        )


class _Shown:
    """Progress in clips, of a number that is known; or in windows, whose number is not."""

    def __init__(self, stream: ClipStream, window: int) -> None:
        self.stream = stream
        self.in_clips = 0 < stream.time <= window
        total, unit = (stream.total, "clips") if self.in_clips else (0, "windows")
        self.progress = Progress("predict", total, unit)

    def close(self) -> None:
        """Ends the line on a terminal."""
        self.progress.close()

    def update(self, items: int) -> None:
        """Says that so many clips or windows are written."""
        stream = self.stream
        read = stream.place or f"{stream.clips:,} of {stream.total:,} clips begun"
        self.progress.update(items, "" if self.in_clips else read)


_Output = tuple[np.ndarray, np.ndarray | None]
"""A batch's probabilities, [clips, classes], and its segments' scores, [clips, time, classes], if wanted."""


def _start_clips(trained: TrainedModel, batch_size: int, clips: ClipSet) -> Callable[[], _Output]:
    wait = start_prediction(
        trained.model,
        trained.variables,
        clips,
        batch_size=batch_size,
        use_mask=trained.config.data.mask,
    )
    return lambda: (wait(), None)


def _start_segments(
    trained: TrainedModel, batch_size: int, clips: ClipSet
) -> Callable[[], _Output]:
    wait = start_segments(
        trained.model,
        trained.variables,
        clips,
        batch_size=batch_size,
        use_mask=trained.config.data.mask,
    )

    def output() -> _Output:
        found = wait()
        return found.probs, found.scores

    return output


def _run_ahead(
    batches: Iterable[ClipSet], start: Callable[[ClipSet], Callable[[], _Output]]
) -> Iterator[tuple[ClipSet, _Output]]:
    """Each batch with its output, in order, while the device is busy with the next."""
    ahead: collections.deque[tuple[ClipSet, Callable[[], _Output]]] = collections.deque()
    for batch in batches:
        ahead.append((batch, start(batch)))
        if len(ahead) > _BATCHES_AHEAD:
            done, wait = ahead.popleft()
            yield done, wait()
    for done, wait in ahead:
        yield done, wait()


def _choose(
    clips: ClipSet,
    probs: np.ndarray,
    scores: np.ndarray | None,
    limits: np.ndarray,
    top_k: int,
) -> Tags:
    """The labels to report: at or above their limits, the `top_k` most probable, the lower index first."""
    shown = np.where(probs >= limits, probs, np.float32(-1))
    order = np.argsort(-shown, axis=1, kind="stable")[:, :top_k]
    keep = np.take_along_axis(shown, order, axis=1) >= 0
    owner, labels = np.nonzero(keep)[0], order[keep].astype(np.int32)
    return Tags(
        clips=clips,
        owner=owner,
        labels=labels,
        probs=probs[owner, labels],
        scores=None if scores is None else scores[owner, :, labels],
    )
