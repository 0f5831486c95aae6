"""Segment-based metrics against the libraries of the field, sed_scores_eval and sed_eval. Slow.

They are the optional extra `localization`: `pip install -e '.[localization]'`.
"""

import warnings
from typing import Any

import numpy as np
import pytest

from mla_jax.localization.event_metrics import Collars, event_metrics
from mla_jax.localization.event_rules import EventRules, find_events
from mla_jax.localization.events import (
    segment_bounds,
    segment_reference,
    segments_to_events,
)
from mla_jax.localization.segment_metrics import SegmentMetrics, evaluate_segments
from mla_jax.localization.strong_labels import Event

# The libraries' own warnings are not ours to mend.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

N, T, K = 40, 10, 6


@pytest.fixture(scope="module")
def libraries() -> tuple[Any, Any, Any]:
    """sed_scores_eval, and what it rests on: sed_eval and dcase_util."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import dcase_util
            import sed_eval
            import sed_scores_eval
        except ImportError as error:
            pytest.skip(
                f"sed_scores_eval cannot be imported ({error}): it is the optional extra localization, "
                "pip install -e '.[localization]'"
            )
    return sed_scores_eval, sed_eval, dcase_util


def random_events(rng: np.random.Generator, resolution: float, num_classes: int) -> list[Event]:
    """Events with onsets and offsets on and off the boundaries, those of a class well apart.

    (sed_scores_eval refuses events of a class that touch or overlap.)
    """
    events = []
    for k in range(num_classes):
        ticks = np.sort(rng.choice(45, 2 * int(rng.integers(0, 4)), replace=False))
        # Fourths of a segment, so that every fourth is on a boundary; some moved a little.
        times = (ticks + rng.choice([0.0, 0.0, 0.3], len(ticks))) / 4 * resolution
        events += [Event(float(a), float(b), k) for a, b in times.reshape(-1, 2)]
    return events


def strong_case(
    seed: int, *, resolution: float = 1.0, decimals: int | None = None, silent_classes: int = 0
) -> tuple[np.ndarray, np.ndarray, list[str], dict[str, list[Event]]]:
    """Scores, the number of segments, ids and strong labels; the last classes never sound."""
    rng = np.random.default_rng(seed)
    num_segments = rng.integers(1, T + 1, N)
    ids = [f"clip{i:02d}" for i in range(N)]
    sounding = K - silent_classes
    labels = {name: random_events(rng, resolution, sounding) for name in ids}
    # Every other class sounds in a segment that is there.
    labels[ids[0]] = [Event(0.0, 0.5 * resolution, k) for k in range(sounding)]
    scores = rng.random((N, T, K))
    return scores if decimals is None else scores.round(decimals), num_segments, ids, labels


def judge(
    scores: np.ndarray,
    num_segments: np.ndarray,
    ids: list[str],
    labels: dict[str, list[Event]],
    threshold: Any,
    resolution: float = 1.0,
) -> SegmentMetrics:
    """The metrics of a `strong_case`."""
    mask = np.arange(T) < num_segments[:, None]
    made = segment_reference(labels, ids, mask, K, resolution=resolution)
    return evaluate_segments(scores, made.active, mask=made.mask, threshold=threshold)


@pytest.mark.parametrize("decimals", [None, 1], ids=["random", "tied"])
@pytest.mark.parametrize("resolution", [1.0, 0.96, 0.1])
@pytest.mark.parametrize("threshold", [0.5, "each"])
def test_equals_sed_scores_eval(
    libraries: tuple[Any, Any, Any],
    threshold: float | str,
    resolution: float,
    decimals: int | None,
) -> None:
    theirs = libraries[0].segment_based
    create = libraries[0].base_modules.scores.create_score_dataframe
    names = [f"class{k}" for k in range(K)]
    limits = np.full(K, 0.5) if threshold == 0.5 else np.linspace(0.2, 0.8, K).round(1)
    for seed in range(3):
        case = strong_case(seed, resolution=resolution, decimals=decimals)
        scores, num_segments, ids, labels = case
        ours = judge(*case, limits, resolution)
        frames = {
            name: create(scores[i, :n], np.round(np.arange(n + 1) * resolution, 6), names)
            for i, (name, n) in enumerate(zip(ids, num_segments, strict=True))
        }
        # It rounds the boundaries of segments to a microsecond, but not events: 0.1 + 0.2 seconds would
        # reach into the segment that begins at 0.3. Ours rounds both.
        truth = {
            name: [(round(a, 6), round(b, 6), names[k]) for a, b, k in rows]
            for name, rows in labels.items()
        }
        # A little short of the end, so that a rounding error does not make one segment more.
        durations = {
            name: float((n - 0.1) * resolution) for name, n in zip(ids, num_segments, strict=True)
        }
        data = {"scores": frames, "ground_truth": truth, "audio_durations": durations}
        data["segment_length"] = resolution
        chosen = dict(zip(names, limits.tolist(), strict=True))

        f1, precision, recall, counts = theirs.fscore(**data, threshold=chosen)
        error, insertion, deletion, _ = theirs.error_rate(**data, threshold=chosen)
        ap, _ = theirs.average_precision(**data)
        auc, _ = theirs.auroc(**data)
        for k, name in enumerate(names):
            assert ours.true_positives[k] == counts[name]["tps"]
            assert ours.false_positives[k] == counts[name]["fps"]
            assert ours.num_active[k] == counts[name]["n_ref"]
            assert ours.f1[k] == pytest.approx(f1[name], rel=1e-12)
            assert ours.class_error_rate[k] == pytest.approx(error[name], rel=1e-12)
            assert error[name] == pytest.approx(insertion[name] + deletion[name])
            assert ours.average_precision[k] == pytest.approx(ap[name], rel=1e-12)
            if decimals is None:  # it integrates a staircase, which is no AUC where scores tie
                assert ours.auc[k] == pytest.approx(auc[name], rel=1e-12)
        assert ours.micro_f1 == pytest.approx(f1["micro_average"], rel=1e-12)
        assert ours.precision == pytest.approx(precision["micro_average"], rel=1e-12)
        assert ours.recall == pytest.approx(recall["micro_average"], rel=1e-12)
        assert ours.macro_f1 == pytest.approx(f1["macro_average"], rel=1e-12)
        assert ours.macro_error_rate == pytest.approx(error["macro_average"], rel=1e-12)
        assert ours.macro_average_precision == pytest.approx(ap["mean"], rel=1e-12)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_error_rates_equal_sed_eval(libraries: tuple[Any, Any, Any], threshold: float) -> None:
    _, sed_eval, dcase_util = libraries
    names = [f"class{k}" for k in range(K)]

    def event_list(events: list[Event]) -> Any:
        return dcase_util.containers.MetaDataContainer(
            [{"onset": a, "offset": b, "event_label": names[k]} for a, b, k in events]
        )

    for seed in range(2):
        case = strong_case(seed, decimals=1, silent_classes=1)
        scores, num_segments, ids, labels = case
        ours = judge(*case, threshold)
        mask = np.arange(T) < num_segments[:, None]
        found = segments_to_events((scores > threshold) & mask[:, :, None], ids)
        metrics = sed_eval.sound_event.SegmentBasedMetrics(names, time_resolution=1.0)
        for name, n in zip(ids, num_segments.tolist(), strict=True):
            metrics.evaluate(event_list(labels[name]), event_list(found[name]), n)
        assert ours.classes_without_events == [K - 1]
        assert ours.false_positives[K - 1] > 0
        errors = metrics.results_overall_metrics()["error_rate"]
        for name in ("error_rate", "substitution_rate", "deletion_rate", "insertion_rate"):
            assert getattr(ours, name) == pytest.approx(errors[name], rel=1e-9), name
        assert min(errors.values()) > 0
        f1 = metrics.results_overall_metrics()["f_measure"]
        assert ours.micro_f1 == pytest.approx(f1["f_measure"], rel=1e-9)
        by_class = metrics.results_class_wise_metrics()
        for k, name in enumerate(names[:-1]):
            assert ours.f1[k] == pytest.approx(by_class[name]["f_measure"]["f_measure"], rel=1e-9)
            assert ours.class_error_rate[k] == pytest.approx(
                by_class[name]["error_rate"]["error_rate"], rel=1e-9
            )


def test_event_based_figures_are_sed_evals(libraries: tuple[Any, Any, Any]) -> None:
    _, sed_eval, dcase_util = libraries
    names = [f"class{k}" for k in range(K)]
    scores, num_segments, ids, labels = strong_case(5)
    mask = np.arange(T) < num_segments[:, None]
    reference = segment_reference(labels, ids, mask, K)
    rules = EventRules(np.full(K, 0.6), np.full(K, 0.4), least_seconds=2.0)
    ours = event_metrics(scores, reference, rules, 1.0, Collars(0.5, 0.5, 0.2))
    metrics = sed_eval.sound_event.EventBasedMetrics(
        names, t_collar=0.5, percentage_of_length=0.2, event_matching_type="optimal"
    )
    num_events = 0
    bounds = segment_bounds(T, 1.0)
    for i, name in enumerate(ids):
        end = float(num_segments[i])
        whole = np.where(mask[i], scores[i].T, np.nan)
        found = find_events(whole, bounds[:-1], bounds[1:], np.arange(K), rules)
        inside = [e for e in labels[name] if e.onset < end]
        num_events += len(inside)
        metrics.evaluate(
            dcase_util.containers.MetaDataContainer(
                [
                    {"onset": a, "offset": min(b, end), "event_label": names[k], "file": name}
                    for a, b, k in inside
                ]
            ),
            dcase_util.containers.MetaDataContainer(
                [
                    {"onset": a, "offset": b, "event_label": names[k], "file": name}
                    for k, a, b, _ in zip(*found, strict=True)
                ]
            ),
        )
    assert ours["num_events"] == num_events
    overall = metrics.results_overall_metrics()["f_measure"]["f_measure"]
    by_class = metrics.results_class_wise_metrics()
    assert ours["micro_f1"] == pytest.approx(overall, abs=1e-9)
    mean = np.mean([by_class[name]["f_measure"]["f_measure"] for name in names])
    assert ours["macro_f1"] == pytest.approx(mean, abs=1e-9)
    assert 0.02 < mean < 0.9


def test_true_scores_have_all_of_psds(libraries: tuple[Any, Any, Any]) -> None:
    rng = np.random.default_rng(0)
    active = np.repeat(rng.random((30, 5, 3)) < 0.3, 2, axis=1)
    active[0, :2] = True
    ids = [f"clip{i}" for i in range(30)]
    reference = segment_reference(segments_to_events(active, ids), ids, np.ones((30, 10), bool), 3)
    half = np.full(3, 0.5)
    rules, collars = EventRules(half, half), Collars()
    true = event_metrics(active.astype(np.float32), reference, rules, 1.0, collars)
    assert [true[n] for n in ("macro_f1", "micro_f1", "psds1", "psds2")] == pytest.approx([1] * 4)
    drawn = event_metrics(rng.random(active.shape), reference, rules, 1.0, collars)
    assert max(drawn[n] for n in ("macro_f1", "micro_f1", "psds1")) < 0.6
