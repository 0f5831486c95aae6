"""What happens inside a model on its way to a clip's probabilities: segments, attention, levels."""

import numpy as np

from mla_jax.config import ModelConfig, parse_architecture
from mla_jax.data.clips import ClipSet
from mla_jax.evaluation import examples, levels
from mla_jax.evaluation.event_segments import Reference
from mla_jax.evaluation.report_data import ClipMap, ExampleClip
from mla_jax.evaluation.segments import Level, predict_segments, segment_batches
from mla_jax.trained import TrainedModel

_SHARE_CLIPS, _BATCH = 2000, 250


def said(level: Level) -> np.ndarray:
    """What each segment puts into a level's clip probabilities, a_t f_t, [clips, time, classes].

    Padding puts in nothing. (Of a model without a mask it does; that is left out.)
    """
    assert level.segment_probs is not None, "features are attended to"
    return level.attention * np.nan_to_num(level.segment_probs)


def level_names(config: ModelConfig) -> tuple[str, ...]:
    """The levels by the block that they stand behind, shallowest first: after block 2, after block 3."""
    blocks = np.cumsum(parse_architecture(config.architecture))
    return tuple(f"after block {n}" for n in blocks)


def shares_of_levels(trained: TrainedModel, clips: ClipSet | None = None) -> np.ndarray | None:
    """How the output layer weighs the levels (`mla_jax.evaluation.levels`); None for a single level.

    Args:
      trained: the model.
      clips: if given, `variance_shares` over at most 2,000 of them, evenly chosen; else, and where features
        are attended to, so that the levels' probabilities are not at hand, `weight_shares`.

    Returns:
      [num_levels, num_classes] float64, shallowest first.
    """
    by_level = _output_blocks(trained)
    if by_level is None:
        return None
    if clips is None or trained.config.model.attend_to != "decisions":
        return levels.weight_shares(by_level)
    rows = np.unique(np.linspace(0, len(clips) - 1, _SHARE_CLIPS).astype(int))
    batches = segment_batches(
        trained.model,
        trained.variables,
        clips[rows],
        batch_size=min(_BATCH, len(rows)),
        use_mask=trained.config.data.mask,
        with_levels=True,
    )
    parts = [np.stack([said(level).sum(axis=1) for level in batch.levels]) for batch in batches]
    return levels.variance_shares(by_level, np.concatenate(parts, axis=1))


def _output_blocks(trained: TrainedModel) -> np.ndarray | None:
    """The output layer by level, with the batch norm behind it; None for a single level."""
    config = trained.config.model
    num_levels = len(parse_architecture(config.architecture))
    if num_levels == 1:
        return None
    params = trained.variables["params"]
    by_level = levels.blocks(np.asarray(params["output"]["kernel"]), num_levels, config.join)
    if config.output_norm:
        variance = np.asarray(trained.variables["batch_stats"]["output_norm"]["var"])
        scale = np.asarray(params["output_norm"]["scale"])
        by_level = by_level * (scale / np.sqrt(variance + config.norm_epsilon))
    return by_level


def clip_maps(trained: TrainedModel, clips: ClipSet) -> list[dict[str, ClipMap]]:
    r"""Where in each clip the model hears what: for every clip, by title, maps [classes, its seconds].

    The first is always `segment score`, the probability of each segment as a clip by itself. A model of one
    level that attends to decisions has its `attention` as well, the weights of its segments. One of
    several has none for a class: unit k of a level is not class k (`mla_jax.evaluation.levels`). But its
    logit is a sum over levels and segments, up to the bias,

    $$z_k = \sum_l \sum_t \sum_j W_l[j, k]\, a_{ltj} f_{ltj},$$

    so its maps are what each segment adds to the class's logit by way of a level, minus the mean over the
    clip's segments: above 0 where the level finds the class, below where it does not.
    """
    config = trained.config.model
    output = predict_segments(
        trained.model,
        trained.variables,
        clips,
        batch_size=min(_BATCH, len(clips)),
        use_mask=trained.config.data.mask,
        with_levels=True,
    )
    by_level = _output_blocks(trained)
    inner: dict[str, np.ndarray] = {}
    kind = "weight"
    if config.attend_to == "decisions" and by_level is not None:
        kind = "signed"
        for name, level, weights in zip(level_names(config), output.levels, by_level, strict=True):
            inner[f"adds, {name}"] = said(level) @ weights
    elif config.attend_to == "decisions" and config.pooling != "mean":
        inner["attention"] = output.levels[0].attention
    made = []
    for i, length in enumerate(np.asarray(clips.num_segments)):
        maps = {"segment score": ClipMap(output.scores[i, :length].T, "probability")}
        for title, values in inner.items():
            mine = values[i, :length].T
            if kind == "signed":
                mine = mine - mine.mean(axis=1, keepdims=True)
            maps[title] = ClipMap(mine, kind)
        made.append(maps)
    return made


def example_clips(
    trained: TrainedModel,
    clips: ClipSet,
    probs: np.ndarray,
    labels: np.ndarray,
    truth: Reference | None = None,
    *,
    each: int = 2,
) -> list[ExampleClip]:
    """The best, typical and worst clips with their maps (`mla_jax.evaluation.examples`).

    Args:
      trained: the model.
      clips: those to choose from.
      probs, labels: [num_clips, num_classes] the model's, and the clips'.
      truth: of these clips, when their sounds occur, if that is known.
      each: how many of a kind.
    """
    scores = examples.clip_scores(probs, labels)
    chosen = examples.choose_examples(scores, labels, each)
    rows = [(kind, i) for kind in examples.KINDS for i in chosen[kind]]
    if not rows:
        return []
    part = clips[[i for _, i in rows]]
    made = []
    for j, ((kind, i), maps) in enumerate(zip(rows, clip_maps(trained, part), strict=True)):
        classes = examples.rows_to_show(probs[i], labels[i])
        length = int(part.num_segments[j])
        known = truth is not None and bool(truth.mask[i].any())
        made.append(
            ExampleClip(
                kind,
                part.video_ids[j].decode(errors="replace"),
                float(part.start_times[j]),
                float(scores[i]),
                classes,
                [bool(labels[i, k]) for k in classes],
                probs[i, classes],
                {title: ClipMap(one.values[classes], one.kind) for title, one in maps.items()},
                truth.active[i, :length, classes] if truth is not None and known else None,
            )
        )
    return made
