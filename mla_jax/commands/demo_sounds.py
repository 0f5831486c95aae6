"""The recordings of `mla-demo-audio`: made up, or real ones with labels and folds."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mla_jax.commands import console
from mla_jax.data.class_list import ClassList
from mla_jax.errors import UserError
from mla_jax.localization.strong_labels import Event, write_strong_labels
from mla_jax.storage import files
from mla_jax.storage.folders import new_folder

MINUTE = "minute.wav"
_HELD_OUT = 5  # the fold of real clips that is not trained on


class Sounds(NamedTuple):
    """Labelled recordings.

    Attributes:
      train, eval: what `mla-embed` takes.
      labels: the CSV of both.
      events: strong labels of the eval recordings; None if they are not known.
      minute: the recording to tag.
      truth: its strong labels.
    """

    train: Path
    eval: Path
    labels: Path
    events: Path | None
    minute: Path
    truth: Path


def made_up_sounds(folder: Path, num_recordings: int) -> Sounds:
    """Makes recordings of 10 s up, a sixth of them for eval, if they are not there."""
    from mla_jax.recordings import synthetic

    if not folder.exists():
        console.say(f"making up {num_recordings:,} recordings of 10 s in {folder}")
        rng = np.random.default_rng(0)
        lines, events = ["filename,labels"], {}
        with new_folder(folder, alone=True) as partial:
            for i in range(num_recordings):
                split = "train" if i % 6 else "eval"
                made = synthetic.make_up(rng, 10.0, num_sounds=int(rng.integers(3)))
                name = f"{split}-{i:04d}.wav"
                (partial / split).mkdir(exist_ok=True)
                synthetic.write_wav(partial / split / name, made.samples)
                heard = sorted({synthetic.CLASSES.names[label] for _, _, label in made.events})
                lines.append(f"{name},{';'.join(heard)}")
                if split == "eval":
                    events[name] = [Event(*event) for event in made.events]
            files.write_text(partial / "labels.csv", "\n".join(lines) + "\n")
            write_strong_labels(partial / "events.tsv", events, synthetic.CLASSES)
            minute = synthetic.make_up(rng, 60.0, 12)
            synthetic.write_wav(partial / MINUTE, minute.samples)
            truth = {MINUTE: [Event(*event) for event in minute.events]}
            write_strong_labels(partial / "truth.tsv", truth, synthetic.CLASSES)
    return Sounds(
        train=folder / "train",
        eval=folder / "eval",
        labels=folder / "labels.csv",
        events=folder / "events.tsv",
        minute=folder / MINUTE,
        truth=folder / "truth.tsv",
    )


def real_sounds(data: Path, folder: Path) -> Sounds:
    """Lists of real clips, and a minute of those that are not trained on."""
    try:
        rows = list(csv.DictReader(io.StringIO((data / "clips.csv").read_text(encoding="utf-8"))))
        held_out = [row for row in rows if int(row["fold"]) == _HELD_OUT]
        trained_on = [row for row in rows if int(row["fold"]) != _HELD_OUT]
        names = sorted({row["label"] for row in rows})
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{data}/clips.csv is no list with path, label and fold: {error}"
        ) from error
    if not folder.exists():
        with new_folder(folder, alone=True) as partial:
            for split, some in (("train", trained_on), ("eval", held_out)):
                listed = "".join(f"{data / row['path']}\n" for row in some)
                files.write_text(partial / f"{split}.txt", listed)
            classes = ClassList(("",) * len(names), tuple(names))
            order = np.random.default_rng(0).permutation(len(held_out))
            _join(
                [(data / held_out[i]["path"], held_out[i]["label"]) for i in order],
                partial,
                classes,
            )
    return Sounds(
        train=folder / "train.txt",
        eval=folder / "eval.txt",
        labels=data / "clips.csv",
        events=None,
        minute=folder / MINUTE,
        truth=folder / "truth.tsv",
    )


def _join(clips: Sequence[tuple[Path, str]], folder: Path, classes: ClassList) -> None:
    """The first minute of clips behind each other, and when each sounds."""
    from mla_jax.audio.decode import read_sound
    from mla_jax.recordings.synthetic import RATE, write_wav

    parts: list[np.ndarray] = []
    events = []
    onset = 0.0
    for path, label in clips:
        samples, _ = read_sound(path, sample_rate=RATE)
        parts.append(samples)
        end = onset + len(samples) / RATE
        events.append(Event(round(onset, 3), round(end, 3), classes.names.index(label)))
        onset = end
        if onset >= 60:
            break
    write_wav(folder / MINUTE, np.concatenate(parts))
    write_strong_labels(folder / "truth.tsv", {MINUTE: events}, classes)
