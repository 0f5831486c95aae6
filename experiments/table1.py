r"""Trains and evaluates every row of the paper's Table I, and the models around it.

    python -m experiments.table1 --data=packed --workdir=runs/table1 --steps=20000 --seeds=0,1,2

A row is a preset; `yu2018:6-A` is the preset yu2018 with another architecture. --rows chooses rows; all are
trained without it. The same command continues where it stopped; a finished row is not trained again. After
every row it writes to the workdir

    table1.json     every score, with its settings
    table1.md       the table: ours, mean and spread over seeds, beside what the articles state
    figure3.png     average precision of nine classes by model, as the paper's Figure 3
    ROW/seedN/      a run's folder, for `mla-evaluate` and `mla-predict`

    python -m experiments.table1 --results=experiments/results/table1.json --update=README.md

puts an existing table between the markers `<!-- table1 -->` and `<!-- /table1 -->` of that file.
"""

import dataclasses
import math
from pathlib import Path

from absl import flags

from experiments.table import comparison
from mla_jax import presets
from mla_jax.commands import cli
from mla_jax.commands.markdown import update_markdown
from mla_jax.config import ARCHITECTURES, Config, DataConfig, TrainConfig
from mla_jax.errors import UserError
from mla_jax.evaluation.summaries import choose_classes
from mla_jax.parallel.signals import StopOnSignal
from mla_jax.runs.data import RunData
from mla_jax.runs.folder import claim
from mla_jax.runs.seeds import seeds_that_fit, train_row
from mla_jax.storage import files, paths

ALL_ROWS = (
    "segment_classifier",
    "average_pooling",
    "max_pooling",
    "kong2017",
    "kong2019_keras",
    "kong2019_torch",
    "feature_attention",
    *(f"yu2018_equations:{a}" for a in ARCHITECTURES),
    *(f"yu2018:{a}" for a in ARCHITECTURES),
)

STATED: dict[str, tuple[float, float | None, float | None]] = {
    "segment_classifier": (0.314, 0.959, 2.452),
    "kong2017": (0.327, None, None),
    "kong2019_keras": (0.357, 0.968, 2.621),
    "feature_attention": (0.369, None, None),
    "yu2018:2-A-1-A": (0.360, 0.970, 2.660),
    "yu2018_equations:2-A-1-A": (0.360, 0.970, 2.660),
}
"""Stated by the articles, or a README (`kong2019_keras`): mAP, AUC and d-prime, None if unknown."""

IN_FIGURE = (
    "segment_classifier",
    "average_pooling",
    "kong2017",
    "yu2018_equations:3-A",
    "yu2018_equations:6-A",
    "yu2018_equations:2-A-1-A",
    "yu2018:2-A-1-A",
)
"""The rows that the picture shows, if the table has them and none are chosen."""

_ALLOW_OTHER = cli.define_allow_other_embeddings()
_DATA = flags.DEFINE_string(
    "data", "", "A folder with bal_train and eval: packed folders, records, .h5 or .npz files."
)
cli.formerly("data_dir", _DATA)
_WORKDIR = flags.DEFINE_string("workdir", "", "The folder of the table and of all its runs.")
_ROWS = flags.DEFINE_list("rows", [], "Which presets, in the table's order; empty: all.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Of weights, batches and dropout.")
_STEPS = flags.DEFINE_integer("steps", 20_000, "Train every row until this step.", lower_bound=1)
_EVALUATIONS = flags.DEFINE_integer(
    "evaluations", 20, "Evenly spaced; the average is over all of them.", lower_bound=1
)
_TOGETHER = flags.DEFINE_integer(
    "seeds_together",
    0,
    "How many seeds of a row train in one program; 0: all on an accelerator, 1 on a CPU.",
    lower_bound=0,
)
_FIGURE_CLASSES = flags.DEFINE_list(
    "figure_classes",
    [],
    "Display names or indices of the figure's classes; empty: nine, from frequent to rare.",
)
_FIGURE_ROWS = flags.DEFINE_list(
    "figure_rows", [], "The figure's rows, at most seven; empty: those that the paper compares."
)
_RESULTS = flags.DEFINE_string("results", "", "A table1.json made before, instead of training.")
_UPDATE = flags.DEFINE_string("update", "", "A Markdown file to put the table into.")


def row_config(row: str, data: DataConfig, steps: int, evaluations: int) -> Config:
    """The config of a row: its preset, with the table's data and length."""
    config = presets.preset(row)
    every = math.ceil(steps / evaluations)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(data, examples=config.data.examples),
        train=TrainConfig(steps=steps, eval_every=every, checkpoint_every=every),
    )


