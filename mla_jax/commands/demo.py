"""Shows what attention is worth: trains 2-A-1-A and average pooling, and compares them.

    mla-demo

generates AudioSet-like clips (`mla_jax.data.synthetic`), writes them as TFRecords, packs them, trains and
evaluates. It takes about a minute on two CPU cores.

    mla-demo --data=audioset_v1_embeddings

does the same with AudioSet's released features: the folders bal_train and eval, and the class list beside
them. It takes some ten minutes.

Both models have the same form (the preset yu2018_equations), settings, batches and number of steps; on
generated clips both learn as the preset best does, each level by itself and from mixed clips. Each is
evaluated at the step that has the best mAP on a held-out tenth of the training clips; the eval clips decide
nothing. On generated clips that is an early step for average pooling: its mAP falls after it, on its own
training clips too, while its loss and AUC still get better.

Of the generated clips it is known when each sound occurs. So there is a second table, of when: how well
scores of single seconds rank them (`mla_jax.localization.figures`).

Ctrl-C saves the training and ends the demo; the same command goes on from there.
"""

from pathlib import Path
from typing import Any

from absl import flags

from mla_jax import presets
from mla_jax.commands import console
from mla_jax.commands.demo_results import what_it_says, what_table, when_it_says, when_table
from mla_jax.config import Config, DataConfig
from mla_jax.data import synthetic
from mla_jax.data.class_list import FILE_NAME
from mla_jax.data.sources import is_packed
from mla_jax.errors import UserError
from mla_jax.localization.events import segments_to_events
from mla_jax.localization.strong_labels import write_strong_labels
from mla_jax.parallel.signals import StopOnSignal
from mla_jax.progress import Progress
from mla_jax.report.when import When
from mla_jax.runs.folder import claim
from mla_jax.runs.train import train
from mla_jax.storage import files, paths
from mla_jax.storage.folders import new_folder

Settings = dict[str, dict[str, Any]]

_WORKDIR = flags.DEFINE_string(
    "workdir", "", "Where everything goes; empty: runs/demo, or runs/demo-audioset with --data."
)
_DATA = flags.DEFINE_string(
    "data", "", "AudioSet's released features: a folder with bal_train and eval; empty: generate."
)
_STEPS = flags.DEFINE_integer(
    "steps", 0, "Train until this step; 0: 600, or 400 with --data.", lower_bound=0
)
_NUM_CLIPS = flags.DEFINE_integer(
    "num_clips", 20_000, "Training clips to generate; a tenth as many for eval.", lower_bound=100
)
_SEED = flags.DEFINE_integer(
    "seed",
    0,
    "Of the generated clips, the weights and the batches.",
    lower_bound=0,
    upper_bound=2**31 - 1,
)

_WHY = (
    "Both models get clips of ten seconds whose labels say what is heard, not when. 2-A-1-A weighs the "
    "seconds by attention, at two depths; average-pooling takes their mean. All else is alike."
)
_WHY_GENERATED = (
    "In the generated clips some sounds last one or two seconds, and faint ones that have no label last all "
    "along: that is hard for a mean, on purpose."
)

MODELS = {
    "2-A-1-A": {"architecture": "2-A-1-A", "pooling": "attention"},
    "average-pooling": {"architecture": "3-A", "pooling": "mean"},
}
"""The two models by name, and the settings in which they differ."""

GENERATED: Settings = {
    "model": {"hidden_units": 256, "dropout_rate": 0.1, "join": "mean"},
    "data": {"batch_size": 128},
    "optim": {"learning_rate": 2e-3, "level_loss": 1.0},
    "augment": {"mixup": 0.5},
    "train": {"steps": 600},
}
"""Settings for generated clips, chosen on clips of neither split, so that both models do well."""

AUDIOSET: Settings = {"train": {"steps": 400}}
"""Settings for AudioSet. Average pooling learns faster, and leads until about step 300."""


_EVENTS_FILE = "events.tsv"  # when the sounds of the generated eval clips truly occur


