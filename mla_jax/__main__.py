"""The program `mla`, or `python -m mla_jax`: lists the commands, and runs the one that is named."""

import sys

from mla_jax import __version__, suggest
from mla_jax.commands import names


def main() -> None:
    """Does as the arguments say: a list, the version, or a command with its flags."""
    first = sys.argv[1] if len(sys.argv) > 1 else "--help"
    name = first.replace("-", "_")
    known = names.commands()
    if first in ("--help", "-h", "-help", "help"):
        print(_listing(known))
    elif first == "--version":
        print(f"mla_jax {__version__}")
    elif name in known:
        from mla_jax.commands.launch import launch

        sys.argv = [f"{sys.argv[0]} {first}", *sys.argv[2:]]
        launch(name)
    else:
        hint = suggest.did_you_mean(name, list(known)) or "; mla --help lists them"
        print(f"error: there is no command {first}{hint}", file=sys.stderr)
        sys.exit(2)


def _listing(known: dict[str, str]) -> str:
    width = max(len(names.program(name)) for name in known)
    return "\n".join(
        [
            "Multi-level attention models for weakly labelled audio. The commands:",
            "",
            *(f"  {names.program(name):{width}}  {does}" for name, does in known.items()),
            "",
            "Each says more with --help; `mla train` is mla-train. --version prints the version.",
        ]
    )


if __name__ == "__main__":
    main()
