"""What the command-line programs share: the config flags, and errors of one line."""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence

from absl import app, flags, logging
from ml_collections import config_dict, config_flags

from mla_jax import config as config_lib
from mla_jax import paths, presets
from mla_jax.errors import UserError
from mla_jax.training.interruption import EXIT_TO_BE_CONTINUED, InterruptedRunError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # as shells say that SIGINT ended a command

_DEBUG = flags.DEFINE_bool("debug", False, "Show the stack trace of an error.")


def define_config() -> Callable[[], config_lib.Config]:
    """Defines `--preset` and `--config.<section>.<field>`; returns what builds the config of them."""
    preset = flags.DEFINE_string(
        "preset",
        "yu2018",
        f"The settings to start from: {', '.join(presets.PRESETS)}; yu2018:6-A is yu2018 with another "
        "architecture. --config.* changes single fields of it.",
    )
    # A frozen dataclass cannot take overrides: a dictionary takes them, and the class is built of it.
    # It looks the overrides on the command line up at once, so a misspelt field fails here.
    with _one_line_errors():
        for argument in sys.argv[1:]:
            if argument.startswith("--config."):
                config_lib.require_field(argument.removeprefix("--config.").split("=")[0])
        holder = config_flags.DEFINE_config_dict(
            "config",
            config_dict.ConfigDict(config_lib.Config().to_dict()),
            "Any field of mla_jax.config.Config, such as --config.optim.learning_rate=3e-4.",
        )

    program = sys.modules["__main__"]
    program.__doc__ = f"{program.__doc__}\n{_settings()}"  # what --help shows

    def build() -> config_lib.Config:
        values = presets.preset(preset.value).to_dict()
        for name in config_flags.get_override_values(flags.FLAGS["config"]):
            section, field = name.split(".")
            values[section][field] = holder.value[section][field]
        return config_lib.Config.from_dict(values)

    return build


def _settings() -> str:
    defaults = config_lib.Config().to_dict()
    lines = ["Settings, with the defaults of the preset yu2018:"]
    for name in config_lib.field_names():
        section, field = name.split(".")
        lines.append(f"  --config.{name}={defaults[section][field]}")
    return "\n".join([*lines, "", "mla_jax/config.py says what each is.", ""])


def define_bad_records() -> flags.FlagHolder[str | None]:
    """Defines `--bad_records` for what uses a trained run; None: as in training."""
    return flags.DEFINE_enum(
        "bad_records",
        None,
        ["error", "skip"],
        "What to do with records that cannot be used: stop, or leave them out and list them beside the "
        "output; if not given, as in training.",
    )


def debug() -> bool:
    """Whether the traces of errors are wanted."""
    return bool(_DEBUG.value)


def say(line: str) -> None:
    """Tells the user something; results go to standard output, everything else here."""
    print(line, file=sys.stderr, flush=True)


def run(main: Callable[[], None]) -> None:
    """Runs a program: a user's mistake ends it with one line and exit code 2, without a stack trace."""

    def guarded(argv: Sequence[str]) -> None:
        if not _DEBUG.value:
            _quieten_orbax()
        with _one_line_errors(UserError, OSError):
            if len(argv) > 1:
                raise UserError(f"{argv[1]!r} is not a flag; see --help")
            try:
                main()
            except InterruptedRunError as stop:
                say(str(stop))
                sys.exit(EXIT_TO_BE_CONTINUED)
            except KeyboardInterrupt:
                say("interrupted")
                sys.exit(EXIT_INTERRUPTED)
            except Exception as error:
                if not paths.is_of_bucket(error) or _DEBUG.value:
                    raise
                raise UserError(f"a bucket cannot be used any more: {error}") from error

    def parse(argv: Sequence[str]) -> Sequence[str]:
        with _one_line_errors():
            rest: Sequence[str] = flags.FLAGS(argv)
        return rest

    app.run(guarded, flags_parser=parse)


def _quieten_orbax() -> None:
    """Orbax tells every step of a save, and of one that fails the traces of all its threads and futures.

    What it raises is told by us, in one line.
    """
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().addFilter(
        lambda record: record.name != "asyncio" and "/orbax/" not in record.pathname
    )
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    sys.unraisablehook = lambda _: None


# What absl and ml_collections raise of a flag that they cannot take.
_FLAG_ERRORS = (flags.Error, AttributeError, KeyError, TypeError, ValueError)


@contextlib.contextmanager
def _one_line_errors(*kinds: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kinds or _FLAG_ERRORS as error:  # noqa: B030 (a tuple of exception types)
        if "--debug" in sys.argv:
            raise
        # An OSError's first argument is a number.
        message = error if isinstance(error, OSError) or not error.args else error.args[0]
        say(f"error: {' '.join(str(message).split())}")
        sys.exit(EXIT_USER_ERROR)
