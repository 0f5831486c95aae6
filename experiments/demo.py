"""Shows what attention is worth: trains 2-A-1-A and average pooling on the same clips, and compares them.

    python -m experiments.demo

generates AudioSet-like clips (`mla_jax.data.synthetic`), writes them as TFRecords, and goes the whole way
from there: pack, train, evaluate. It takes about a minute on two CPU cores.

    python -m experiments.demo --data=audioset_v1_embeddings

does the same with AudioSet's released features: the folders bal_train and eval, and the class list beside
them. That takes some ten minutes.

Both models have the same form (the preset yu2018_equations), settings, batches and number of steps. Each
is taken at the step with the best mAP on a tenth of the training clips, which is held out; the eval clips
decide nothing. A demo that was interrupted goes on where it stopped when it is started again.
"""

import shutil
from pathlib import Path
from typing import Any

from absl import flags

from experiments import cli
from mla_jax import files, paths, presets, runs
from mla_jax.config import Config, DataConfig
from mla_jax.data import packed, synthetic
from mla_jax.data.labels import FILE_NAME
from mla_jax.errors import UserError
from mla_jax.evaluation import report
from mla_jax.evaluation.event_segments import segments_to_events
from mla_jax.evaluation.strong_labels import write_strong_labels
from mla_jax.progress import Progress

Settings = dict[str, dict[str, Any]]

flags.adopt_module_key_flags(cli)

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

MODELS = {
    "2-A-1-A": {"architecture": "2-A-1-A", "pooling": "attention"},
    "average-pooling": {"architecture": "3-A", "pooling": "mean"},
}
"""What is compared, by name: where the two models differ."""

GENERATED: Settings = {
    "model": {"hidden_units": 256, "dropout_rate": 0.1},
    "data": {"batch_size": 128},
    "optim": {"learning_rate": 2e-3},
    "train": {"steps": 600},
}
"""Settings for generated clips, chosen on clips of neither split so that both models do well."""

AUDIOSET: Settings = {"train": {"steps": 400}}
"""Settings for AudioSet: the preset's. Average pooling learns faster, and leads until step 300 or so."""


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
    _claim(workdir, made_of)
    for split, folder in records.items():
        if packed.is_packed(workdir / "data" / "packed" / split):
            cli.say(f"the {split} clips are packed already")
        else:
            if not data:
                _generate(folder, _NUM_CLIPS.value // (1 if split == "train" else 10))
            _pack(folder, workdir / "data" / "packed" / split)

    results: dict[str, Any] = {}
    for name in MODELS:
        cli.say(f"{name}: training in {workdir / name}")
        config = _config(name, AUDIOSET if data else GENERATED, workdir / "data" / "packed")
        results[name] = runs.train(config, workdir / name, say=cli.say)

    table = report.markdown_table(
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
    for r in results.values():
        del r["classes"]  # the runs' own results.json have them
    files.write_json(workdir / "results.json", {**made_of, "models": results})
    files.write_text(workdir / "table.md", table + "\n")
    clips = f"{results['2-A-1-A']['num_clips']:,} {'AudioSet' if data else 'generated'} eval clips"
    cli.say(f"{clips}; each model at the step that held-out training clips chose:")
    print(table, flush=True)
    drawn = _report(workdir)
    cli.say(f"the table        {workdir / 'table.md'}; all figures: {workdir / 'results.json'}")
    cli.say(f"the runs         {', '.join(str(workdir / name) for name in MODELS)}")
    cli.say(f"the packed data  {workdir / 'data' / 'packed'}")
    cli.say(f"the report       {drawn}")


def _report(workdir: Path) -> str:
    """Writes the report of both models; says where it is, or why there is none."""
    from mla_jax import reporting

    path, events = workdir / "report.html", _events(workdir)
    try:
        runs_of = [workdir / name for name in MODELS]
        reporting.write_report(runs_of, path, events=events if events.is_file() else "")
    except UserError as error:  # what draws is not installed
        return f"none: {error}"
    return str(path)


def _events(workdir: Path) -> Path:
    """Where it is written when the generated eval clips' sounds truly occur."""
    return workdir / "data" / "records" / "events.tsv"


def _claim(workdir: Path, made_of: dict[str, Any]) -> None:
    """Refuses a folder that holds a demo of other data."""
    path = workdir / "demo.json"
    if not path.exists():
        files.write_json(path, made_of)
    elif (old := files.read_json(path)) != made_of:
        raise UserError(
            f"{workdir} holds a demo of other data ({old}); give another --workdir, or remove it"
        )


def _generate(folder: Path, num_clips: int) -> None:
    """Writes generated clips as TFRecords; the folder appears whole or not at all."""
    if folder.exists():
        return
    cli.say(f"generating {num_clips:,} clips as TFRecords in {folder}")
    # TensorFlow takes seconds to import, and packed data does not need it.
    from mla_jax.data.record_writer import write_records

    config = synthetic.SyntheticConfig(num_clips=num_clips, seed=_SEED.value)
    made = synthetic.synthetic_clips(config, split=folder.name)
    files.write_text(folder.parent / FILE_NAME, made.classes.to_csv())
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a demo that was interrupted
    progress = Progress("write", num_clips, "clips")
    write_records(made.clips, partial, progress=lambda done, _: progress.update(done))
    progress.close()
    if folder.name == "eval":
        events = segments_to_events(made.events, made.clips.video_ids)
        write_strong_labels(folder.parent / "events.tsv", events, made.classes)
    partial.replace(folder)


def _pack(folder: Path, output: Path) -> None:
    cli.say(f"packing {folder} into {output}")
    from mla_jax.data import packing

    packing.pack_records(str(folder), output, DataConfig())


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


if __name__ == "__main__":
    cli.run(main)
