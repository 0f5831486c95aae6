"""What stands on the command line, before and while flags are read from it."""

import os
import re
import sys
from collections.abc import Sequence

from absl import flags

from mla_jax import suggest
from mla_jax.config import field_names
from mla_jax.errors import UserError

# What Python says of a value, and what a person is told.
_WORDS = (
    ("invalid literal for int()", "a whole number"),
    ("could not convert string to float", "a number"),
    ("Non-boolean argument", "True or False"),
)
_TWICE = re.compile(r"flag (--[^=]+)=(.*): already defined as (.*)", re.DOTALL)
_HELP = ("--help", "-help", "-h", "--helpshort", "--helpfull")


def expand_homes() -> None:
    """Expands `~` where flags have it, which no shell does behind a `=`."""

    def home(found: re.Match[str]) -> str:
        return os.path.expanduser(found[0])

    for i, argument in enumerate(sys.argv[1:], 1):
        name, equals, value = argument.partition("=")
        if not name.startswith("-"):
            name, equals, value = "", "", argument
        sys.argv[i] = name + equals + re.sub(r"(?:^|(?<=,))~[^/,]*", home, value)


def take_behind_dashes() -> list[str]:
    """Takes what stands behind `--` off the command line, for a program that passes it on."""
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    rest = sys.argv[end + 1 :]
    del sys.argv[end:]
    return rest


def parse(argv: Sequence[str]) -> Sequence[str]:
    """Reads the flags; returns what is left.

    Raises:
      UserError: there is no such flag (the message names the one that is meant, if it can be told), what
        should be a number is none, or a flag is given twice that can have one value alone.
      flags.Error: a flag has another value that it cannot take.
    """
    for name in flags.FLAGS:
        flags.FLAGS[name].allow_overwrite = False  # or the first of two values would not be used
    try:
        rest: Sequence[str] = flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        known = [*flags.FLAGS]
        if "config" in flags.FLAGS:
            known += [f"config.{name}" for name in field_names()]
        hint = suggest.did_you_mean(error.flagname, known, before="--") or "; --help lists them"
        raise UserError(f"there is no flag --{error.flagname}{hint}") from None
    except flags.IllegalFlagValueError as error:
        if twice := _TWICE.match(str(error)):
            name, last, first = twice.groups()
            raise UserError(
                f"{name} is given twice, as {first} and as {last}; give it once"
            ) from None
        for theirs, ours in _WORDS:
            given, found, _ = str(error).partition(theirs)
            if found:
                flag = given.removeprefix("flag ").rpartition(":")[0]
                raise UserError(f"{flag} is not valid: it must be {ours}") from None
        raise
    return rest


def parse_for_help(argv: Sequence[str]) -> bool:
    """Whether help is asked for; if so, flags that help depends on, such as --preset, are read."""
    flags_given = argv[: argv.index("--")] if "--" in argv else argv
    if not any(argument in _HELP for argument in flags_given[1:]):
        return False
    flags.FLAGS([a for a in flags_given if a not in _HELP], known_only=True)
    return True
