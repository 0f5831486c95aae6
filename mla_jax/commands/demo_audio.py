r"""From sounds to tags: embeds labelled recordings, trains, and tags a recording of a minute.

    mla-demo-audio

makes recordings of tones, chirps, noise bursts and clicks (`mla_jax.recordings.synthetic`), whose labels do
not say when they sound, and embeds them by log-mel statistics, which need no weights. The minute's tags are
printed beside what truly sounds in it. It takes about a minute on two CPU cores.

    mla-demo-audio --data=esc10

does the same with real sounds and YAMNet, whose weights mla-download-encoder brings. The folder has
clips.csv (columns path, label, fold): fold 5 is not trained on, and the minute is made of its clips.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from mla_jax import presets
from mla_jax.commands import console
from mla_jax.commands.demo_sounds import MINUTE, Sounds, made_up_sounds, real_sounds
from mla_jax.commands.markdown import markdown_table
from mla_jax.config import Config, DataConfig, TrainConfig
from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.data.sources import is_packed
from mla_jax.errors import UserError
from mla_jax.evaluation import summaries
from mla_jax.localization.strong_labels import Event, read_strong_labels
from mla_jax.parallel.signals import StopOnSignal
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.runs.folder import claim
from mla_jax.runs.train import train
from mla_jax.storage import paths
from mla_jax.tagging.tag import predict_to_file
from mla_jax.tagging.tagger import TagOptions

_WORKDIR = flags.DEFINE_string(
    "workdir", "", "Where everything goes; empty: runs/demo-audio, or runs/demo-sounds with --data."
)
_DATA = flags.DEFINE_string(
    "data", "", "Real sounds: a folder with clips.csv and sound files; empty: make some up."
)
_WEIGHTS = flags.DEFINE_string(
    "weights", "", "YAMNet's weights; empty: where mla-download-encoder puts them."
)
_NUM_RECORDINGS = flags.DEFINE_integer(
    "num_recordings",
    720,
    "Recordings of 10 s to make up; a sixth of them for eval.",
    lower_bound=24,
)
_STEPS = flags.DEFINE_integer("steps", 500, "Train until this step.", lower_bound=1)


def main() -> None:
    """Runs the demo as the flags say."""
    data = Path(paths.require_local(_DATA.value, "--data")).resolve() if _DATA.value else None
    named = _WORKDIR.value or ("runs/demo-sounds" if data else "runs/demo-audio")
    workdir = Path(paths.require_local(named, "--workdir"))
    made_of = {"data": str(data)} if data else {"num_recordings": _NUM_RECORDINGS.value}
    claim(workdir / "demo.json", made_of, "a demo")
    folder = workdir / "sounds"
    made_up = _NUM_RECORDINGS.value
    sounds = real_sounds(data, folder) if data else made_up_sounds(folder, made_up)
    classes = _embed(sounds, "yamnet" if data else "log_mel_statistics", workdir / "packed")
    run = workdir / "2-A-1-A"
    console.say(f"training in {run}")
    with StopOnSignal(console.say_stopping) as should_stop:
        config = _config(workdir / "packed")
        results = train(config, run, say=console.say, should_stop=should_stop)
    tags = workdir / "minute.tsv"
    # Half of what a clip of training has, so that a window has one sound more often than two.
    options = TagOptions(threshold=0.5, window=5)
    predict_to_file(
        run, str(sounds.minute), tags, options, encoder_files=EncoderFiles(_WEIGHTS.value)
    )
    truth = read_strong_labels(sounds.truth, classes)[MINUTE]
    found = read_strong_labels(tags, classes)[MINUTE]
    print(markdown_table(beside(truth, found, classes)), flush=True)
    console.say(f"eval clips   {summaries.in_words(results)}")
    console.say(f"the minute   {sounds.minute}; its tags {tags}")
    console.say(f"the report   {_report(run, workdir / 'report.html', sounds)}")


def beside(
    truth: Sequence[Event], found: Sequence[Event], classes: ClassList
) -> list[dict[str, str]]:
    """A row for each true event with the tags that overlap it, and one for each tag that overlaps none."""
    rows = [(event.onset, [event], _overlapping(event, found)) for event in truth]
    rows += [(tag.onset, [], [tag]) for tag in found if not _overlapping(tag, truth)]
    return [
        {
            "what sounds": _told(events, classes) or "nothing",
            "tags": _told(tags, classes) or "none",
        }
        for _, events, tags in sorted(rows, key=lambda row: row[0])
    ]


def _overlapping(event: Event, others: Sequence[Event]) -> list[Event]:
    return [other for other in others if other.onset < event.offset and event.onset < other.offset]


def _told(events: Sequence[Event], classes: ClassList) -> str:
    return "; ".join(f"{classes.names[e.label]} {e.onset:.1f} to {e.offset:.1f} s" for e in events)


def _embed(sounds: Sounds, name: str, packed: Path) -> ClassList:
    """Packs both splits, if they are not there; returns the classes."""
    from mla_jax.audio.encoders import make_encoder
    from mla_jax.recordings.embed import EmbedOptions, embed_recordings

    class_list = ""
    for split, given in (("train", sounds.train), ("eval", sounds.eval)):
        if not is_packed(packed / split):
            console.say(f"embedding {given} into {packed / split}")
            options = EmbedOptions(labels=str(sounds.labels), class_list=class_list)
            encoder = make_encoder(name, weights=_WEIGHTS.value or None)
            embed_recordings([str(given)], packed / split, encoder, options, say=console.say)
        class_list = str(packed / "train" / FILE_NAME)
    return ClassList.read(class_list)


def _config(packed: Path) -> Config:
    preset = presets.yu2018_equations()
    every = max(1, _STEPS.value // 3)
    return dataclasses.replace(
        preset,
        model=dataclasses.replace(preset.model, hidden_units=128, dropout_rate=0.1),
        optim=dataclasses.replace(preset.optim, learning_rate=2e-3),
        data=DataConfig(
            train=str(packed / "train"),
            eval=str(packed / "eval"),
            batch_size=64,
            sampler="uniform",  # by classes, recordings in which nothing sounds would never be drawn
        ),
        train=TrainConfig(steps=_STEPS.value, eval_every=every, checkpoint_every=every),
    )


def _report(run: Path, path: Path, sounds: Sounds) -> str:
    """Writes the report; returns where it is, or why there is none."""
    from mla_jax.report.write import write_report

    try:
        write_report([run], path, events=sounds.events or "", sounds=str(sounds.eval))
    except UserError as error:  # matplotlib or Jinja is not installed
        return f"none: {error}"
    return str(path)
