r"""The paper's claims, judged by our own figures: each holds, does not hold, or cannot be told.

1. *Several levels beat one; 2-A-1-A is best.* Pairs of rows: every architecture of several levels against
   every one of a single level; 2-A-1-A against every other.
2. *Of single levels, deeper is worse.* 3-A against 6-A, and 6-A against 9-A.
3. *Different classes favour different levels.* Half of the eval clips choose the best architecture for each
   class, and the best of all classes; the other half measures the mean gain in average precision of the first
   over the second; then the halves change places. Where preferences are chance, choosing by them gains
   nothing on other clips, or loses. The interval is over classes.

Of the pairs of a claim, each with an estimate and a 95 % interval of its difference: the claim holds if every
interval lies on its side of 0. It does not hold if one lies on the other side, when widened so that among $n$
pairs without a difference it seldom (5 times in 100) happens to any: by the quotient of the normal quantiles
$\Phi^{-1}(1 - 0.025 / n) / \Phi^{-1}(1 - 0.025)$. Else it cannot be told, and so it is where rows are
missing.
"""

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from experiments.table import paper
from mla_jax.commands.markdown import markdown_table
from mla_jax.config import ARCHITECTURES
from mla_jax.storage import files

HOLDS, DOES_NOT, CANNOT_TELL = "holds", "does not hold", "cannot be told"

_SINGLE = [a for a in ARCHITECTURES if not paper.is_multi_level(a)]
_MULTI = [a for a in ARCHITECTURES if paper.is_multi_level(a)]
_OF_PAIRS: dict[str, list[tuple[str, str]]] = {
    "1a. every multi-level model beats every single-level one": [
        (multi, single) for multi in _MULTI for single in _SINGLE
    ],
    "1b. 2-A-1-A is best": [("2-A-1-A", a) for a in ARCHITECTURES if a != "2-A-1-A"],
    "2. of single levels, deeper is worse": [("3-A", "6-A"), ("6-A", "9-A")],
}
_OF_CLASSES = "3. different classes favour different levels"
_RULES = {"by validation, else last": None, "averaged, the paper's rule": "average"}

Claim = dict[str, str]


def judge(table: dict[str, Any]) -> list[Claim]:
    """Judges every claim for each form of the paper's model of which the table has at least two rows.

    Args:
      table: from `experiments.table.comparison.table_of`, or an older one.

    Returns:
      For each the form, the claim, the rule by which the scores were chosen, the verdict and its reason.
    """
    made = []
    for form in paper.FORMS:
        if sum(_architecture(row["name"], form) is not None for row in table["rows"]) < 2:
            continue
        for claim, pairs in _OF_PAIRS.items():
            for rule, part in _RULES.items():
                known = _differences(table, form, part)
                if known:
                    made.append(_claim(form, claim, rule, *_judge_pairs(pairs, known)))
        by_class = table.get("by_class", {}).get(form)
        made.append(_claim(form, _OF_CLASSES, "by validation, else last", *_judge_gain(by_class)))
    return made


def _architecture(row: str, form: str) -> str | None:
    """Which of the paper's architectures a row has in a form of the model; None if it is no such row."""
    of_form, _, architecture = row.partition(":")
    return architecture if of_form == form and architecture in ARCHITECTURES else None


def _claim(form: str, claim: str, rule: str, verdict: str, because: str) -> Claim:
    return {"form": form, "claim": claim, "scores": rule, "verdict": verdict, "because": because}


def _differences(
    table: dict[str, Any], form: str, part: str | None
) -> dict[tuple[str, str], tuple[float, float, float, bool]]:
    """By two architectures: the difference of their mAP, its interval, and whether that covers seeds."""
    rows = {row["name"]: row for row in table["rows"]}
    known: dict[tuple[str, str], tuple[float, float, float, bool]] = {}
    for pair in table["differences"]:
        found = pair.get(part) if part else pair
        a, b = (_architecture(pair[end], form) for end in "ab")
        if found is None or a is None or b is None:
            continue
        mean, low, high = (files.number(found[key]) for key in ("mAP", "low", "high"))
        seeds = min(len(rows[pair[end]]["seeds"]) for end in "ab") > 1
        covered = found.get("over_seeds", False) and seeds
        known[a, b] = mean, low, high, covered
        known[b, a] = -mean, -high, -low, covered
    return known


