"""What a run says of itself: beside the state in a checkpoint, and in its results."""

import dataclasses
from typing import Any

from mla_jax.config import Config
from mla_jax.evaluation import summaries
from mla_jax.evaluation.metrics import Metrics
from mla_jax.models.multi_level import num_parameters
from mla_jax.runs import fingerprint
from mla_jax.runs.data import RunData
from mla_jax.runs.environment import environment
from mla_jax.training.state import TrainState


def checkpoint_meta(config: Config, data: RunData) -> dict[str, Any]:
    """What is kept beside the state in a checkpoint, so that it can be used without the training data."""
    return {
        "config": config.to_dict(),
        "classes": dataclasses.asdict(data.classes),
        "num_features": data.train.num_features,
        "max_segments": data.train.max_segments,
        "embedding": data.train.embedding.to_json(),
        **fingerprint.describe(data.sets()),
    }


def results_of(
    config: Config,
    data: RunData,
    state: TrainState,
    scores: Metrics | None,
    *,
    evaluated_on: str | None,
    step_chosen_by: str,
    steps_trained: int,
    seconds: float,
    ended_by: str = "last step",
) -> dict[str, Any]:
    """What results.json holds of a run.

    `state` and `scores` are of the step that was chosen, the scores on the clips that `evaluated_on` names,
    "eval" or "validation". Where nothing was evaluated, `scores` and `evaluated_on` are None. `ended_by` says
    what ended training: "last step" or "patience".
    """
    summary: dict[str, Any] = {}
    classes: list[dict[str, Any]] = []
    if scores is not None:
        summary = summaries.summarize(scores)
        classes = summaries.per_class(
            scores, data.classes.mids, data.classes.names, data.train.class_counts()
        )
    return {
        **summary,
        "step": int(state.step),
        "step_chosen_by": step_chosen_by,
        "evaluated_on": evaluated_on,
        "steps_trained": steps_trained,
        "ended_by": ended_by,
        **fingerprint.describe(data.sets()),
        "seed": config.train.seed,
        "architecture": config.model.architecture,
        "parameters": num_parameters(state.variables),
        "seconds": seconds,
        **environment(),
        "classes": classes,
    }
