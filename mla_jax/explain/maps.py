"""Where in a clip a model finds which class: maps of classes by segments."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.data.windows import Windowing, cut_into_windows
from mla_jax.explain.levels import level_names, output_by_level
from mla_jax.runs.tagging_model import TaggingModel
from mla_jax.runs.trained import TrainedModel

_BATCH = 250


class ClipMap(NamedTuple):
    """Numbers of a clip by class and segment.

    Attributes:
      values: [classes, time].
      kind: probability (0 to 1), weight (0 and up) or signed (above and below 0).
    """

    values: np.ndarray
    kind: str

    def of(self, classes: list[int]) -> "ClipMap":
        """The rows of these classes alone."""
        return ClipMap(self.values[classes], self.kind)


def clip_maps(trained: TaggingModel, clips: ClipSet) -> list[dict[str, ClipMap]]:
    r"""The maps of each clip, by title, of all classes by the clip's real segments.

    The first is always `segment score` (`mla_jax.inference.segment_scores`); an average of
    models has no other. A model whose units are classes (one level, or `model.join=mean`) has its `attention`
    as well, the weights of its segments. With an output layer unit k of a level is not class k
    (`mla_jax.explain.levels`). But its logit is a sum over levels and segments, up to the bias,

    $$z_k = \sum_l \sum_t \sum_j W_l[j, k]\, a_{ltj} f_{ltj},$$

    so its maps are what each segment adds to the class's logit by way of a level, minus the mean over the
    clip's segments: above 0 where the level finds the class, below where it does not.
    """
    return _maps_and_probs(trained, clips)[0]


def _maps_and_probs(
    trained: TaggingModel, clips: ClipSet
) -> tuple[list[dict[str, ClipMap]], np.ndarray]:
    """The maps of each clip, and the clips' probabilities, [clips, classes]."""
    trained.require_same_embedding(clips)
    predictor = dataclasses.replace(trained.predictor, batch_size=min(_BATCH, len(clips)))
    output = predictor.predict_segments(clips, with_levels=True)
    # By title, what is [clips, time, classes], and of which kind.
    shown = {"segment score": (output.scores, "probability")}
    if isinstance(trained, TrainedModel):
        shown |= _inside(trained, output.levels)
    maps = [
        {title: _map_of(values[i, :length], kind) for title, (values, kind) in shown.items()}
        for i, length in enumerate(np.asarray(clips.num_segments))
    ]
    return maps, output.probs


def map_of_windows(trained: TaggingModel, clip: ClipSet) -> tuple[dict[str, ClipMap], np.ndarray]:
    """The maps of one clip, and how probable each class is, as `mla-predict` has it.

    A clip that is longer than those of training is cut into windows of their length, one behind the other;
    its map is those of the windows side by side.

    Args:
      trained: the model.
      clip: a ClipSet of one clip, of any number of segments.

    Returns:
      What `clip_maps` has of a clip; and [windows, classes], the probabilities of each window.
    """
    windows = cut_into_windows(clip, Windowing(trained.max_segments, trained.max_segments))
    parts, probs = _maps_and_probs(trained, windows)
    joined = {
        title: ClipMap(np.concatenate([part[title].values for part in parts], axis=1), one.kind)
        for title, one in parts[0].items()
    }
    return joined, probs


def _inside(trained: TrainedModel, of_levels: Sequence[Any]) -> dict[str, tuple[np.ndarray, str]]:
    """What a single model has besides its scores: what the levels add, or the attention of the only one."""
    config = trained.config.model
    by_level = output_by_level(trained)
    # The level of whole clips, which comes last, says the same of every segment: it has no map.
    number = len(of_levels)
    names = level_names(config)[:number]
    if config.attend_to == "decisions" and by_level is not None:
        levels = zip(names, of_levels, by_level[:number], strict=True)
        return {
            f"adds, {name}": (level.contributions() @ weights, "signed")
            for name, level, weights in levels
        }
    if not config.units_are_classes or config.pooling == "mean":
        return {}
    if number == 1:
        return {"attention": (of_levels[0].attention, "weight")}
    return {
        f"attention, {name}": (level.attention, "weight")
        for name, level in zip(names, of_levels, strict=True)
    }


def _map_of(values: np.ndarray, kind: str) -> ClipMap:
    """Of [time, classes]; what is signed is compared with the mean over time."""
    values = values.T
    if kind == "signed":
        values = values - values.mean(axis=1, keepdims=True)
    return ClipMap(values, kind)