def main() -> None:
    """Runs the demo as the flags say."""
    paths.require_local(_DATA.value, "--data")
    paths.require_local(_WORKDIR.value, "--workdir")
    data = Path(_DATA.value).resolve() if _DATA.value else None
    workdir = Path(_WORKDIR.value or ("runs/demo-audioset" if data else "runs/demo"))
    if data:
        records = {"train": data / "bal_train", "eval": data / "eval"}
        for folder in records.values():
            if not any(folder.glob("*.tfrecord")):
                raise UserError(f"{folder} has no .tfrecord files; --data needs bal_train and eval")
    else:
        records = {split: workdir / "data" / "records" / split for split in ("train", "eval")}
    made_of = {"data": str(data)} if data else {"num_clips": _NUM_CLIPS.value, "seed": _SEED.value}
    claim(workdir / "demo.json", made_of, "a demo")
    for split, folder in records.items():
        if is_packed(workdir / "data" / "packed" / split):
            console.say(f"the {split} clips are packed already")
        else:
            if not data:
                _generate(folder, _NUM_CLIPS.value // (1 if split == "train" else 10))
            _pack(folder, workdir / "data" / "packed" / split)

    console.say(_WHY if data else f"{_WHY} {_WHY_GENERATED}")
    results: dict[str, Any] = {}
    with StopOnSignal(console.say_stopping) as should_stop:
        for name in MODELS:
            console.say(f"{name}: training in {workdir / name}")
            config = _config(name, AUDIOSET if data else GENERATED, workdir / "data" / "packed")
            results[name] = train(config, workdir / name, say=console.say, should_stop=should_stop)

    report, when = _report(workdir)
    tables = [what_table(results), when_table(when)] if when else [what_table(results)]
    for name, r in results.items():
        del r["classes"]  # the runs' own results.json have them
        if name in when:
            r["when"] = {
                score: judged.with_intervals() for score, judged in when[name].judged.items()
            }
    files.write_json(workdir / "results.json", {**made_of, "models": results})
    files.write_text(workdir / "table.md", "\n\n".join(tables) + "\n")
    clips = f"{results['2-A-1-A']['num_clips']:,} {'AudioSet' if data else 'generated'} eval clips"
    console.say(f"{clips}; each model at the step that held-out training clips chose:")
    print("\n\n".join(tables), flush=True)
    for line in [*what_it_says(results), *when_it_says(when)]:
        console.say(line)
    console.say(f"the table        {workdir / 'table.md'}; all scores: {workdir / 'results.json'}")
    console.say(f"the runs         {', '.join(str(workdir / name) for name in MODELS)}")
    console.say(f"the packed data  {workdir / 'data' / 'packed'}")
    console.say(f"the report       {report}")


def _report(workdir: Path) -> tuple[str, dict[str, When]]:
    """Writes the report of both models: where it is, or why there is none, and how well each tells when."""
    from mla_jax.report.write import write_report

    path, events = workdir / "report.html", workdir / "data" / "records" / _EVENTS_FILE
    try:
        runs = [workdir / name for name in MODELS]
        report = write_report(runs, path, events=events if events.is_file() else "")
    except UserError as error:  # matplotlib or Jinja is not installed
        return f"none: {error}", {}
    return str(path), {run.name: run.when for run in report.runs if run.when is not None}


def _generate(folder: Path, num_clips: int) -> None:
    """Writes generated clips as TFRecords; the folder appears only when it is complete."""
    if folder.exists():
        return
    console.say(f"generating {num_clips:,} clips as TFRecords in {folder}")
    # TensorFlow takes seconds to import, and packed data does not need it.
    from mla_jax.data.formats.record_writer import write_records

    config = synthetic.SyntheticConfig(num_clips=num_clips, seed=_SEED.value)
    made = synthetic.synthetic_clips(config, split=folder.name)
    files.write_text(folder.parent / FILE_NAME, made.classes.to_csv())
    with (
        new_folder(folder, alone=True) as partial,
        Progress("write", num_clips, "clips") as progress,
    ):
        write_records(made.clips, partial, progress=lambda done, _: progress.update(done))
        if folder.name == "eval":
            events = segments_to_events(made.events, made.clips.video_ids)
            write_strong_labels(folder.parent / _EVENTS_FILE, events, made.classes)


def _pack(folder: Path, output: Path) -> None:
    console.say(f"packing {folder} into {output}")
    from mla_jax.data.packing import pack_data

    pack_data(str(folder), output, DataConfig())


def _config(name: str, settings: Settings, data: Path) -> Config:
    values = presets.yu2018_equations().to_dict()
    chosen: Settings = {
        "data": {
            "train": str(data / "train"),
            "eval": str(data / "eval"),
            "validation_fraction": 0.1,
        },
        "train": {"eval_every": 100, "checkpoint_every": 100, "seed": _SEED.value},
        "model": MODELS[name],
    }
    for changes in (settings, chosen):
        for section, fields in changes.items():
            values[section] |= fields
    if _STEPS.value:
        values["train"]["steps"] = _STEPS.value
    return Config.from_dict(values)
