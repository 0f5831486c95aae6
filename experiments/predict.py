r"""Tags clips with a trained run: one JSON line a clip, with its most probable labels.

    python -m experiments.predict --workdir=runs/2-A-1-A --input=packed/eval \
        --output=predictions.jsonl --top_k=5

The input is packed clips; a folder, file or glob of TFRecords; or an HDF5 or .npz file of arrays.
"""

from absl import flags

from experiments import cli
from mla_jax import trained
from mla_jax.errors import UserError

flags.adopt_module_key_flags(cli)

_WORKDIR = flags.DEFINE_string("workdir", "", "The run's folder.")
_INPUT = flags.DEFINE_string(
    "input",
    "",
    "A packed folder; a folder, file or glob of TFRecords; or an HDF5 or .npz file of arrays.",
)
_OUTPUT = flags.DEFINE_string("output", "", "The .jsonl file to write.")
_TOP_K = flags.DEFINE_integer("top_k", 5, "How many labels a clip gets.", lower_bound=1)
_STEP = flags.DEFINE_integer(
    "step", 0, "Which checkpoint; 0: the best by validation, else the newest.", lower_bound=0
)
_BAD_RECORDS = cli.define_bad_records()


def main() -> None:
    """Predicts as the flags say."""
    if not _WORKDIR.value or not _INPUT.value or not _OUTPUT.value:
        raise UserError("give --workdir, a run's folder, --input, the clips, and --output, a file")
    count = trained.predict_to_file(
        _WORKDIR.value,
        _INPUT.value,
        _OUTPUT.value,
        top_k=_TOP_K.value,
        step=_STEP.value,
        bad_records=_BAD_RECORDS.value or "",
    )
    print(f"{_OUTPUT.value}: {count:,} clips")


if __name__ == "__main__":
    cli.run(main)
