"""Starts a command by its name, as `python -m experiments.NAME` and the installed programs do."""

import functools
import gc
import importlib
import inspect
from collections.abc import Callable

from mla_jax.commands import names
from mla_jax.commands.interrupts import leave_at_once


def launch(name: str) -> None:
    """Runs the command `mla_jax.commands.NAME`, with the flags of `sys.argv`.

    A command whose `main` has a parameter gets what stands behind `--`, flags that are not its own.
    """
    leave_at_once()
    from mla_jax.commands import arguments, cli
    from mla_jax.commands.vectors import choose_vectors
    from mla_jax.parallel.processor import processor_says

    # What is imported stays; looking for garbage in it over and over takes a twentieth of a short command.
    gc.set_threshold(100_000, 50, 100)
    choose_vectors(processor_says())
    command = importlib.import_module(f"mla_jax.commands.{name}")
    main = command.main
    if inspect.signature(main).parameters:
        main = functools.partial(main, arguments.take_behind_dashes())
    cli.run(main, about=command.__doc__ or "")


def __getattr__(name: str) -> Callable[[], None]:
    """`launch.train` is the installed program `mla-train`."""
    if not (names.HERE / f"{name}.py").is_file():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return functools.partial(launch, name)
