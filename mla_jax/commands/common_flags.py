"""The flags that several commands share, and what they say."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import config_dict, config_flags

from mla_jax import config as config_lib
from mla_jax import presets
from mla_jax.commands import arguments
from mla_jax.commands.console import one_line_errors
from mla_jax.errors import UserError

if TYPE_CHECKING:
    from mla_jax.recordings.encoder_files import EncoderFiles

RECORDS_OR_ARRAYS = (
    "a folder, file or glob of TFRecords, or of .npy or .npz files that are a recording each; or an HDF5 or "
    ".npz file of arrays"
)
CLIPS = f"A packed folder; {RECORDS_OR_ARRAYS}"
"""What flags say that take clips."""


def define_config() -> Callable[[], config_lib.Config]:
    """Defines `--preset` and `--config.<section>.<field>`; returns a function that builds the config."""
    flags.DEFINE_string(
        "preset",
        presets.DEFAULT,
        f"The settings to start from: {', '.join(presets.PRESETS)}; yu2018:6-A is yu2018 with another "
        "architecture, 6-A alone the default preset with it. --config.* changes single fields of it.",
    )
    # A frozen dataclass cannot take overrides, so a dictionary takes them, and the class is built from it.
    # ml_collections looks the overrides up at once, so a misspelt field fails here.
    with one_line_errors():
        arguments.expand_homes()
        for argument in sys.argv[1:]:
            if argument.startswith("--config."):
                config_lib.require_field(argument.removeprefix("--config.").split("=")[0])
        config_flags.DEFINE_config_dict(
            "config",
            config_dict.ConfigDict(config_lib.Config().to_dict()),
            "Any field of mla_jax.config.Config, such as --config.optim.learning_rate=3e-4.",
        )
    return chosen_config


def chosen_config() -> config_lib.Config:
    """The preset, with the settings that flags change."""
    values = presets.preset(flags.FLAGS.preset).to_dict()
    for name in config_flags.get_override_values(flags.FLAGS["config"]):
        section, field = name.split(".")
        values[section][field] = flags.FLAGS.config[section][field]
    return config_lib.Config.from_dict(values)


def formerly(old: str, flag: flags.FlagHolder[Any]) -> None:
    """Takes the flag by the name that it had before, too."""
    flags.DEFINE_alias(old, flag.name)


def define_bad_records() -> flags.FlagHolder[str | None]:
    """Defines `--bad_records` for programs that use a trained run; None: as in training."""
    return flags.DEFINE_enum(
        "bad_records",
        None,
        ["error", "skip"],
        "What to do with records that cannot be used: stop, or leave them out and list them beside the "
        "output; if not given, as in training.",
    )


def define_allow_other_embeddings() -> flags.FlagHolder[bool]:
    """Defines `--allow_other_embeddings`."""
    return flags.DEFINE_bool(
        "allow_other_embeddings",
        False,
        "Go on, with a warning, where embeddings differ in what they mean: encoder, scaling, length of a "
        "segment, ... If not given, that is an error.",
    )


def define_segment_seconds() -> flags.FlagHolder[float | None]:
    """Defines `--segment_seconds`, for what neither data nor runs say."""
    return flags.DEFINE_float(
        "segment_seconds",
        None,
        "Seconds from one segment to the next, if neither the data nor the run say it.",
    )


def define_step() -> flags.FlagHolder[int]:
    """Defines `--step`, of a checkpoint."""
    return flags.DEFINE_integer(
        "step", 0, "Which checkpoint; 0: the best by validation, else the newest.", lower_bound=0
    )


def define_average_from() -> flags.FlagHolder[int]:
    """Defines `--average_from`, of the checkpoints of a run."""
    return flags.DEFINE_integer(
        "average_from",
        0,
        "Average the probabilities of all kept checkpoints from this step on.",
        lower_bound=0,
    )


_MODEL = "A run's folder; A,B,C is the average of several runs, used as one model"


def define_workdir_of_model() -> flags.FlagHolder[Sequence[str]]:
    """Defines `--workdir` for programs that use one model; `one` gives its value."""
    # Of a plain flag that is given twice, the first would be dropped without a word.
    return flags.DEFINE_multi_string("workdir", [], f"{_MODEL}.")


def define_workdirs_of_models() -> flags.FlagHolder[Sequence[str]]:
    """Defines `--workdir` for programs that show several models side by side."""
    return flags.DEFINE_multi_string("workdir", [], f"{_MODEL}; may be given several times.")


def one(flag: flags.FlagHolder[Sequence[str]]) -> str:
    """The value of a flag that may be given once.

    Raises:
      UserError: it is given several times.
    """
    given = list(flag.value)
    if len(given) > 1:
        raise UserError(
            f"--{flag.name} is given {len(given)} times; give it once: {','.join(given)} averages the runs"
        )
    return given[0]


def require_one_of(*alternatives: flags.FlagHolder[Any]) -> None:
    """Raises a UserError where more than one of these flags is given."""
    given = [f"--{flag.name}" for flag in alternatives if flag.value]
    if len(given) > 1:
        raise UserError(f"give {' or '.join(given)}, not both")


def refuse(given: Iterable[flags.FlagHolder[Any]], why: str) -> None:
    """Raises a UserError that says `why` where any of these flags, which would not be used, is given."""
    if names := [f"--{flag.name}" for flag in given if flag.present]:
        raise UserError(f"{', '.join(names)}: {why}")


def define_weights() -> flags.FlagHolder[str]:
    """Defines `--weights`, of an encoder of sound."""
    return flags.DEFINE_string(
        "weights",
        "",
        "For sound: the encoder's weights; empty: where mla-download-encoder puts them.",
    )


def define_labels() -> flags.FlagHolder[str]:
    """Defines `--labels`, of recordings that a program takes with their labels."""
    return flags.DEFINE_string(
        "labels",
        "",
        "For sound, and for .npy or .npz recordings: a CSV of labels, filename,labels; empty: the labels.csv "
        "beside the recordings.",
    )


def define_sounds() -> flags.FlagHolder[str]:
    """Defines `--sounds`, of the recordings that clips are of."""
    return flags.DEFINE_string(
        "sounds",
        "",
        "The recordings that the clips are of, a folder or glob of sound files, if they are at hand: their "
        "sound is drawn above the maps, and can be heard in a report.",
    )


def define_pca() -> flags.FlagHolder[str]:
    """Defines `--pca`, of an encoder of sound."""
    return flags.DEFINE_string(
        "pca",
        "",
        "For sound: principal components for an encoder that brings none, which make bytes of embeddings.",
    )


def encoder_files(
    weights: flags.FlagHolder[str], pca: flags.FlagHolder[str], data: str
) -> "EncoderFiles":
    """The files of an encoder that the flags name.

    Args:
      weights, pca: the flags.
      data: what the encoder is for; empty: what a run names, which may be sound.

    Raises:
      UserError: they name some, and the data are no sound.
    """
    from mla_jax.recordings.encoder_files import EncoderFiles
    from mla_jax.recordings.inputs import names_sound

    if (weights.value or pca.value) and data and not names_sound(data):
        refuse([weights, pca], f"no encoder is used, since {data} is no sound; leave this out")
    return EncoderFiles(weights.value, pca.value)


def require(*needed: flags.FlagHolder[Any]) -> None:
    """Checks that each of these flags is given.

    Raises:
      UserError: one is not; the message says which, and what it is.
    """
    for flag in needed:
        if not flag.value:
            raise UserError(f"give --{flag.name}: {flags.FLAGS[flag.name].help}")
