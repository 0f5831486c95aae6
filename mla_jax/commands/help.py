"""What --help prints: what the command does, and its flags and settings with their meanings, each once."""

import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable
from typing import Any

from absl import flags

from mla_jax.config import Config

_WIDTH = 100


def command_help(about: str, config: Config | None) -> str:
    """The whole help.

    Args:
      about: the command's docstring.
      config: the settings whose values are shown, for a command that has `--config.*`.
    """
    parts = [inspect.cleandoc(about), "", "Flags, with what they are if not given:", *_flags()]
    if config:
        parts += ["", "Settings, as this preset has them (--preset=NAME --help shows another's):"]
        parts += _settings(config)
    return "\n".join(parts)


def _flags() -> list[str]:
    """The flags that are ours: absl and other libraries define many more."""
    lines: list[str] = []
    # The command is imported last, after what it shares with others.
    for module, defined in reversed(flags.FLAGS.flags_by_module_dict().items()):
        if not module.startswith(("mla_jax.", "experiments.")) and module != sys.argv[0]:
            continue
        for flag in defined:
            # Settings come below; old names are not shown.
            if flag.name != "config" and not (flag.help or "").startswith("Alias for "):
                lines += [_name_and_value(flag), *_indented(_meaning(flag))]
    return lines


def _meaning(flag: flags.Flag[Any]) -> str:
    meaning = flag.help or ""
    if isinstance(flag, flags.EnumFlag):
        choices: list[str] = flag.parser.enum_values
        meaning = meaning.removeprefix(f"<{'|'.join(choices)}>: ")  # absl puts it there
        meaning += f" One of: {', '.join(filter(None, choices))}."
    if isinstance(flag, flags.MultiFlag):
        meaning = meaning.removesuffix(";\n    repeat this option to specify a list of values")
    return meaning


def _name_and_value(flag: flags.Flag[Any]) -> str:
    if flag.boolean:
        return f"  --{'no' if flag.default else ''}{flag.name}"
    value = flag.default
    if isinstance(value, list):
        value = ",".join(map(str, value))
    return f"  --{flag.name}={'' if value is None else value}"


def _settings(config: Config) -> list[str]:
    lines = []
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        for names, meaning in meanings(type(values)):
            lines += [f"  --config.{section.name}.{n}={getattr(values, n)}" for n in names]
            lines += _indented(meaning)
    return lines


def meanings(section: type[Any]) -> Iterable[tuple[list[str], str]]:
    """The settings of a section, those that are explained together in one group, with what they mean.

    They are read off the "Attributes:" of its docstring.
    """
    text = inspect.cleandoc(section.__doc__ or "").partition("Attributes:\n")[2]
    for names, meaning in re.findall(r"^  ([\w, ]+): (.*(?:\n {4}.*)*)", text, re.MULTILINE):
        yield names.split(", "), " ".join(meaning.split())


def _indented(text: str) -> list[str]:
    indent = " " * 6
    return textwrap.wrap(
        " ".join(text.split()),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )
