"""What the programs that make a table share: results made before are shown, new ones written and drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from mla_jax.commands import console
from mla_jax.commands.markdown import has_markers, update_markdown
from mla_jax.errors import UserError
from mla_jax.storage import files

Made = dict[str, Any]


class Showing(NamedTuple):
    """The flags of showing what was made before."""

    results: flags.FlagHolder[str]
    update: flags.FlagHolder[str]


def define_showing(file: str) -> Showing:
    """Defines `--results` and `--update`; `file` is the name of a results file."""
    return Showing(
        flags.DEFINE_string("results", "", f"A file {file} made before, instead of training."),
        flags.DEFINE_string("update", "", "A Markdown file to put what is shown into."),
    )


def show(
    showing: Showing, make: Callable[[], Made], texts: Callable[[Made], dict[str, str]]
) -> None:
    """Shows what was made before, or now; and puts it into a file where that is asked for.

    Args:
      showing: the flags.
      make: makes it.
      texts: it in Markdown, by the name of its markers; a file without any must have the first.

    Raises:
      UserError: a file cannot be used, or the flags do not say what to do.
    """
    results, update = showing.results.value, showing.update.value
    if results:
        made = files.read_json(results)
        with files.taken_as(results, "a file that this program has written"):
            texts(made)
    elif flags.FLAGS.data and flags.FLAGS.workdir:
        made = make()
    else:
        raise UserError("give --data and --workdir, or --results, a file of results made before")
    shown = texts(made)
    print("\n\n".join(shown.values()), flush=True)
    if update:
        for name in [m for m in shown if has_markers(update, m)] or list(shown)[:1]:
            update_markdown(update, name, shown[name])


def write(workdir: Path, name: str, made: Made, text: str) -> None:
    """Writes the results, and what is to be read of them."""
    files.write_json(workdir / f"{name}.json", made)
    files.write_text(workdir / f"{name}.md", f"{text}\n")


def draw(path: Path, drawing: str, made: Made) -> None:
    """Draws results by a function of `experiments.table.figure`, where matplotlib is installed."""
    try:
        from experiments.table import figure
    except ImportError:
        console.say(f"{path.name} is not drawn: it needs matplotlib, pip install 'mla_jax[plots]'")
        return
    getattr(figure, drawing)(made, path)