def _judge_pairs(
    pairs: Sequence[tuple[str, str]],
    known: Mapping[tuple[str, str], tuple[float, float, float, bool]],
) -> tuple[str, str]:
    there = {pair: known[pair] for pair in pairs if pair in known}
    missing = sorted({a for pair in pairs if pair not in known for a in pair} - _rows_of(known))
    normal = NormalDist()
    wider = normal.inv_cdf(1 - 0.025 / len(pairs)) / normal.inv_cdf(1 - 0.025)
    against = {
        pair: estimate
        for pair, (estimate, _, high, _) in there.items()
        if estimate + wider * (high - estimate) < 0
    }
    on_its_side = sum(low > 0 for _, low, _, _ in there.values())
    because = f"{on_its_side} of {len(pairs)} pairs are on its side of 0"
    if against:
        (better, worse), by = min(against.items(), key=lambda item: item[1])
        because += f", {len(against)} on the other: {worse} is above {better} by {-by:.3f}"
    if missing:
        because += f"; missing: {', '.join(missing)}"
    if there and not all(covered for *_, covered in there.values()):
        because += "; one seed, so that other seeds are not covered"
    if against:
        return DOES_NOT, because
    holds = len(there) == len(pairs) == on_its_side
    return (HOLDS if holds else CANNOT_TELL), because


def _rows_of(known: Mapping[tuple[str, str], object]) -> set[str]:
    return {architecture for pair in known for architecture in pair}


def _judge_gain(gain: dict[str, Any] | None) -> tuple[str, str]:
    if gain is None:
        return CANNOT_TELL, "no average precisions of halves of the clips"
    mean, low, high = (files.number(gain[key]) for key in ("mean", "low", "high"))
    because = (
        f"choosing among {gain['rows']} architectures for each of {gain['classes']} classes gains "
        f"{mean:+.4f} on clips that did not choose, {low:+.4f} to {high:+.4f}"
    )
    if gain["seeds"] == 1:
        because += "; one seed, so that other seeds are not covered"
    return (HOLDS if low > 0 else DOES_NOT if high < 0 else CANNOT_TELL), because


def gains_by_class(halves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """By form, what choosing an architecture for each class gains on clips that did not choose.

    Args:
      halves: by row, [seeds, 2, classes] average precision on each half of the eval clips; empty if unknown.

    Returns:
      For each form with at least two such rows the mean over classes, its 95 % interval, and how many
      classes, rows and seeds it is of.
    """
    made = {}
    for form in paper.FORMS:
        of_form = [
            of_row
            for name, of_row in halves.items()
            if _architecture(name, form) and np.ndim(of_row) == 3
        ]
        if len(of_form) > 1:
            of_class = np.mean([_gains(of_form, chooses) for chooses in (0, 1)], axis=0)
            of_class = of_class[~np.isnan(of_class)]
            if len(of_class) < 2:
                continue
            mean = float(of_class.mean())
            half = NormalDist().inv_cdf(0.975) * of_class.std(ddof=1) / np.sqrt(len(of_class))
            made[form] = {
                "mean": mean,
                "low": mean - float(half),
                "high": mean + float(half),
                "classes": len(of_class),
                "rows": len(of_form),
                "seeds": min(len(of_row) for of_row in of_form),
            }
    return made


def _gains(rows: Sequence[np.ndarray], chooses: int) -> np.ndarray:
    """[classes]: the gain on one half of the clips where the other, `chooses`, chose."""
    mean = np.array([row.mean(axis=0) for row in rows])  # [rows, 2, classes]
    defined = ~np.isnan(mean).any(axis=(0, 1))
    gain = np.full(mean.shape[-1], np.nan)
    judged, measured = mean[:, chooses, defined], mean[:, 1 - chooses, defined]
    if judged.size:
        best_of_class = np.take_along_axis(measured, judged.argmax(axis=0)[None], axis=0)[0]
        gain[defined] = best_of_class - measured[judged.mean(axis=1).argmax()]
    return gain


def markdown(table: dict[str, Any]) -> str:
    """The verdicts in Markdown; a line where the table has no rows that the claims are about."""
    made = judge(table)
    if not made:
        return (
            "No two rows are of the same form of the paper's model, so that no claim can be judged."
        )
    return markdown_table(made)
