"""A run that was trained on sounds."""

import dataclasses
from pathlib import Path

import mla_jax as mla
from mla_jax.audio.statistics import LOG_MEL_STATISTICS
from mla_jax.progress import silent
from mla_jax.recordings.embed import EmbedOptions, embed_recordings
from mla_jax.runs.train import train
from tests.audio.sounds import noise, tone, write_sound
from tests.support.small_runs import SMALL

ENCODER = dataclasses.replace(LOG_MEL_STATISTICS, hop_seconds=0.5)


def make_sounds(folder: Path) -> None:
    """Two tones and two noises, and labels.csv."""
    for i, seconds in enumerate((3.0, 2.0)):
        write_sound(folder / f"tone{i}.wav", tone(seconds, hertz=400.0 + 100 * i))
        write_sound(folder / f"noise{i}.flac", noise(seconds, seed=i))
    lines = [f"{kind}{i},{kind.title()}" for kind in ("tone", "noise") for i in range(2)]
    (folder / "labels.csv").write_text("\n".join(["filename,labels", *lines]) + "\n")


def train_on_sounds(sounds: Path, folder: Path) -> Path:
    """A run on clips of a second, which tells a tone from noise; its eval clips are those of training."""
    options = EmbedOptions(clip_seconds=1.0, labels=str(sounds / "labels.csv"))
    embed_recordings([str(sounds)], folder / "train", ENCODER, options)
    data = str(folder / "train")
    config = mla.Config.from_dict(
        {
            "model": {**SMALL, "block_norm": True},
            "data": {"train": data, "batch_size": 8},
            "train": {"steps": 100, "eval_every": 100, "checkpoint_every": 100},
            "optim": {"learning_rate": 0.02},
        }
    )
    train(config, folder / "run", say=silent)
    return folder / "run"
