"""Runs a command: reads its flags, quietens libraries, and ends it by what it raises."""

import contextlib
import logging as standard_logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from mla_jax.commands import arguments
from mla_jax.commands.common_flags import chosen_config
from mla_jax.commands.compiled import compile_in_good_time, keep_compiled
from mla_jax.commands.console import FLAG_ERRORS, one_line_errors, say, standard_streams
from mla_jax.commands.help import command_help
from mla_jax.commands.interrupts import EXIT_INTERRUPTED, interrupt_work
from mla_jax.errors import UserError
from mla_jax.parallel.signals import EXIT_TO_BE_CONTINUED, InterruptedRunError
from mla_jax.storage import paths

_DEBUG = flags.DEFINE_bool("debug", False, "Show the stack trace of an error.")


def debug() -> bool:
    """Whether `--debug` is given."""
    return bool(_DEBUG.value)


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
        with one_line_errors(UserError, OSError):
            if len(argv) > 1:
                raise UserError(f"{argv[1]!r} is not a flag; see --help")
            _use_own_numbers()
            compile_in_good_time()
            keep_compiled()
            try:
                interrupt_work()
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
        with one_line_errors(UserError, *FLAG_ERRORS):
            if arguments.parse_for_help(argv):
                config = chosen_config() if "config" in flags.FLAGS else None
                print(command_help(about or sys.modules[main.__module__].__doc__ or "", config))
                sys.exit(0)
            return arguments.parse(argv)

    with standard_streams():
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
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        told = " ".join(str(error).split())[:200] or "Python has none left"
        return (
            f"there is too little memory ({told}): in training lower --config.data.batch_size or "
            "--config.model.hidden_units; else give the data in parts"
        )
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
