"""The card of a model that is given away: Markdown, written from the facts in its card.json alone.

What the facts say of the data, `about`, is written by hand, once for all models of them, as a JSON file:

    data         what the model was trained on; a sentence or two
    licence      that of the data, with the names that have to be named
    compared_on  what the scores are of, such as "AudioSet's eval split"
    limits       sentences, what not to expect: a list
    made_by      the commands that come before the training: a list
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mla_jax.errors import UserError

_TEXTS, _LISTS = ("data", "licence", "compared_on"), ("limits", "made_by")
_SHOWN = 10


def require_about(about: Any) -> None:
    """Checks what is said of the data.

    Raises:
      UserError: it is no object, a name is none of those above, or what it stands for is no text, or no list
        of texts.
    """
    names = (*_TEXTS, *_LISTS)
    if not isinstance(about, Mapping):
        raise UserError(f"about is no object; it has {', '.join(names)}")
    for name, value in about.items():
        if name not in names:
            raise UserError(f"about: a card says nothing of {name!r}; it has {', '.join(names)}")
        texts = value if name in _LISTS else [value]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            kind = "a list of texts" if name in _LISTS else "a text"
            raise UserError(f"about: {name} must be {kind}")


def card_text(card: Mapping[str, Any], classes: Sequence[Mapping[str, Any]]) -> str:
    """The card.

    Args:
      card: as `mla_jax.pretrained.store` makes it.
      classes: the rows of results.json, one a class.
    """
    about = card["about"]
    sections = {
        f"Model card: {card['name']}": _use(card),
        "The model": _facts(card),
        "Training data": [about.get("data", "Not stated.")],
        "Licence": [about.get("licence", "Not stated.")],
        "Scores": _scores(card, classes),
        "Limits": [f"- {limit}" for limit in about.get("limits", ["Not stated."])],
        "How it was made": ["```sh", *card["made_by"], "```"],
    }
    lines: list[str] = []
    for title, body in sections.items():
        lines += [f"{'##' if lines else '#'} {title}", "", *body, ""]
    return "\n".join(lines)


def _use(card: Mapping[str, Any]) -> list[str]:
    name = card["name"]
    return [
        f"`--workdir=pretrained:{name}` works wherever a run's folder does, and in Python "
        f'`mla_jax.TrainedModel.pretrained("{name}")`.',
        "",
        f"It takes embeddings of {card['embedding']}; sound, where that encoder's weights are at hand "
        f"(encoder {card['encoder']}).",
        "",
        "This file is written from `card.json` and `results.json` beside it.",
    ]


def _facts(card: Mapping[str, Any]) -> list[str]:
    clips = card["training_clips"]
    parts = [card["architecture"], f"{card['pooling']} pooling"]
    if card.get("clip_blocks"):
        parts.append(f"a level of whole clips ({card['clip_blocks']} blocks)")
    facts = {
        "architecture": ", ".join([*parts, f"{card['hidden_units']} units"]),
        "parameters": f"{card['parameters']:,}",
        "classes": f"{card['classes']:,}",
        "clips in training": f"of up to {card['max_segments']} segments",
        "training clips": "unknown" if clips is None else f"{clips:,}",
        "step": f"{card['step']:,} ({card['step_chosen_by']})",
        "seed": card["seed"],
        **({"thresholds": f"chosen on {chosen}"} if (chosen := card.get("thresholds")) else {}),
        "weights": f"8 bits a weight, {card['bytes']:,} bytes",
    }
    return ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in facts.items())]


def _scores(card: Mapping[str, Any], classes: Sequence[Mapping[str, Any]]) -> list[str]:
    compared, change = card["compared_on"], card["stored"]["mAP"] - card["float32"]["mAP"]
    lines = [
        f"On {compared['data']}, {compared['clips']:,} clips:",
        "",
        "| weights | mAP | AUC | d-prime |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {one['mAP']:.4f} | {one['AUC']:.4f} | {one['d_prime']:.3f} |"
            for name, one in (("in float32", card["float32"]), ("as stored", card["stored"]))
        ),
        "",
        f"So the 8 bits change mAP by {change:+.4f}; no probability differs by more than "
        f"{card['largest_difference']:.3f}. Every class is in `results.json`; the ends of its list:",
        "",
        "| class | average precision | clips |",
        "| --- | --- | --- |",
    ]
    scored = [row for row in classes if np.isfinite(row["average_precision"])]
    ranked = sorted(scored, key=lambda row: -row["average_precision"])
    ends = ranked if len(ranked) <= 2 * _SHOWN else [*ranked[:_SHOWN], *ranked[-_SHOWN:]]
    lines += [
        f"| {row['name']} | {row['average_precision']:.3f} | {row['num_positives']:,} |"
        for row in ends
    ]
    return lines
