"""What the command-line programs share: flags, errors of one line, and exit codes."""

import contextlib
import logging as standard_logging
import os
import select
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import config_dict, config_flags

from mla_jax import config as config_lib
from mla_jax import presets
from mla_jax.commands import arguments
from mla_jax.commands.help import command_help
from mla_jax.errors import UserError
from mla_jax.parallel.signals import EXIT_TO_BE_CONTINUED, InterruptedRunError
from mla_jax.storage import outputs, paths

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # what shells report of a command that SIGINT ended
EXIT_NOBODY_READS = 141  # ... and of one that SIGPIPE ended

RECORDS_OR_ARRAYS = (
    "a folder, file or glob of TFRecords, or of .npy or .npz files that are a recording each; or an HDF5 or "
    ".npz file of arrays"
)
CLIPS = f"A packed folder; {RECORDS_OR_ARRAYS}"
"""What flags say that take clips."""

_DEBUG = flags.DEFINE_bool("debug", False, "Show the stack trace of an error.")


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
    with _one_line_errors():
        arguments.expand_homes()
        for argument in sys.argv[1:]:
            if argument.startswith("--config."):
                config_lib.require_field(argument.removeprefix("--config.").split("=")[0])
        config_flags.DEFINE_config_dict(
            "config",
            config_dict.ConfigDict(config_lib.Config().to_dict()),
            "Any field of mla_jax.config.Config, such as --config.optim.learning_rate=3e-4.",
        )
    return _chosen_config


def _chosen_config() -> config_lib.Config:
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


def require(*needed: flags.FlagHolder[Any]) -> None:
    """Checks that each of these flags is given.

    Raises:
      UserError: one is not; the message says which, and what it is.
    """
    for flag in needed:
        if not flag.value:
            raise UserError(f"give --{flag.name}: {flags.FLAGS[flag.name].help}")


def debug() -> bool:
    """Whether `--debug` is given."""
    return bool(_DEBUG.value)


def say(line: str) -> None:
    """Prints a line on stderr: results go to stdout, everything else here."""
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass  # a terminal that is gone, or a full disk, should stop no work


def tell(line: str, output: str) -> None:
    """Prints a result on stdout, or where `output` itself goes there, on stderr."""
    if outputs.is_standard_output(output):
        say(line)
    else:
        print(line, flush=True)


def scores(results: Mapping[str, Any]) -> str:
    """The scores of an evaluation in one line."""
    return (
        f"mAP {results['mAP']:.4f}, AUC {results['AUC']:.4f}, d-prime {results['d_prime']:.3f}, "
        f"{results['num_clips']:,} clips"
    )


def run(main: Callable[[], None], about: str = "") -> None:
    """Runs a program; a user's mistake ends it with one line and exit code 2, without a stack trace.

    Args:
      main: what it does once the flags are read.
      about: what --help says of it; if not given, the docstring of the module of `main`.
    """

    def guarded(argv: Sequence[str]) -> None:
        if not _DEBUG.value:
            _quieten_orbax()
            logging.get_absl_handler().setFormatter(_OneLine())
        with _one_line_errors(UserError, OSError):
            if len(argv) > 1:
                raise UserError(f"{argv[1]!r} is not a flag; see --help")
            _use_own_numbers()
            try:
                main()
                sys.stdout.flush()
            except InterruptedRunError as stop:
                say(str(stop))
                sys.exit(EXIT_TO_BE_CONTINUED)
            except KeyboardInterrupt:
                say("interrupted")
                _leave(EXIT_INTERRUPTED)
            except Exception as error:
                if _DEBUG.value or not (known := known_cause(error)):
                    raise
                raise UserError(known) from error

    def parse(argv: Sequence[str]) -> Sequence[str]:
        with _one_line_errors(UserError, *_FLAG_ERRORS):
            if arguments.parse_for_help(argv):
                config = _chosen_config() if "config" in flags.FLAGS else None
                print(command_help(about or sys.modules[main.__module__].__doc__ or "", config))
                sys.exit(0)
            return arguments.parse(argv)

    with _standard_streams():
        arguments.expand_homes()
        app.run(guarded, flags_parser=parse)


def _leave(code: int) -> None:
    """Ends the process at once: what runs on in threads of C++ may crash when Python takes itself apart."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def known_cause(error: Exception) -> str:
    """What to tell the user of an error that is no fault of the program, though it looks like one; or ""."""
    if paths.is_of_bucket(error):
        return f"a bucket cannot be used any more: {error}"
    wanted = os.environ.get("JAX_PLATFORMS")
    if not wanted or "jax" not in sys.modules or isinstance(error, UserError | OSError):
        return ""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError):  # JAX gives no reason for the second
        return (
            f"JAX_PLATFORMS={wanted}: JAX can use no such device here; unset it, or name one that this "
            "machine has, such as cpu"
        )
    return ""


# What else in the environment would make other models of the same settings, and what it is here.
_NUMBERS = {"JAX_ENABLE_X64": "0", "JAX_DEFAULT_PRNG_IMPL": "threefry2x32"}


def _use_own_numbers() -> None:
    """Models are of the numbers that the settings say, whatever the shell asks of JAX for other projects."""
    off = ("0", "false", "off", "no", "n", "f", "")
    for name, ours in _NUMBERS.items():
        asked = os.environ.get(name, ours).lower()
        if asked == ours or (ours == "0" and asked in off):
            continue
        say(f"{name}={os.environ[name]} is not used: models here are made with {ours}")
        os.environ[name] = ours
        if "jax" in sys.modules:
            import jax

            jax.config.update(name.lower(), False if ours == "0" else ours)


@contextlib.contextmanager
def _standard_streams() -> Iterator[None]:
    """Lets the block print, whatever stdout and stderr are.

    Closed ones take everything. What their encoding does not have is escaped. Where they are a pipe that
    nobody reads any more, as behind `| head`, the program ends quietly.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(EXIT_NOBODY_READS)
    except OSError as error:
        _drop_output()
        say(f"error: cannot print: {error.strerror or error}")
        sys.exit(EXIT_USER_ERROR)


def _drop_output() -> None:
    """Lets Python end in peace: it prints what is left when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2) if nobody_reads() else (1,):
        os.dup2(nowhere, number)


def nobody_reads() -> bool:
    """Whether stdout or stderr is a pipe whose other end is closed."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


class _OneLine(standard_logging.Formatter):
    """What the library logs, as commands say it: `warning: ...`, without date, thread and place."""

    def format(self, record: standard_logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {' '.join(record.getMessage().split())}"


def _quieten_orbax() -> None:
    """Silences Orbax, which logs every step of a save, and all stack traces of one that fails.

    What it raises becomes an error of one line.
    """
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().addFilter(
        lambda record: record.name != "asyncio" and "/orbax/" not in record.pathname
    )
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    sys.unraisablehook = lambda _: None


# Raised by absl and ml_collections for a flag that they cannot take.
_FLAG_ERRORS = (flags.Error, AttributeError, KeyError, TypeError, ValueError)


@contextlib.contextmanager
def _one_line_errors(*kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kinds or _FLAG_ERRORS as error:  # noqa: B030 (a tuple of exception types)
        if "--debug" in sys.argv or (isinstance(error, BrokenPipeError) and nobody_reads()):
            raise
        # An OSError's first argument is a number.
        message = error if isinstance(error, OSError) or not error.args else error.args[0]
        say(f"error: {' '.join(str(message).split())}")
        sys.exit(EXIT_USER_ERROR)
