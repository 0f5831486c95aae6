"""Models and runs of weights as they begin: without the time that compiling the training takes."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

import mla_jax as mla
from mla_jax.localization.strong_labels import write_strong_labels
from mla_jax.models.multi_level import init_variables
from mla_jax.runs.checkpoints import Checkpoints
from mla_jax.runs.data import RunData
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.metrics_log import MetricsLog
from mla_jax.runs.results import checkpoint_meta, results_of
from mla_jax.runs.train import train
from mla_jax.storage import files

K = 7
EVIL = "<script>alert(1)</script> & \"Q\" 'q' $x$ </table>"
WORLD = mla.SyntheticConfig(num_clips=120, num_classes=K, num_features=16, max_segments=5)


def untrained_model(hidden_units: int = 8, **form: Any) -> mla.TrainedModel:
    """A model of this form for the clips of `WORLD`; no two of its levels or classes are alike."""
    config = mla.Config(model=mla.ModelConfig(hidden_units=hidden_units, **form))
    model = mla.build_model(config.model, K)
    variables = init_variables(model, 0, WORLD.num_features)
    return mla.TrainedModel(
        variables=variables,
        classes=mla.ClassList.numbered(K),
        config=config,
        step=1,
        num_features=WORLD.num_features,
        max_segments=WORLD.max_segments,
    )


def make_runs(folder: Path, *, trained: bool = False) -> Path:
    """Two runs, multi and single, on packed data whose first class and whose videos have evil names."""
    for split in ("train", "eval"):
        made = mla.synthetic_clips(WORLD, split)
        names = (EVIL, *made.classes.names[1:])
        video_ids = np.array([b"<i>&" + v for v in made.clips.video_ids])
        clips = dataclasses.replace(made.clips, video_ids=video_ids)
        mla.pack([clips], folder / split, classes=dataclasses.replace(made.classes, names=names))
    if trained:
        train(run_config(folder, "1-A-1-A"), folder / "multi", say=lambda _: None)
    else:
        leave_untrained(run_config(folder, "1-A-1-A"), folder / "multi")
    leave_untrained(run_config(folder, "1-A"), folder / "single")
    return folder


def run_config(folder: Path, architecture: str) -> mla.Config:
    return mla.Config.from_dict(
        {
            "model": {"hidden_units": 8, "output_norm": False, "architecture": architecture},
            "data": {
                "train": str(folder / "train"),
                "eval": str(folder / "eval"),
                "batch_size": 16,
            },
            "train": {"steps": 12, "log_every": 4, "eval_every": 4, "checkpoint_every": 12},
        }
    )


def leave_untrained(config: mla.Config, workdir: Path) -> None:
    """What a finished run leaves."""
    folder, data = RunFolder(workdir), RunData.open(config)
    assert data.eval is not None
    model = mla.build_model(config.model, K)
    state = mla.fresh_state(model, data.train, config)
    folder.write_config(config)
    with Checkpoints(folder.checkpoints) as checkpoints:
        checkpoints.save(state, checkpoint_meta(config, data))
    with MetricsLog(workdir, 0) as log:
        for step in (4, 8, 12):
            log.write({"step": step, "loss": 1 / step, "eval_mAP": step / 20})
    probs = mla.Predictor(model, state.variables).predict(data.eval)
    results = results_of(
        config,
        data,
        state,
        mla.evaluate(probs, data.eval.multi_hot()),
        evaluated_on="eval",
        step_chosen_by="last step",
        steps_trained=0,
        seconds=0.0,
    )
    files.write_json(folder.results_file, results)


def write_truth(folder: Path, data: Path, leave_out: str = "") -> Path:
    """A file of strong labels of all clips of the packed `WORLD` eval split but one."""
    clips = mla.open_packed(data)
    active = mla.synthetic_clips(WORLD, "eval").events
    events = mla.segments_to_events(active, clips.video_ids)
    events.pop(leave_out, None)
    names = mla.ClassList.read(data / "class_labels_indices.csv")
    write_strong_labels(folder / "events.tsv", events, names)
    return folder / "events.tsv"
