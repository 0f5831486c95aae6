"""A picture of one clip: what one or several trained models find in it, segment by segment."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.data.class_list import one_list
from mla_jax.data.clips import ClipSet
from mla_jax.data.segment_seconds import known_segment_seconds
from mla_jax.errors import UserError
from mla_jax.explain.examples import classes_to_show
from mla_jax.explain.maps import ClipMap, map_of_windows
from mla_jax.localization.truth import truth_of_clip
from mla_jax.recordings.encoder_files import DEFAULT as DEFAULT_FILES
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.recordings.inputs import names_sound
from mla_jax.report.sound import ClipSound, Sounds
from mla_jax.runs.folder import require_output
from mla_jax.runs.names import run_names
from mla_jax.runs.tagging_model import TaggingModel, require_models_alike
from mla_jax.runs.use import open_model

_MOST_CLASSES = 24


def write_clip_picture(
    workdirs: Sequence[str | Path],
    output: str | Path,
    clip: str,
    data: str = "",
    *,
    start_time: float | None = None,
    events: str | Path = "",
    sounds: str = "",
    segment_seconds: float | None = None,
    allow_other_embeddings: bool = False,
    encoder_files: EncoderFiles = DEFAULT_FILES,
) -> list[str]:
    """Draws the maps of a clip: classes by time.

    Of one run, all of its maps (`mla_jax.explain.maps.clip_maps`); of several, the segment scores of each,
    side by side. The rows are the clip's labels, what truly sounds if that is known, and what the first
    run finds besides. A clip that is longer than those of training is seen in windows, as `mla-predict`
    sees it, and a class is as probable as in its likeliest window.

    Args:
      workdirs: the runs' folders, of models of the same classes; "A,B,C" is the average of several.
      output: a .png, .svg or .pdf file.
      clip: its video id.
      data: where the clip is: sound, or anything that `evaluate` takes; empty: the first run's `data.eval`.
      start_time: its start, in seconds into the video; needed where several clips have that id.
      events: strong labels of the data, if there are any: what truly sounds is framed.
      sounds: the recordings that the clips are of, to draw the sound above the maps; empty: `data`, if
        that is sound.
      segment_seconds: from one segment to the next, where neither data nor runs say; needed with events.
      allow_other_embeddings: whether runs and data whose embeddings differ in meaning are used all the same.
      encoder_files: of the encoder, for sound.

    Returns:
      What was not found in the events, and into how many windows the clip was cut, as sentences for a person.

    Raises:
      UserError: a run, the data, the clip or the events cannot be used, or matplotlib is not installed.
    """
    try:
        from mla_jax.report.figures import attention, style
    except ImportError as error:
        raise UserError(
            f"a picture needs {error.name}, which is not installed: pip install 'mla_jax[plots]'"
        ) from error
    style.require_format(output)
    require_output(output, [data, events])
    runs = _open_runs(
        workdirs, allow_other_embeddings=allow_other_embeddings, encoder_files=encoder_files
    )
    first = next(iter(runs.values()))
    path = data or first.data_settings.eval
    if not path:
        raise UserError("the run names no eval data; say where the clip is, --data")
    clips = first.open_clips(path, needs_labels=False, segment_seconds=segment_seconds)
    row = _find_clip(clips, path, clip, start_time)
    one, length = clips[[row]], int(clips.num_segments[row])
    known = (run.embedding for run in runs.values())
    seconds = known_segment_seconds(one.embedding, *known, stated=segment_seconds)
    truth: np.ndarray | None = None
    notes: list[str] = []
    if events:
        truth, notes = truth_of_clip(events, first.classes, clips, row, seconds)
    heard = np.zeros((one.num_classes, length), bool) if truth is None else truth
    labels = one.multi_hot()[0]
    seen = {name: map_of_windows(run, one) for name, run in runs.items()}
    maps = _by_title({name: of_run for name, (of_run, _) in seen.items()})
    of_windows = next(probs for _, probs in seen.values())
    probs = of_windows.max(axis=0)
    shown = classes_to_show(probs, labels | heard.any(axis=1), most=_MOST_CLASSES)
    if len(of_windows) > 1:
        notes.append(
            f"the clip has {length} segments, and the model was trained on clips of {first.max_segments}: "
            f"it is seen in {len(of_windows)} windows, as predict sees it, and each class is as probable as "
            "in its likeliest window"
        )
    sound = _sound_of(one, sounds or data, seconds)
    figure = attention.attention_map(
        {title: values.of(shown) for title, values in maps.items()},
        [first.classes.shown_names[k] for k in shown],
        [bool(labels[k]) for k in shown],
        probabilities=probs[shown] if len(runs) == 1 else None,
        events=None if truth is None else heard[shown],
        seconds=seconds,
        log_mel=None if sound is None else sound.log_mel,
        frame_seconds=0.0 if sound is None else sound.frame_seconds,
    )
    style.save(figure, output)
    return notes


def _sound_of(one: ClipSet, sounds: str, seconds: float | None) -> ClipSound | None:
    """The sound of the clip, if `sounds` are recordings, and one of them is the clip's."""
    if not sounds or seconds is None or not names_sound(sounds):
        return None
    name = one.video_ids[0].decode(errors="replace")
    length = int(one.num_segments[0]) * seconds
    return Sounds(sounds).of_clip(name, float(one.start_times[0]), length)


def _open_runs(workdirs: Sequence[str | Path], **options: Any) -> dict[str, TaggingModel]:
    """Models of the same classes and embeddings, by name; `options` are those of `open_model`."""
    runs = {n: open_model(w, **options) for n, w in zip(run_names(workdirs), workdirs, strict=True)}
    require_models_alike(runs)
    one_list({name: run.classes for name, run in runs.items()})
    return runs


def _find_clip(clips: ClipSet, path: str, clip: str, start: float | None) -> int:
    """The row of the clip of that video id, and if several have it, of that start."""
    rows = np.flatnonzero(clips.video_ids == clip.encode())
    if not len(rows):
        raise UserError(
            f"{path} has no clip with the video id {clip!r}; its first is "
            f"{clips.video_ids[0].decode(errors='replace')!r}"
        )
    starts = np.asarray(clips.start_times[rows], np.float64)
    if start is not None:
        rows = rows[np.isclose(starts, start, rtol=0, atol=1e-3)]
    if len(rows) != 1:
        told = ", ".join(f"{s!r}" for s in starts[:5].tolist()) + (", ..." * (len(starts) > 5))
        which = "" if start is None else f", {len(rows)} of which start at {start!r} seconds"
        raise UserError(
            f"{path} has {len(starts)} clips with the video id {clip!r}{which}; they start at {told} "
            "seconds: give --start_time, or, if that does not tell them apart, clips ids of their own"
        )
    return int(rows[0])


def _by_title(maps: dict[str, dict[str, ClipMap]]) -> dict[str, ClipMap]:
    """Of the maps of each run, all if it is the only one, or the segment scores of each, by title."""
    if len(maps) == 1:
        return next(iter(maps.values()))
    return {f"{name} hears": of_run["segment score"] for name, of_run in maps.items()}
