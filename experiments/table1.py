r"""Trains and evaluates every row of the paper's Table I, and the models around it.

    python -m experiments.table1 --data=packed --workdir=runs/table1 --steps=20000 --seeds=0,1,2

A row is a preset; `yu2018:6-A` is the preset yu2018 with another architecture, `6-A` the default preset with
it, `6-A+optim.l2=0.001` the same with another setting. --rows chooses rows; all are trained without it. A
tenth of the training clips chooses each row's step and says when it has converged. The same command continues
where it stopped; a finished row is not trained again. Rows and seeds of another command in the same folder
stay in the table. Started several times at once it shares the rows: each program takes those that no other is
training, and ends with the whole table. A large GPU has room for several:

    export XLA_PYTHON_CLIENT_PREALLOCATE=false
    for i in 1 2 3 4 5 6; do python -m experiments.table1 --data=packed --workdir=runs/table1 & done; wait

After every row it writes to the workdir

    table1.json     every score, with its settings, and the verdicts on the paper's claims
    table1.md       the table: ours, mean and spread over seeds, beside what the articles state; the verdicts
    figure3.png     average precision of the classes of the paper's Figure 3 by model
    ROW/seedN/      a run's folder, for `mla-evaluate` and `mla-predict`

    python -m experiments.table1 --results=experiments/results/table1.json --update=README.md

puts an existing table between the markers `<!-- table1 -->` and `<!-- /table1 -->` of that file, and the
verdicts and the figure's classes between those of `table1 claims` and `table1 classes`, where it has them.
"""

from typing import Any

from absl import flags

from experiments.table import comparison, program, training, training_flags
from mla_jax.commands import cli
from mla_jax.config import ARCHITECTURES

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

_TRAINING = training_flags.define()
_SHOWING = program.define_showing("table1.json")
_ROWS = flags.DEFINE_list("rows", [], "Which rows to train; empty: all.")
_FIGURE_CLASSES = flags.DEFINE_list(
    "figure_classes",
    [],
    "Display names or indices of the figure's classes; empty: the eight that the paper's text names, or of "
    "other data nine, from frequent to rare.",
)
_FIGURE_ROWS = flags.DEFINE_list(
    "figure_rows",
    [],
    "The figure's rows, at most nine; empty: the paper's architectures in one form.",
)


def make() -> dict[str, Any]:
    """Trains what is missing, and writes the table after every row."""
    how = _TRAINING()
    names = training.row_names(_ROWS.value) or list(ALL_ROWS)
    figure_rows = training.row_names(_FIGURE_ROWS.value)
    opened = how.open(names)
    # A mistake is told now, not hours later when the picture is drawn.
    comparison.figure_classes_of(
        opened.classes.names, opened.train.class_counts(), _FIGURE_CLASSES.value
    )
    file = how.workdir / "table1.json"
    comparison.require_rows(figure_rows, [*names, *training.names_in(file)], "figure_rows")

    def table(rows: list[training.Trained]) -> dict[str, Any]:
        made = [comparison.row_of(*row) for row in rows]
        shown = figure_rows or figure_rows_of([row.name for row in rows])
        return comparison.table_of(made, _FIGURE_CLASSES.value, shown, ALL_ROWS)

    def write(rows: list[training.Trained]) -> None:
        made = table(rows)
        text = "\n\n".join([*comparison.texts(made).values(), comparison.LEGEND])
        program.write(how.workdir, "table1", made, text)
        program.draw(how.workdir / "figure3.png", "class_precision_by_model", made)

    return table(how.train(names, opened, file, write))


def figure_rows_of(names: list[str]) -> list[str]:
    """The rows that the picture shows if none are chosen: the paper's, in the form that has most of them."""
    forms = [
        [n for n in names if n.startswith(f"{form}:")] for form in ("yu2018_equations", "yu2018")
    ]
    most = max(forms, key=len)
    return most if len(most) > 1 else names


def main() -> None:
    """Makes or shows the table as the flags say."""
    program.show(_SHOWING, make, comparison.texts)


if __name__ == "__main__":
    cli.run(main)