def split_path(folder: Path, split: str) -> str:
    """The path of a split: a folder, or a file of arrays."""
    for name in (split, f"{split}.h5", f"{split}.hdf5", f"{split}.npz"):
        if (folder / name).exists():
            return str(folder / name)
    raise UserError(f"{folder} has no {split}: --data needs bal_train and eval")


def make(workdir: Path, should_stop: StopOnSignal) -> dict[str, object]:
    """Trains what is missing, and writes the table after every row."""
    names = list(dict.fromkeys(_ROWS.value)) or list(ALL_ROWS)
    seeds = _whole_numbers(_SEEDS.value)
    folder = paths.resolved(_DATA.value)
    data = DataConfig(train=split_path(folder, "bal_train"), eval=split_path(folder, "eval"))
    configs = {n: row_config(n, data, _STEPS.value, _EVALUATIONS.value) for n in names}
    opened = RunData.open(configs[names[0]], allow_other_embeddings=_ALLOW_OTHER.value)
    # A mistake is told now, not hours later when the picture is drawn.
    choose_classes(opened.classes.names, opened.train.class_counts(), _FIGURE_CLASSES.value)
    for name in _FIGURE_ROWS.value:
        if name not in names:
            raise UserError(
                f"--figure_rows: there is no row {name!r}; the rows are {', '.join(names)}"
            )
    before = _shown(workdir)
    figure_rows = _FIGURE_ROWS.value or [name for name in IN_FIGURE if name in names]
    settings = {"data_dir": str(folder), "steps": _STEPS.value, "evaluations": _EVALUATIONS.value}
    claim(workdir / "settings.json", settings, "a table")
    cli.say(opened.describe())
    together = _TOGETHER.value or seeds_that_fit()
    made: list[dict[str, object]] = []
    for number, name in enumerate(names, 1):
        cli.say(f"row {number} of {len(names)}: {name}")
        row_folder = workdir / name.replace(":", "_")
        results = train_row(
            configs[name],
            seeds,
            row_folder,
            opened,
            together=together,
            say=cli.say,
            should_stop=should_stop,
        )
        made.append(comparison.row_of(name, configs[name], results, STATED.get(name)))
        finished = comparison.table_of(made, _FIGURE_CLASSES.value, figure_rows)
        write(workdir, finished)
    if gone := before - _shown(workdir):
        cli.say(
            f"the table shows what this command names; it no longer shows {', '.join(sorted(gone))} "
            "(their runs are kept: name them again to see them)"
        )
    return finished


def _shown(workdir: Path) -> set[str]:
    """The rows and seeds of the table that was written before."""
    path = workdir / "table1.json"
    if not path.exists():
        return set()
    there = files.read_json(path)
    with files.taken_as(path, "a table of this program; give another --workdir"):
        return {f"{row['name']} seed {seed}" for row in there["rows"] for seed in row["seeds"]}


def write(workdir: Path, made: dict[str, object]) -> None:
    """Writes the three files of a table."""
    files.write_json(workdir / "table1.json", made)
    files.write_text(workdir / "table1.md", f"{comparison.markdown(made)}\n\n{comparison.LEGEND}\n")
    try:
        from experiments.table import figure
    except ImportError:
        cli.say("figure3.png is not drawn: it needs matplotlib, pip install 'mla_jax[plots]'")
        return
    figure.class_precision_by_model(made, workdir / "figure3.png")


def _whole_numbers(values: list[str]) -> list[int]:
    try:
        numbers = [int(v) for v in values]
    except ValueError:
        raise UserError(
            f"--seeds={','.join(values)} must be whole numbers, such as 0,1,2"
        ) from None
    if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < 0:
        raise UserError(f"--seeds={','.join(values)} must be different numbers from 0 on")
    return numbers


def main() -> None:
    """Makes or shows the table as the flags say."""
    if _RESULTS.value:
        made = files.read_json(_RESULTS.value)
        with files.taken_as(_RESULTS.value, "a table1.json that table1 has written"):
            comparison.markdown(made)
    elif _DATA.value and _WORKDIR.value:
        with StopOnSignal() as should_stop:
            made = make(paths.as_path(_WORKDIR.value), should_stop)
    else:
        raise UserError("give --data and --workdir, or --results, a table1.json made before")
    text = comparison.markdown(made)
    print(text, flush=True)
    if _UPDATE.value:
        update_markdown(_UPDATE.value, "table1", text)


if __name__ == "__main__":
    cli.run(main)
