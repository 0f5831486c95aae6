"""A trained run as a small folder to give away: its model in 8 bits, its scores, and a card of it.

folder/config.json      the settings, without where the data were
folder/model.npz        the weights in 8 bits, with the class list and what the embeddings mean
folder/results.json     the scores, overall and by class, of what is in model.npz
folder/thresholds.json  a threshold for each class, if the run, or the one named beside it, has them
folder/card.json        every fact that the card states
folder/README.md        the card, written from these files
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.config import Config
from mla_jax.errors import UserError
from mla_jax.evaluation import metrics, summaries
from mla_jax.evaluation.metrics import Metrics
from mla_jax.models.multi_level import num_parameters
from mla_jax.presets import train_flags
from mla_jax.pretrained.card import card_text, require_about
from mla_jax.runs import fingerprint
from mla_jax.runs.folder import MAY_CHANGE, RunFolder
from mla_jax.runs.model_file import write_model
from mla_jax.runs.thresholds import read_thresholds
from mla_jax.runs.trained import TrainedModel
from mla_jax.storage import files
from mla_jax.storage.folders import new_folder

MOST_BYTES = 6_000_000
MOST_LOSS = 0.001

# In what the run that gives the thresholds may differ: it keeps clips for validation.
_OF_THE_OTHER = (
    *(name for name in MAY_CHANGE if name != "train.steps"),
    "train.seed",
    "data.train",
    "data.class_list",
    "data.validation_fraction",
)


def store_model(
    workdir: str | Path,
    folder: str | Path,
    about: Mapping[str, Any],
    data: str = "",
    *,
    step: int = 0,
    thresholds: str | Path = "",
    most_loss: float = MOST_LOSS,
) -> dict[str, Any]:
    """Writes a run's model as a folder to give away, after comparing it with the run's.

    A run that trained on all of its clips has none left to choose thresholds on. It takes those of another
    run of the same settings, which kept some.

    Args:
      workdir: a finished run.
      folder: the folder to write; its name is the model's.
      about: what the card says of the data, as plain values: see `mla_jax.pretrained.card`.
      data: the labelled clips to compare on; empty: the run's `data.eval`.
      step: which checkpoint; 0: the best by validation, else the newest.
      thresholds: the run whose thresholds are taken; empty: this one, if it has some for this step.
      most_loss: how much mAP the 8 bits may cost.

    Returns:
      What card.json holds.

    Raises:
      UserError: `about` is not that, a run or the data cannot be used, the run of the thresholds has none,
        or other settings or clips, the loss or the size is too large, or the folder is taken.
    """
    require_about(about)
    trained, run = TrainedModel.open(workdir, step), RunFolder(workdir)
    results = run.results()
    if results is None:
        raise UserError(f"{workdir} is not a finished run; train it to its last step first")
    data = data or trained.config.data.eval
    if not data:
        raise UserError(
            f"{workdir} names no eval data: give the clips to compare the stored model on"
        )
    other = RunFolder(thresholds) if thresholds else None
    kept = _thresholds_of(other, trained) if other else _thresholds(run, trained)
    clips = trained.open_clips(data)
    labels = clips.multi_hot()
    with new_folder(folder, last="model.npz") as made:
        target = RunFolder(made)
        target.write_config(_without_paths(trained.config))
        write_model(target.model_file, trained.variables, _meta(trained))
        stored = TrainedModel.open(made)
        probs = [model.predict(clips) for model in (trained, stored)]
        before, after = (metrics.evaluate(p, labels, clips.label_mask) for p in probs)
        card = {
            "name": Path(folder).name,
            **_facts(trained, results),
            **(
                {"thresholds": f"{kept['num_clips']:,} clips ({kept['chosen_on']})"} if kept else {}
            ),
            "made_by": [
                *about.get("made_by", []),
                *_commands(trained.config, Path(folder).name, other),
            ],
            "about": {name: value for name, value in about.items() if name != "made_by"},
            "compared_on": {"clips": len(clips), "data": about.get("compared_on", Path(data).name)},
            "float32": _scores(before),
            "stored": _scores(after),
            "largest_difference": float(np.abs(probs[0] - probs[1]).max()),
            "bytes": target.model_file.stat().st_size,
        }
        _require_small(card, most_loss)
        of_stored = _results(results, after, trained, fingerprint.describe({"eval": clips}))
        target.write_results(of_stored)
        if kept:
            files.write_json(target.thresholds_file, kept)
        files.write_json(made / "card.json", card)
        files.write_text(made / "README.md", card_text(card, of_stored["classes"]))
    return card


def _commands(config: Config, name: str, other: RunFolder | None) -> list[str]:
    """Those that train the run, and the other if there is one, and make the model."""
    store = f"mla-pretrained --workdir=RUN --name={name} --data=EVAL --about=ABOUT.json"
    if other is None:
        return [train_flags(config), store]
    train_other = train_flags(other.config(), "OTHER")
    return [train_flags(config), train_other, f"{store} --thresholds=OTHER"]


def _without_paths(config: Config) -> Config:
    data = dataclasses.replace(config.data, train="", eval="", class_list="")
    return dataclasses.replace(config, data=data)


def _meta(trained: TrainedModel) -> dict[str, Any]:
    """What a checkpoint keeps beside the state, and the step."""
    return {
        "config": _without_paths(trained.config).to_dict(),
        "classes": dataclasses.asdict(trained.classes),
        "num_features": trained.num_features,
        "max_segments": trained.max_segments,
        **({"embedding": trained.embedding.to_json()} if trained.embedding else {}),
        **trained.made_with,
        "step": trained.step,
    }


def _facts(trained: TrainedModel, results: Mapping[str, Any]) -> dict[str, Any]:
    model = trained.config.model
    return {
        "architecture": model.architecture,
        "pooling": model.pooling,
        "hidden_units": model.hidden_units,
        "clip_blocks": model.clip_blocks,
        "parameters": num_parameters(trained.variables),
        "classes": len(trained.classes),
        "embedding": str(trained.embedding or "unknown"),
        "encoder": trained.embedding.encoder if trained.embedding else "unknown",
        "max_segments": trained.max_segments,
        "step": trained.step,
        "step_chosen_by": results["step_chosen_by"]
        if results["step"] == trained.step
        else "by hand",
        "training_clips": trained.made_with.get("clips", {}).get("train"),
        "seed": trained.config.train.seed,
    }


def _scores(found: Metrics) -> dict[str, float]:
    return {"mAP": found.mAP, "AUC": found.AUC, "d_prime": found.d_prime}


def _require_small(card: Mapping[str, Any], most_loss: float) -> None:
    loss = card["float32"]["mAP"] - card["stored"]["mAP"]
    if not loss <= most_loss:
        raise UserError(
            f"8 bits cost this model {loss:.4f} of its mAP of {card['float32']['mAP']:.4f}, more than "
            f"{most_loss:g}: it is not stored"
        )
    if card["bytes"] > MOST_BYTES:
        raise UserError(
            f"the stored model takes {card['bytes']:,} bytes, more than {MOST_BYTES:,}; store a smaller one"
        )


def _results(
    results: Mapping[str, Any], scores: Metrics, trained: TrainedModel, scored: Mapping[str, Any]
) -> dict[str, Any]:
    """The run's results with the scores of the stored model instead, and what they are of."""
    counts = [row.get("num_train_clips") for row in results["classes"]]
    known = None if None in counts or not counts else np.array(counts)
    left_out = ("bootstrap_mAP", "average", "classes")
    kept = {name: value for name, value in results.items() if name not in left_out}
    return {
        **kept,
        **summaries.summarize(scores),
        "step": trained.step,
        "evaluated_on": "eval",
        **{name: {**trained.made_with.get(name, {}), **scored[name]} for name in scored},
        "classes": summaries.per_class(scores, trained.classes.mids, trained.classes.names, known),
    }


