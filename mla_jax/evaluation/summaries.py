"""An evaluation as plain values for a JSON file, and which classes to show of many."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mla_jax.errors import UserError
from mla_jax.evaluation.metrics import Metrics

NUM_CHOSEN_CLASSES = 9


def summarize(metrics: Metrics) -> dict[str, Any]:
    """The metrics of a whole evaluation, by name."""
    return {
        "mAP": metrics.mAP,
        "AUC": metrics.AUC,
        "d_prime": metrics.d_prime,
        "mean_class_d_prime": metrics.mean_class_d_prime,
        "num_clips": metrics.num_clips,
        "classes_left_out": metrics.undefined_classes,
    }


def in_words(results: Mapping[str, Any]) -> str:
    """The scores of `summarize` in one line; what is not defined is said, not printed as a number."""
    clips = f"{results['num_clips']:,} clips"
    if left_out := results.get("classes_left_out"):
        clips += f", without {len(left_out):,} classes that cannot be scored"
    if math.isnan(results["mAP"]):
        return (
            f"no score of {clips}: a class can be scored where some clips have it and others do not"
        )
    d_prime = f"d-prime {results['d_prime']:.3f}"
    if math.isinf(results["d_prime"]):
        d_prime = f"no d-prime (it is infinite where AUC is {results['AUC']:.0f})"
    return f"mAP {results['mAP']:.4f}, AUC {results['AUC']:.4f}, {d_prime}, {clips}"


def per_class(
    metrics: Metrics,
    mids: Sequence[str],
    names: Sequence[str],
    train_counts: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """One row a class; metrics that are not defined are NaN (null in JSON).

    Args:
      metrics: of the classes.
      mids, names: [num_classes] of each class.
      train_counts: [num_classes] how many training clips have the class.
    """
    rows = []
    for k in range(len(mids)):
        row = {
            "index": k,
            "mid": mids[k],
            "name": names[k],
            "average_precision": float(metrics.average_precision[k]),
            "AUC": float(metrics.auc[k]),
            "d_prime": float(metrics.class_d_prime[k]),
            "num_positives": int(metrics.num_positives[k]),
        }
        if metrics.num_known[k] != metrics.num_clips:
            row["num_known"] = int(metrics.num_known[k])
        if train_counts is not None:
            row["num_train_clips"] = int(train_counts[k])
        rows.append(row)
    return rows


def choose_classes(
    names: Sequence[str], num_train_clips: Sequence[int] | np.ndarray, chosen: Sequence[str] = ()
) -> list[int]:
    """Indices of the classes that a figure or table shows.

    Args:
      names, num_train_clips: of every class, in index order.
      chosen: display names or indices; empty: nine from the most to the least frequent, by even factors.

    Raises:
      UserError: there is no such class.
    """
    if not chosen:
        frequency = np.log(np.maximum(num_train_clips, 1))
        shown: list[int] = []
        for aim in np.linspace(frequency.max(), frequency.min(), NUM_CHOSEN_CLASSES):
            left = [k for k in range(len(names)) if k not in shown]
            shown += sorted(left, key=lambda k: abs(frequency[k] - aim))[:1]
        return sorted(shown, key=lambda k: -frequency[k])
    indices = {str(k): k for k in range(len(names))} | {name: k for k, name in enumerate(names)}
    for name in chosen:
        if name not in indices:
            raise UserError(
                f"there is no class {name!r}; give display names or indices of the class list"
            )
    return [indices[name] for name in chosen]
