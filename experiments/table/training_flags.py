"""The flags of training a table, shared by the programs that make one."""

from collections.abc import Callable
from pathlib import Path

from absl import flags

from experiments.table.rows import Schedule
from experiments.table.training import Training
from mla_jax.commands import common_flags
from mla_jax.errors import UserError
from mla_jax.runs.seeds import seeds_that_fit
from mla_jax.storage import paths


def define() -> Callable[[], Training]:
    """Defines the flags of training a table; returns a function that reads them."""
    allow_other = common_flags.define_allow_other_embeddings()
    data = flags.DEFINE_string(
        "data",
        "",
        "A folder with bal_train and eval: packed folders, records, .h5 or .npz files.",
    )
    common_flags.formerly("data_dir", data)
    workdir = flags.DEFINE_string("workdir", "", "The folder of the table and of all its runs.")
    seeds = flags.DEFINE_list("seeds", ["0", "1", "2"], "Of weights, batches and dropout.")
    steps = flags.DEFINE_integer(
        "steps", 20_000, "Train every row until this step at most.", lower_bound=1
    )
    evaluations = flags.DEFINE_integer(
        "evaluations", 20, "Evenly spaced; the average is over all of them.", lower_bound=1
    )
    validation = flags.DEFINE_float(
        "validation_fraction",
        0.1,
        "The share of the training clips held out, by which each row's step is chosen; 0: its last step.",
    )
    patience = flags.DEFINE_integer(
        "patience",
        5,
        "A row has converged after so many evaluations in a row without a better validation mAP; 0: every "
        "row trains to --steps.",
        lower_bound=0,
    )
    together = flags.DEFINE_integer(
        "seeds_together",
        0,
        "How many seeds of a row train in one program; 0: all on an accelerator, 1 on a CPU.",
        lower_bound=0,
    )

    def read() -> Training:
        common_flags.require(data, workdir)
        folder = paths.resolved(data.value)
        schedule = Schedule(
            train=_split_path(folder, "bal_train"),
            eval=_split_path(folder, "eval"),
            steps=steps.value,
            evaluations=evaluations.value,
            validation_fraction=validation.value,
            patience=patience.value if validation.value else 0,
        )
        settings = {
            "data_dir": str(folder),
            "steps": steps.value,
            "evaluations": evaluations.value,
        }
        # A table that was begun before there were these two says nothing of them.
        if validation.value:
            settings |= {"validation_fraction": validation.value, "patience": patience.value}
        return Training(
            workdir=paths.as_path(workdir.value),
            schedule=schedule,
            settings=settings,
            seeds=_whole_numbers(seeds.value),
            together=together.value or seeds_that_fit(),
            allow_other_embeddings=allow_other.value,
        )

    return read


def _split_path(folder: Path, split: str) -> str:
    """The path of a split: a folder, or a file of arrays."""
    for name in (split, f"{split}.h5", f"{split}.hdf5", f"{split}.npz"):
        if (folder / name).exists():
            return str(folder / name)
    raise UserError(f"{folder} has no {split}: --data needs bal_train and eval")


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
