r"""How good a row is by the number of its training clips, and what two laws make of that for two million.

    python -m experiments.learning_curve --data=packed --workdir=runs/curve --row=2-A-1-A --seeds=0,1,2

Trains the row on nested shares of the training clips, by a hash of the video id; the validation clips are
the same for all. A row is what `experiments.table1` takes. Started again it goes on where it stopped; other
shares and seeds join the curve. After every share it writes to the workdir learning_curve.json,
learning_curve.md and learning_curve.png.

    python -m experiments.learning_curve --results=experiments/results/learning_curve.json --update=README.md

puts an existing curve between the markers `<!-- learning_curve -->` and `<!-- /learning_curve -->`.
"""

from typing import Any

from absl import flags

from experiments.table import comparison, curve, program, training, training_flags
from mla_jax import presets
from mla_jax.commands import cli
from mla_jax.errors import UserError

_NAME = "learning_curve"
_TRAINING = training_flags.define()
_SHOWING = program.define_showing(f"{_NAME}.json")
_ROW = flags.DEFINE_string("row", presets.DEFAULT, "The row, as experiments.table1 takes it.")
_SHARES = flags.DEFINE_list(
    "shares", ["0.125", "0.25", "0.5", "1"], "Of the training clips that are not held out."
)
_TO = flags.DEFINE_integer(
    "extrapolate_to", curve.FULL, "How many clips the laws are asked about.", lower_bound=1
)


def make() -> dict[str, Any]:
    """Trains what is missing, and writes the curve after every share."""
    (row,) = training.row_names([_ROW.value])
    names = training.row_names([_with_share(row, share) for share in _SHARES.value])
    how = _TRAINING()
    file = how.workdir / f"{_NAME}.json"
    training.require_of_row(file, row)

    def of(rows: list[training.Trained]) -> dict[str, Any]:
        made = [(r.config.data.train_fraction, comparison.row_of(*r)) for r in rows]
        return {"row": row, **curve.curve_of(made, _TO.value)}

    def write(rows: list[training.Trained]) -> None:
        made = of(rows)
        program.write(how.workdir, _NAME, made, curve.markdown(made))
        program.draw(how.workdir / f"{_NAME}.png", _NAME, made)

    return of(how.train(names, how.open(names), file, write))


def _with_share(row: str, share: str) -> str:
    try:
        value = float(share)
    except ValueError:
        raise UserError(f"--shares: {share!r} is no share; give numbers such as 0.25") from None
    return row if value == 1 else f"{row}+data.train_fraction={value:g}"


def main() -> None:
    """Makes or shows the curve as the flags say."""
    program.show(_SHOWING, make, lambda made: {_NAME: curve.markdown(made)})


if __name__ == "__main__":
    cli.run(main)