def _thresholds(run: RunFolder, trained: TrainedModel) -> dict[str, Any] | None:
    """The run's own, if they are of this step."""
    kept = read_thresholds(run, trained.classes)
    return kept if kept and kept["step"] == trained.step else None


def _thresholds_of(other: RunFolder, trained: TrainedModel) -> dict[str, Any]:
    """Those of another run of the same settings, as of this model's step."""
    other.require_same_settings(trained.config, _OF_THE_OTHER)
    kept, results = read_thresholds(other, trained.classes), other.results()
    if kept is None or results is None:
        raise UserError(
            f"{other} has no thresholds.json, or no results; give a finished run with a validation split "
            "(--config.data.validation_fraction=0.1)"
        )
    theirs, ours = _labelled(results), _labelled(trained.made_with)
    if theirs != ours:
        raise UserError(
            f"{other} had {theirs:,} clips to train and validate on, the model {ours:,}; give a run of the "
            "same clips"
        )
    by = f"{kept['chosen_on']} of a run of the same settings"
    return {**kept, "chosen_on": by, "step": trained.step}


def _labelled(made_with: Mapping[str, Any]) -> int:
    """How many clips a run had, those that it kept for validation among them."""
    clips: Mapping[str, int] = made_with.get("clips", {})
    return clips.get("train", 0) + clips.get("validation", 0)
