"""Starts a command by its name, as `python -m experiments.NAME` and the installed programs do."""

import importlib
import sys

from absl import flags

from mla_jax.commands import cli


def launch(name: str) -> None:
    """Runs the command `mla_jax.commands.NAME`, with the flags of `sys.argv`."""
    command = importlib.import_module(f"mla_jax.commands.{name}")
    # absl's --help shows the docstring of the program, and the flags that are the program's own.
    about = [command.__doc__ or ""]
    if "config" in flags.FLAGS:
        about.append(cli.settings_help())
    sys.modules["__main__"].__doc__ = "\n".join(about)
    for flag in flags.FLAGS.get_key_flags_for_module(command):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    cli.run(command.main)
