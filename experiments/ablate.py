r"""Which of its settings a row owes its score to: trains it, and it with each of some settings changed.

    python -m experiments.ablate --data=packed --workdir=runs/ablate --row=yu2018_equations:2-A-1-A \
      --changes=model.block_norm=False,model.dropout_rate=0,model.pooling=mean --steps=4000 --seeds=0,1,2

A row is what `experiments.table1` takes; a change may be of several settings, joined by +. Started again it
goes on where it stopped; other changes and seeds join the table. After every row it writes to the workdir
ablation.json and ablation.md.

    python -m experiments.ablate --results=experiments/results/ablation.json --update=README.md

puts an existing table between the markers `<!-- ablation -->` and `<!-- /ablation -->`.
"""

from typing import Any

from absl import flags

from experiments.table import ablation, comparison, program, training, training_flags
from mla_jax import presets
from mla_jax.commands import cli
from mla_jax.errors import UserError

_NAME = "ablation"
_TRAINING = training_flags.define()
_SHOWING = program.define_showing(f"{_NAME}.json")
_ROW = flags.DEFINE_string("row", presets.DEFAULT, "The row, as experiments.table1 takes it.")
_CHANGES = flags.DEFINE_list(
    "changes", [], "Settings to change one at a time, each section.field=value."
)


def make() -> dict[str, Any]:
    """Trains what is missing, and writes the table after every row."""
    if not _CHANGES.value:
        raise UserError("give --changes, such as model.dropout_rate=0,model.pooling=mean")
    (row,) = training.row_names([_ROW.value])
    names = training.row_names([row, *(f"{row}+{change}" for change in _CHANGES.value)])
    how = _TRAINING()
    file = how.workdir / f"{_NAME}.json"
    training.require_of_row(file, row)
    opened = how.open(names)
    for name in names[1:]:
        if how.schedule.config(name) == how.schedule.config(row):
            raise UserError(f"{name} changes nothing: {row} has that value; leave it out")

    def of(rows: list[training.Trained]) -> dict[str, Any]:
        made = sorted(rows, key=lambda trained: trained.name != row)  # the whole first
        return {"row": row, **ablation.ablation_of([comparison.row_of(*r) for r in made])}

    def write(rows: list[training.Trained]) -> None:
        if all(trained.name != row for trained in rows):
            return  # another program trains it
        made = of(rows)
        program.write(how.workdir, _NAME, made, ablation.markdown(made))

    return of(how.train(names, opened, file, write))


def main() -> None:
    """Makes or shows the table as the flags say."""
    program.show(_SHOWING, make, lambda made: {_NAME: ablation.markdown(made)})


if __name__ == "__main__":
    cli.run(main)
