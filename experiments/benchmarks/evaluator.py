"""The evaluator against scikit-learn's functions in a loop over the classes."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from experiments.benchmarks.rows import NotMeasuredError, Row, compare, threads
from experiments.benchmarks.setting import Setting
from mla_jax.evaluation import metrics


def evaluator(setting: Setting) -> list[Row]:
    """AP and AUC of all classes; checks that both compute the same."""
    try:
        from sklearn.metrics import average_precision_score, roc_auc_score
    except ImportError as error:
        raise NotMeasuredError("scikit-learn is not installed: pip install '.[bench]'") from error
    labels = setting.eval.multi_hot()
    scores = scores_with_ties(labels)

    def peer() -> tuple[np.ndarray, np.ndarray]:
        wanted = [k for k in range(labels.shape[1]) if 0 < labels[:, k].sum() < len(labels)]
        return (
            np.array([average_precision_score(labels[:, k], scores[:, k]) for k in wanted]),
            np.array([roc_auc_score(labels[:, k], scores[:, k]) for k in wanted]),
        )

    found = metrics.evaluate(scores, labels)
    defined = ~np.isnan(found.auc)
    theirs = peer()
    difference = max(
        float(np.abs(found.average_precision[defined] - theirs[0]).max()),
        float(np.abs(found.auc[defined] - theirs[1]).max()),
    )
    tracemalloc.start()
    metrics.evaluate(scores, labels)
    extra = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    shares = np.array_split(np.ascontiguousarray(scores.T), threads())

    def sort_all() -> None:
        with ThreadPoolExecutor(len(shares)) as pool:
            list(pool.map(lambda share: np.sort(share, axis=1), shares))

    return [
        Row(
            peer="scikit-learn, a loop over classes",
            work=f"AP and AUC, {labels.shape[1]} classes, {len(labels):,} clips ({setting.data_name})",
            at_least="30x",
            limit="sorting the scores of each class, nothing else",
            notes={
                "largest difference": difference,
                "extra memory, times the scores": extra / scores.nbytes,
            },
            **compare(
                lambda: metrics.evaluate(scores, labels),
                peer,
                max(2, setting.sizes.repeats // 2),
                (sort_all, 1.0),
            ),
        )
    ]


def scores_with_ties(labels: np.ndarray) -> np.ndarray:
    """Random float32 scores that favour the labels, rounded to thousandths so that many are equal."""
    rng = np.random.default_rng(0)
    scores = rng.random(labels.shape, np.float32)
    return np.round(scores * 0.9 + 0.1 * labels, 3).astype(np.float32)
