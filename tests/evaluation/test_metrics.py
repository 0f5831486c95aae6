"""The evaluator: properties of a ranking, then scikit-learn's values, then the real eval labels."""

import csv
import dataclasses
import math
import pathlib
import tracemalloc

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mla_jax.errors import UserError
from mla_jax.evaluation import metrics

NUM_CLIPS, NUM_CLASSES = 400, 37  # more classes than two blocks, and not a multiple of one


def make_case(
    seed: int = 0, shape: tuple[int, int] = (NUM_CLIPS, NUM_CLASSES), decimals: int | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Scores that know something of the labels, of frequent and rare classes; all are defined."""
    rng = np.random.default_rng(seed)
    labels = rng.random(shape) < np.geomspace(0.5, 0.01, shape[1])
    labels[0], labels[-1] = True, False
    scores = rng.random(shape) + 0.3 * labels
    return (scores if decimals is None else scores.round(decimals)), labels


def assert_as_sklearn(
    scores: npt.NDArray[np.floating],
    labels: npt.NDArray[np.bool_],
    result: metrics.Metrics,
) -> None:
    # Computed only for the classes of both kinds: scikit-learn warns for the others.
    for k in range(labels.shape[1]):
        if labels[:, k].any() and not labels[:, k].all():
            ap = average_precision_score(labels[:, k], scores[:, k])
            auc = roc_auc_score(labels[:, k], scores[:, k])
        else:
            ap = auc = math.nan
        assert result.average_precision[k] == pytest.approx(ap, rel=0, abs=1e-10, nan_ok=True), k
        assert result.auc[k] == pytest.approx(auc, rel=0, abs=1e-10, nan_ok=True), k


# Properties.


def test_perfect_ranking_scores_one() -> None:
    _, labels = make_case()
    noise = np.random.default_rng(1).random(labels.shape)
    result = metrics.evaluate(noise + 2 * labels, labels)
    np.testing.assert_array_equal(result.average_precision, 1)
    np.testing.assert_array_equal(result.auc, 1)
    assert (result.mAP, result.AUC, result.d_prime) == (1, 1, math.inf)


def test_reversed_ranking_scores_least() -> None:
    _, labels = make_case()
    result = metrics.evaluate(-labels.astype(np.float32), labels)
    np.testing.assert_array_equal(result.auc, 0)
    # All positives share the last place: the precision there is the class's prior.
    np.testing.assert_allclose(result.average_precision, labels.mean(0), rtol=1e-12)
    assert result.d_prime == -math.inf


def test_uninformative_scores_give_chance() -> None:
    _, labels = make_case()
    result = metrics.evaluate(np.full(labels.shape, 0.25, np.float32), labels)
    np.testing.assert_array_equal(result.auc, 0.5)
    np.testing.assert_array_equal(result.class_d_prime, 0)
    np.testing.assert_allclose(result.average_precision, labels.mean(0), rtol=1e-12)


def test_values_worked_out_by_hand() -> None:
    scores = np.array([[0.9], [0.8], [0.8], [0.1]], np.float32)
    labels = np.array([[0], [1], [0], [1]])
    result = metrics.evaluate(scores, labels)
    # Positives at ranks 2-3 (tied) and 4: precisions 1/3 and 2/4. Pairs won: 1/2 of 4.
    assert result.average_precision[0] == pytest.approx((1 / 3 + 2 / 4) / 2, rel=1e-14)
    assert result.auc[0] == 0.125


@pytest.mark.parametrize("decimals", [None, 1])
def test_order_of_clips_does_not_matter(decimals: int | None) -> None:
    scores, labels = make_case(decimals=decimals)
    order = np.random.default_rng(2).permutation(NUM_CLIPS)
    before, after = metrics.evaluate(scores, labels), metrics.evaluate(scores[order], labels[order])
    for field in dataclasses.fields(metrics.Metrics):
        np.testing.assert_array_equal(getattr(before, field.name), getattr(after, field.name))


@pytest.mark.parametrize("decimals", [None, 1])
def test_increasing_transform_changes_nothing(decimals: int | None) -> None:
    scores, labels = make_case(decimals=decimals)
    before, after = (metrics.evaluate(s, labels) for s in (scores, np.exp(3 * scores) - 7))
    np.testing.assert_array_equal(before.average_precision, after.average_precision)
    np.testing.assert_array_equal(before.auc, after.auc)


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_auc_of_negated_scores_is_the_complement(decimals: int | None) -> None:
    scores, labels = make_case(decimals=decimals)
    both = metrics.roc_auc(scores, labels) + metrics.roc_auc(-scores, labels)
    np.testing.assert_allclose(both, 1, rtol=0, atol=1e-12)


def test_classes_are_independent() -> None:
    scores, labels = make_case(decimals=1)
    together = metrics.evaluate(scores, labels)
    for k in range(NUM_CLASSES):
        alone = metrics.evaluate(scores[:, k : k + 1], labels[:, k : k + 1])
        assert alone.average_precision[0] == together.average_precision[k]
        assert alone.auc[0] == together.auc[k]
        assert alone.mAP == alone.average_precision[0]


def test_arguments_are_left_as_they_were() -> None:
    # In Fortran order the transposed block could be a view of the caller's array, and be sorted.
    for order in ("C", "F"):
        scores, labels = make_case()
        scores = np.array(scores, np.float32, order=order)
        kept = scores.copy()
        metrics.evaluate(scores, labels)
        metrics.evaluate(scores[:, :1], labels[:, :1])
        np.testing.assert_array_equal(scores, kept)


def test_parts_agree_with_the_whole() -> None:
    scores, labels = make_case(decimals=1)
    result = metrics.evaluate(scores, labels)
    np.testing.assert_array_equal(
        metrics.average_precision(scores, labels), result.average_precision
    )
    np.testing.assert_array_equal(metrics.roc_auc(scores, labels), result.auc)
    np.testing.assert_array_equal(result.num_positives, labels.sum(0))
    assert result.num_clips == NUM_CLIPS
    assert result.undefined_classes == []
    assert result.mAP == pytest.approx(result.average_precision.mean(), rel=1e-14)
    assert math.isclose(result.AUC, result.auc.mean(), rel_tol=1e-14)
    assert result.d_prime == metrics.d_prime(result.AUC)
    np.testing.assert_array_equal(result.class_d_prime, metrics.d_prime(result.auc))
    assert result.mean_class_d_prime == pytest.approx(result.class_d_prime.mean(), rel=1e-12)
    assert result.average_precision.dtype == result.auc.dtype == np.float64
    assert result.class_d_prime.dtype == np.float64
    assert result.num_positives.dtype == np.int64
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.mAP = 1.0  # type: ignore[misc]


# scikit-learn as the reference.


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_equals_sklearn(dtype: type[np.floating], decimals: int | None) -> None:
    scores, labels = make_case(3, decimals=decimals)
    scores = scores.astype(dtype)
    assert_as_sklearn(scores, labels, metrics.evaluate(scores, labels))


def test_equals_sklearn_on_logits_and_constant_scores() -> None:
    scores, labels = make_case(4)
    scores = 40 * (scores - 0.5)
    scores[:, 5], scores[:, 6] = -3.5, 0.0
    scores[::2, 6] = -0.0  # equal to 0.0, though its bits differ
    assert_as_sklearn(scores, labels, metrics.evaluate(scores, labels))


def test_equals_sklearn_where_float32_would_tie() -> None:
    scores, labels = make_case(5)
    scores = 1 + 1e-12 * scores
    assert len(np.unique(scores.astype(np.float32))) == 1
    assert_as_sklearn(scores, labels, metrics.evaluate(scores, labels))


@pytest.mark.parametrize("shape", [(2, 1), (2, 3), (3, 17), (5, 16)])
def test_equals_sklearn_on_tiny_sizes(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(6)
    for _ in range(10):
        scores = rng.integers(0, 3, shape).astype(np.float32)
        labels = rng.random(shape) < 0.5
        assert_as_sklearn(scores, labels, metrics.evaluate(scores, labels))


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint8, np.int64, np.float32])
def test_label_dtypes(dtype: type[np.generic]) -> None:
    scores, labels = make_case()
    expected = metrics.evaluate(scores, labels)
    np.testing.assert_array_equal(metrics.roc_auc(scores, labels.astype(dtype)), expected.auc)


def test_bfloat16_scores() -> None:
    scores, labels = make_case()
    half = scores.astype(ml_dtypes.bfloat16)
    result = metrics.evaluate(half, labels)
    assert_as_sklearn(half.astype(np.float32), labels, result)


# Undefined classes.


@pytest.mark.parametrize("defined", [[], [2], [1, 3]])
def test_undefined_classes_are_named_and_left_out(defined: list[int]) -> None:
    scores, labels = make_case(7, (50, 5))
    undefined = [k for k in range(5) if k not in defined]
    for k in undefined:
        labels[:, k] = k % 2 == 1  # no positives, or no negatives
    result = metrics.evaluate(scores, labels)
    assert result.undefined_classes == undefined
    assert all(type(k) is int for k in result.undefined_classes)
    np.testing.assert_array_equal(result.num_positives, labels.sum(0))
    for values in (result.average_precision, result.auc, result.class_d_prime):
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(values)), undefined)
    assert_as_sklearn(scores, labels, result)
    means = (result.mAP, result.AUC, result.d_prime, result.mean_class_d_prime)
    if not defined:
        assert all(math.isnan(m) for m in means)
        return
    columns = [(labels[:, k], scores[:, k]) for k in defined]
    auc = float(np.mean([roc_auc_score(*c) for c in columns]))
    assert result.mAP == pytest.approx(np.mean([average_precision_score(*c) for c in columns]))
    assert math.isclose(result.AUC, auc, rel_tol=1e-12)
    assert result.d_prime == pytest.approx(metrics.d_prime(auc))
    assert result.mean_class_d_prime == pytest.approx(np.mean(result.class_d_prime[defined]))


def test_a_single_clip_defines_no_class() -> None:
    result = metrics.evaluate(np.zeros((1, 3)), np.array([[0, 1, 0]]))
    assert result.undefined_classes == [0, 1, 2]
    assert math.isnan(result.mAP)


# d-prime.


@pytest.mark.parametrize(
    ("auc", "expected"),
    # The first is the pair that Yu et al. (2018) print; the last, sqrt(2) * 1.95996.
    [(0.970, 2.660), (0.030, -2.660), (0.5, 0.0), (0.975, 2.7718)],
)
def test_d_prime_values(auc: float, expected: float) -> None:
    assert metrics.d_prime(auc) == pytest.approx(expected, abs=5e-4)


def test_d_prime_inverts_the_normal_distribution() -> None:
    distances = np.linspace(-6, 6, 49).reshape(7, 7)
    auc: npt.NDArray[np.float64] = np.vectorize(lambda d: 0.5 * math.erfc(-d / 2))(
        distances
    )  # Phi(d / sqrt(2))
    result = metrics.d_prime(auc)
    assert result.shape == auc.shape
    np.testing.assert_allclose(result, distances, rtol=0, atol=1e-9)


def test_d_prime_edges() -> None:
    assert metrics.d_prime(1.0) == math.inf
    assert metrics.d_prime(0.0) == -math.inf
    assert math.isnan(metrics.d_prime(math.nan))
    assert type(metrics.d_prime(np.float64(0.7))) is float
    np.testing.assert_array_equal(
        metrics.d_prime(np.array([0.0, 0.5, 1.0, np.nan])), [-np.inf, 0, np.inf, np.nan]
    )
    assert metrics.d_prime(np.empty(0)).shape == (0,)


def test_perfect_class_keeps_the_mean_d_prime_finite() -> None:
    # One positive among 50: the best class counts as one that ties with one of 49 negatives.
    scores, labels = make_case(8, (50, 2))
    labels[:, 1] = False
    labels[7, 1] = True
    scores[7, 1] = 9.0
    result = metrics.evaluate(scores, labels)
    assert result.class_d_prime[1] == math.inf
    best = metrics.d_prime(1 - 0.5 / 49)
    assert result.mean_class_d_prime == pytest.approx((result.class_d_prime[0] + best) / 2)
    # A worse model, one tie in place of the perfect ranking, never has the higher mean.
    scores[7, 1] = np.delete(scores[:, 1], 7).max()
    worse = metrics.evaluate(scores, labels)
    assert worse.auc[1] == pytest.approx(1 - 0.5 / 49)
    assert worse.mean_class_d_prime <= result.mean_class_d_prime + 1e-12


# Errors.


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros(3), np.zeros(3), r"shape \(3,\) and labels \(3,\); give .*num_classes\]"),
        (np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), r"shape \(2, 2, 2\) and labels .*; give both"),
        (np.zeros((3, 2)), np.zeros((3, 4)), r"shape \(3, 2\) and labels \(3, 4\); give both"),
        # Broadcasting would let this one through.
        (np.zeros((3, 2)), np.zeros((1, 2)), r"shape \(3, 2\) and labels \(1, 2\); give both"),
        (np.zeros((0, 2)), np.zeros((0, 2)), r"\(0, 2\) .*at least one of each"),
        (np.zeros((2, 0)), np.zeros((2, 0)), r"\(2, 0\) .*at least one of each"),
        (np.zeros((2, 1), int), np.zeros((2, 1)), "scores has dtype int64; give floating-point"),
        (np.zeros((2, 1), bool), np.zeros((2, 1)), "scores has dtype bool; give floating-point"),
        (np.full((2, 1), "a"), np.zeros((2, 1)), "scores has dtype <U1; give floating-point"),
    ],
)
def test_shape_and_dtype_errors(scores: np.ndarray, labels: np.ndarray, message: str) -> None:
    for function in (metrics.evaluate, metrics.average_precision, metrics.roc_auc):
        with pytest.raises(UserError, match=f"^metrics: .*{message}") as error:
            function(scores, labels)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite(value: float) -> None:
    scores, labels = make_case()
    scores[11, 4] = scores[9, 30] = scores[9, 31] = value
    message = (
        rf"^metrics: at clip row 9, class 30: {value}, the first of 3 scores not finite; look for"
    )
    with pytest.raises(UserError, match=message):
        metrics.evaluate(scores, labels)


@pytest.mark.parametrize("value", [2, -1, 0.5, np.nan])
def test_labels_that_are_not_binary(value: float) -> None:
    scores, labels = make_case()
    numbers = labels.astype(np.float32)
    numbers[8, 3] = numbers[10, 0] = value
    message = (
        rf"^metrics: at clip row 8, class 3: {np.float32(value)}, the first of 2 labels neither "
        "0 nor 1; give bool or 0/1 labels"
    )
    with pytest.raises(UserError, match=message):
        metrics.evaluate(scores, numbers)


@pytest.mark.parametrize("value", [97.0, -0.1, 1.0000001])
def test_d_prime_of_no_auc(value: float) -> None:
    with pytest.raises(UserError, match=rf"^d_prime: AUC is {value:g}; give a fraction in \[0, 1"):
        metrics.d_prime(np.array([0.5, np.nan, value]))


# Size.


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("label_dtype", [np.bool_, np.int64])
def test_extra_memory_is_below_three_times_the_scores(
    dtype: type[np.floating], label_dtype: type[np.generic]
) -> None:
    scores, labels = make_case(shape=(5000, 200))
    scores, labels = scores.astype(dtype), labels.astype(label_dtype)
    tracemalloc.start()
    try:
        metrics.evaluate(scores, labels)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * scores.nbytes


# The released labels.


@pytest.fixture(scope="module")
def eval_labels(audioset_dir: pathlib.Path) -> npt.NDArray[np.bool_]:
    """[20371, 527] bool, read without the package's own readers."""
    with open(audioset_dir / "csv" / "class_labels_indices.csv", newline="") as file:
        index = {row["mid"]: int(row["index"]) for row in csv.DictReader(file)}
    with open(audioset_dir / "csv" / "eval_segments.csv", newline="") as file:
        rows = [r for r in csv.reader(file, skipinitialspace=True) if not r[0].startswith("#")]
    labels = np.zeros((len(rows), len(index)), np.bool_)
    for row, (_, _, _, mids) in zip(labels, rows, strict=True):
        row[[index[mid] for mid in mids.split(",")]] = True
    return labels


@pytest.mark.audioset
@pytest.mark.parametrize("decimals", [None, 1], ids=["random", "tied"])
def test_equals_sklearn_on_audioset(
    eval_labels: npt.NDArray[np.bool_], decimals: int | None
) -> None:
    assert eval_labels.shape == (20371, 527)
    assert eval_labels.sum() == 51804
    labels = eval_labels[:, ::16]  # scikit-learn takes long for all of them
    rng = np.random.default_rng(9)
    scores = rng.random(labels.shape, np.float32) + np.float32(0.3) * labels
    if decimals is not None:
        scores = scores.round(decimals)
    result = metrics.evaluate(scores, labels)
    assert result.undefined_classes == []
    assert_as_sklearn(scores, labels, result)


@pytest.mark.parametrize("seed", range(3))
def test_a_class_is_judged_on_the_clips_where_it_is_known(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, known = rng.random((90, 20)) < 0.2, rng.random((90, 20)) < 0.5
    known[:, 3] = False
    known[:, 4] &= labels[:, 4]
    scores = np.round(rng.random((90, 20)) + 0.3 * labels, 1)
    for unknown in (labels & known, labels | ~known):  # whatever stands where nothing is known
        result = metrics.evaluate(scores, unknown, known)
        np.testing.assert_array_equal(result.num_known, known.sum(axis=0))
        for k in range(20):
            truth, column = labels[known[:, k], k], scores[known[:, k], k]
            if k in (3, 4):
                assert np.isnan(result.average_precision[k])
                continue
            expected = average_precision_score(truth, column)
            assert result.average_precision[k] == pytest.approx(expected, abs=1e-12)
            assert result.auc[k] == pytest.approx(roc_auc_score(truth, column), abs=1e-12)
            assert result.num_positives[k] == truth.sum()
        assert result.mAP == pytest.approx(np.nanmean(result.average_precision))
    with pytest.raises(UserError, match=r"known is \[90, 19\] of bool.*\[90, 20\]"):
        metrics.evaluate(scores, labels, known[:, 1:])
