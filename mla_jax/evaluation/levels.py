"""How a model of several levels weighs them, class by class. NumPy only.

Its output layer is a dense layer on the levels' clip probabilities, joined: a kernel [L * K, K] whose L
blocks of K rows are the levels. The paper's claim is that classes favour different levels.

Unit k of a level is not class k: only the output layer is trained on labels, and it takes all units of all
levels for every class. So what a level does for a class is seen behind that layer, not in front of it.
"""

import numpy as np

from mla_jax.errors import UserError


def blocks(kernel: np.ndarray, num_levels: int, join: str) -> np.ndarray:
    """The kernel by level, [num_levels, num_classes, num_classes] float64, shallowest first.

    Args:
      kernel: [num_levels * num_classes, num_classes], `params["output"]["kernel"]`.
      num_levels: L, at least 2.
      join: the model's `config.model.join`, which order the blocks stand in.

    Raises:
      UserError: the kernel is not of so many levels, or `join` is not known.
    """
    kernel = np.asarray(kernel, np.float64)
    if num_levels < 2 or kernel.ndim != 2 or kernel.shape[0] != num_levels * kernel.shape[1]:
        raise UserError(
            f"a kernel of shape {list(kernel.shape)} does not join {num_levels} levels; it must be "
            "[levels * classes, classes], of at least 2 levels"
        )
    if join not in ("deepest_first", "shallowest_first"):
        raise UserError(f"join={join!r} is not known: choose from deepest_first, shallowest_first")
    by_level = kernel.reshape(num_levels, -1, kernel.shape[1])
    return by_level[::-1] if join == "deepest_first" else by_level


def weight_shares(by_level: np.ndarray) -> np.ndarray:
    r"""How much of a class's weights falls on each level, by the kernel alone.

    With $W_l$ the block of level $l$, class $k$ gives it the share
    $\|W_l[:, k]\| / \sum_m \|W_m[:, k]\|$, in Euclidean norms: 1 for a class that hears one level alone, 1/L
    for one that hears all alike. A batch norm behind the layer scales each column as a whole, and a bias
    adds the same whatever the levels say: neither changes a share.

    Args:
      by_level: from `blocks`.

    Returns:
      [num_levels, num_classes] float64, each class's sum to one; NaN where all of its weights are zero.
    """
    sizes = np.linalg.norm(by_level, axis=1)
    with np.errstate(invalid="ignore"):
        return sizes / sizes.sum(axis=0)


def variance_shares(by_level: np.ndarray, level_probs: np.ndarray) -> np.ndarray:
    r"""How much of what moves a class's logit from clip to clip comes from each level.

    Level $l$ adds $c_l = y_l W_l[:, k]$ to the logit $z = \sum_l c_l + b$ of class $k$, so that
    $\mathrm{var}(z) = \sum_l \mathrm{cov}(c_l, z)$, and the share of the level is
    $\mathrm{cov}(c_l, z) / \mathrm{var}(z)$. It is 0 for a level that says the same of every clip, however
    large its weights, and may be below 0 for one that mostly takes back what others say. A batch norm behind
    the layer changes no share. That a share is large does not say that the class would be lost without
    the level: levels are built on each other, and say much the same.

    Args:
      by_level: from `blocks`.
      level_probs: [num_levels, num_clips, num_classes] each level's clip probabilities y, shallowest first.

    Returns:
      [num_levels, num_classes] float64, each class's sum to one; NaN where the logit does not vary.
    """
    added = np.matmul(level_probs.astype(np.float64), by_level)
    added -= added.mean(axis=1, keepdims=True)
    logits = added.sum(axis=0)
    variance = np.mean(logits**2, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.mean(added * logits, axis=1) / variance
    return np.where(variance > 1e-12, shares, np.nan)
