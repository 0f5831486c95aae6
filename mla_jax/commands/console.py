"""What commands print, and how they end: results, errors of one line, exit codes, streams that are gone."""

import contextlib
import os
import select
import sys
from collections.abc import Iterator

from absl import flags

from mla_jax.storage import outputs

EXIT_USER_ERROR = 2
EXIT_NOBODY_READS = 141  # what shells report of a command that SIGPIPE ended


def say(line: str) -> None:
    """Prints a line on stderr: results go to stdout, everything else here."""
    try:
        print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass  # a terminal that is gone, or a full disk, should stop no work


def say_stopping() -> None:
    """Says that a run which was asked to stop saves before it leaves."""
    say(
        "stopping: what is under way, a step, a compilation or an evaluation, is finished and the run saved "
        "first; Ctrl-C again ends it at once"
    )


def tell(line: str, output: str) -> None:
    """Prints a result on stdout, or where `output` itself goes there, on stderr."""
    if outputs.is_standard_output(output):
        say(line)
    else:
        print(line, flush=True)


@contextlib.contextmanager
def keeps(what: str) -> Iterator[None]:
    """Says, where Ctrl-C ends the block, that `what` is kept and the same command goes on."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"{what} is kept: the same command goes on from there")
        raise


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
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


# Raised by absl and ml_collections for a flag that they cannot take.
FLAG_ERRORS = (flags.Error, AttributeError, KeyError, TypeError, ValueError)


@contextlib.contextmanager
def one_line_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Lets errors of these kinds, or of flags if none are named, end the program with one line."""
    try:
        yield
    except kinds or FLAG_ERRORS as error:  # noqa: B030 (a tuple of exception types)
        if "--debug" in sys.argv or (isinstance(error, BrokenPipeError) and nobody_reads()):
            raise
        # An OSError's first argument is a number.
        message = error if isinstance(error, OSError) or not error.args else error.args[0]
        say(f"error: {' '.join(str(message).split())}")
        sys.exit(EXIT_USER_ERROR)
