"""A picture of one clip: what one or several trained models find in it, second by second."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mla_jax.data.class_list import one_list
from mla_jax.data.clips import ClipSet
from mla_jax.errors import UserError
from mla_jax.explain.examples import classes_to_show
from mla_jax.explain.maps import ClipMap, clip_maps
from mla_jax.report.gather import run_names
from mla_jax.report.truth import read_truth
from mla_jax.runs.folder import require_output
from mla_jax.runs.trained import TrainedModel


def write_clip_picture(
    workdirs: Sequence[str | Path],
    output: str | Path,
    clip: str,
    data: str = "",
    *,
    events: str | Path = "",
) -> None:
    """Draws the maps of a clip: classes by seconds.

    Of one run, all of its maps (`mla_jax.explain.maps.clip_maps`); of several, the segment scores of each,
    side by side. The rows are the clip's labels, what truly sounds if that is known, and what the first
    run finds besides.

    Args:
      workdirs: the runs' folders, of models of the same classes.
      output: a .png, .svg or .pdf file.
      clip: its video id.
      data: where the clip is, as anything that `evaluate` takes; empty: the first run's `data.eval`.
      events: strong labels of the data, if there are any: what truly sounds is framed.

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
    runs = _open_runs(workdirs)
    first = next(iter(runs.values()))
    one = _find_clip(first, data or first.config.data.eval, clip)
    truth = read_truth(events, first.classes, one) if events else None
    labels, length = one.multi_hot()[0], int(one.num_segments[0])
    sounds = truth.active[0, :length].T if truth else np.zeros((one.num_classes, length), bool)
    probs = first.predict(one)[0]
    shown = classes_to_show(probs, labels | sounds.any(axis=1))
    figure = attention.attention_map(
        {title: values.of(shown) for title, values in _maps(runs, one).items()},
        [first.classes.names[k] for k in shown],
        [bool(labels[k]) for k in shown],
        probabilities=probs[shown] if len(runs) == 1 else None,
        events=sounds[shown] if truth else None,
    )
    style.save(figure, output)


def _open_runs(workdirs: Sequence[str | Path]) -> dict[str, TrainedModel]:
    """Models of the same classes, by name."""
    runs = {n: TrainedModel.open(w) for n, w in zip(run_names(workdirs), workdirs, strict=True)}
    one_list({name: run.classes for name, run in runs.items()})
    return runs


def _find_clip(run: TrainedModel, path: str, clip: str) -> ClipSet:
    """The clip of that video id, as a set of one."""
    if not path:
        raise UserError("the run names no eval data; say where the clip is with data")
    clips = run.open_clips(path, needs_labels=False)
    rows = np.flatnonzero(clips.video_ids == clip.encode())
    if not len(rows):
        raise UserError(
            f"{path} has no clip with the video id {clip!r}; its first is "
            f"{clips.video_ids[0].decode(errors='replace')!r}"
        )
    return clips[rows[:1]]


def _maps(runs: dict[str, TrainedModel], one: ClipSet) -> dict[str, ClipMap]:
    """All maps of a single run, or the segment scores of each of several, by title."""
    if len(runs) == 1:
        return next(clip_maps(run, one)[0] for run in runs.values())
    return {f"{name} hears": clip_maps(run, one)[0]["segment score"] for name, run in runs.items()}
