"""Evaluates a trained run on a data set.

    python -m experiments.evaluate --workdir=runs/2-A-1-A --data=packed/eval --output=results.json

With --average_from the probabilities of all kept checkpoints from that step on are averaged, as the
paper's program does.
"""

from absl import flags

from experiments import cli
from mla_jax import trained
from mla_jax.errors import UserError

_BAD_RECORDS = cli.define_bad_records()
flags.adopt_module_key_flags(cli)  # once all of its flags are there, for --help

_WORKDIR = flags.DEFINE_string("workdir", "", "The run's folder.")
_DATA = flags.DEFINE_string(
    "data",
    "",
    "A packed folder; a folder, file or glob of TFRecords; or an HDF5 or .npz file of arrays.",
)
_OUTPUT = flags.DEFINE_string("output", "", "Where to write the figures, as JSON; may be left out.")
_STEP = flags.DEFINE_integer(
    "step", 0, "Which checkpoint; 0: the best by validation, else the newest.", lower_bound=0
)
_AVERAGE_FROM = flags.DEFINE_integer(
    "average_from",
    0,
    "Average the predictions of all checkpoints from this step on.",
    lower_bound=0,
)


def main() -> None:
    """Evaluates as the flags say."""
    if not _WORKDIR.value or not _DATA.value:
        raise UserError("give --workdir, a run's folder, and --data, what to evaluate on")
    if _STEP.value and _AVERAGE_FROM.value:
        raise UserError("give --step or --average_from, not both")
    results = trained.evaluate(
        _WORKDIR.value,
        _DATA.value,
        step=_STEP.value,
        average_from=_AVERAGE_FROM.value,
        bad_records=_BAD_RECORDS.value or "",
        output=_OUTPUT.value,
    )
    averaged = results["steps_averaged"]
    what = f"step {averaged[0]}"
    if len(averaged) > 1:
        what = f"average of {len(averaged)} checkpoints, steps {averaged[0]} to {averaged[-1]}"
    elif _AVERAGE_FROM.value:
        what += f", the only checkpoint kept from {_AVERAGE_FROM.value} on: nothing to average"
    if results["skipped_records"]:
        what += f", without {results['skipped_records']:,} bad records"
    print(
        f"{what}: mAP {results['mAP']:.4f}, AUC {results['AUC']:.4f}, "
        f"d-prime {results['d_prime']:.3f}, {results['num_clips']:,} clips"
    )


if __name__ == "__main__":
    cli.run(main)
