"""How a model of several levels weighs them, class by class.

Its output layer is a dense layer on the levels' clip probabilities, joined: a kernel [L * K, K] whose L
blocks of K rows are the levels. The paper's claim is that classes favour different levels.

Unit k of a level is not class k: only the output layer is trained on labels, and it takes all units of all
levels for every class. So what a level does for a class is seen behind that layer, not in front of it.

With `model.join=mean` there is no such layer: unit k of a level is class k, and its share of the logit's
variance is of what the level adds, its own logit over the number of levels.
"""

import dataclasses

import numpy as np

from mla_jax.config import ModelConfig
from mla_jax.data.clips import ClipSet
from mla_jax.runs.tagging_model import TaggingModel
from mla_jax.runs.trained import TrainedModel

_MOST_CLIPS, _BATCH = 2000, 250


@dataclasses.dataclass(frozen=True, eq=False)
class LevelShares:
    """How the output layer weighs the levels.

    Attributes:
      names: [num_levels] the levels, from `level_names`.
      shares: [num_levels, num_classes] float64.
      by_variance: whether they are `variance_shares`, of clips, or `weight_shares`, without any.
    """

    names: tuple[str, ...]
    shares: np.ndarray
    by_variance: bool


def level_names(config: ModelConfig) -> tuple[str, ...]:
    """The levels by the block that they stand behind, shallowest first: after block 2, after block 3.

    The level of whole clips, if there is one, is behind these.
    """
    names = [f"after block {n}" for n in np.cumsum(config.stages)]
    return (*names, "whole clip") if config.clip_blocks else tuple(names)


def level_shares(trained: TaggingModel, clips: ClipSet | None = None) -> LevelShares | None:
    """How a model's output layer weighs its levels; None for a model of a single level, or an average.

    Also None where clips are given, and no class's logit varies over them: so it is with a single clip.

    Args:
      trained: the model.
      clips: if given, `variance_shares` over at most 2,000 of them, evenly chosen; else `weight_shares`.
    """
    if not isinstance(trained, TrainedModel):
        return None
    config, by_level = trained.config.model, output_by_level(trained)
    names = level_names(config)
    if clips is None:
        if by_level is None:
            return None
        return LevelShares(names, weight_shares(by_level), by_variance=False)
    if len(names) == 1:
        return None
    rows = np.unique(np.linspace(0, len(clips) - 1, _MOST_CLIPS).astype(int))
    predictor = dataclasses.replace(trained.predictor, batch_size=min(_BATCH, len(rows)))
    level_probs = [
        np.stack(batch.level_probs)
        for batch in predictor.segment_batches(clips[rows], with_levels=True)
    ]
    probs = np.concatenate(level_probs, axis=1).astype(np.float64)
    added = _logits(probs) / len(names) if by_level is None else np.matmul(probs, by_level)
    shares = variance_shares(added)
    return None if np.isnan(shares).all() else LevelShares(names, shares, by_variance=True)


def output_by_level(trained: TrainedModel) -> np.ndarray | None:
    """The output layer's kernel by level, with the scale of the batch norm behind it, if there is one.

    Returns:
      [num_levels, num_classes, num_classes] float64, in the order of `level_names`; None without an output
      layer.
    """
    config = trained.config.model
    if not config.mixes_levels:
        return None
    params = trained.variables["params"]
    kernel = np.asarray(params["output"]["kernel"], np.float64)
    by_level = kernel.reshape(config.num_levels, -1, kernel.shape[1])
    if config.join == "deepest_first":
        by_level = by_level[::-1]
    if config.output_norm:
        variance = np.asarray(trained.variables["batch_stats"]["output_norm"]["var"])
        scale = np.asarray(params["output_norm"]["scale"])
        by_level = by_level * (scale / np.sqrt(variance + config.norm_epsilon))
    return by_level


def weight_shares(by_level: np.ndarray) -> np.ndarray:
    r"""How much of a class's weights falls on each level, by the kernel alone.

    With $W_l$ the block of level $l$, class $k$ gives it the share
    $\|W_l[:, k]\| / \sum_m \|W_m[:, k]\|$, in Euclidean norms: 1 for a class that uses one level alone, 1/L
    for one that uses all alike. A batch norm behind the layer scales each column as a whole, and a bias
    adds the same whatever the levels say: neither changes a share.

    Args:
      by_level: from `output_by_level`.

    Returns:
      [num_levels, num_classes] float64, each class's sum to one; NaN where all of its weights are zero.
    """
    sizes = np.linalg.norm(by_level, axis=1)
    with np.errstate(invalid="ignore"):
        return sizes / sizes.sum(axis=0)


def _logits(probs: np.ndarray) -> np.ndarray:
    probs = np.clip(probs, 1e-7, 1 - 1e-7)
    return np.log(probs) - np.log1p(-probs)


def variance_shares(added: np.ndarray) -> np.ndarray:
    r"""How much of what moves a class's logit from clip to clip comes from each level.

    Level $l$ adds $c_l$ (with an output layer, $y_l W_l[:, k]$) to the logit $z = \sum_l c_l + b$ of class
    $k$, so that $\mathrm{var}(z) = \sum_l \mathrm{cov}(c_l, z)$, and the share of the level is
    $\mathrm{cov}(c_l, z) / \mathrm{var}(z)$. It is 0 for a level that says the same of every clip, however
    large its weights, and may be below 0 for one that mostly takes back what others say. A batch norm behind
    the layer changes no share. That a share is large does not say that the class would be lost without
    the level: levels are built on each other, and say much the same.

    Args:
      added: [num_levels, num_clips, num_classes] float64, what each level adds, shallowest first.

    Returns:
      [num_levels, num_classes] float64, each class's sum to one; NaN where the logit does not vary.
    """
    added = added - added.mean(axis=1, keepdims=True)
    logits = added.sum(axis=0)
    variance = np.mean(logits**2, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.mean(added * logits, axis=1) / variance
    return np.where(variance > 1e-12, shares, np.nan)
