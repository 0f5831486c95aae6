"""What the demo found, as tables and in words."""

from collections.abc import Mapping
from typing import Any

from mla_jax.commands.markdown import markdown_table
from mla_jax.report.when import When


def what_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each model: how well it says what is heard.

    Args:
      results: what each model's results.json holds, by its name.
    """
    return markdown_table(
        [
            {
                "model": name,
                "step": r["step"],
                "mAP": r["mAP"],
                "AUC": r["AUC"],
                "d-prime": r["d_prime"],
            }
            for name, r in results.items()
        ]
    )


def when_table(when: Mapping[str, When]) -> str:
    """A row for each model and score of seconds: how well it says when.

    Args:
      when: by the model's name.
    """
    return markdown_table(
        [
            {
                "when": name,
                "score of a second": score,
                "AP": judged.values["average_precision"],
                "AUC": judged.values["auc"],
                "within clips": judged.values["within_clips"],
            }
            for name, told in when.items()
            for score, judged in told.judged.items()
        ]
    )


def what_it_says(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The table in words: which model names sounds better, and why a step may be an early one.

    Args:
      results: what each model's results.json holds, by its name.
    """
    best, other = sorted(results, key=lambda name: -results[name]["mAP"])
    lines = [
        f"What is heard: {best} is ahead, with an mAP of {results[best]['mAP']:.3f} against "
        f"{results[other]['mAP']:.3f} of {other}."
    ]
    for name, found in results.items():
        if found["step"] < found["steps_trained"]:
            lines.append(
                f"{name} is taken at step {found['step']} of {found['steps_trained']}, where its mAP on "
                "held-out clips was highest."
            )
    return lines


def when_it_says(when: Mapping[str, When]) -> list[str]:
    """The table of when in words: who is ahead by each score, and which score is the better one here.

    Args:
      when: by the model's name, of two models or none.
    """
    if not when:
        return []
    found = {name: _ranking(told) for name, told in when.items()}
    clauses = []
    for score in ("in_context", "alone"):
        best, other = sorted(found, key=lambda name: -found[name][score])
        clauses.append(
            f"by the score {score} {best} is ahead, with an average precision over seconds of "
            f"{found[best][score]:.3f} against {found[other][score]:.3f} of {other}"
        )
    lines = [f"When it is heard: {'; '.join(clauses)}."]
    if all(of_model["alone"] > of_model["in_context"] for of_model in found.values()):
        lines.append(
            "The second alone is the better score here, since a second of a generated clip says by itself "
            "what sounds in it. In recordings it says less than the clip; so in_context, made of both, is "
            "what mla-predict and maps show."
        )
    return lines


def _ranking(told: When) -> dict[str, float]:
    return {score: judged.values["average_precision"] for score, judged in told.judged.items()}
