"""What names runs: a folder; `A,B,C`, the average of several; `pretrained:NAME`, a model of the package."""

from collections.abc import Sequence
from pathlib import Path

from mla_jax.errors import UserError
from mla_jax.storage import paths

PREFIX = "pretrained:"
SHELF = Path(__file__).parent.parent / "pretrained" / "models"
"""A folder for each model, like that of a run (`RunFolder`), with a `model.npz` instead of checkpoints."""


def pretrained_models(shelf: Path | None = None) -> list[str]:
    """The names of the models that come with the package.

    Args:
      shelf: a folder of such models; None: that of the package.
    """
    return sorted(p.name for p in (shelf or SHELF).glob("*") if (p / "model.npz").is_file())


def folder_of(path: str | Path, shelf: Path | None = None) -> str | Path:
    """The folder that a name of a run stands for: of `pretrained:NAME` that of the model, else itself.

    Raises:
      UserError: there is no such model.
    """
    text = str(path)
    if not text.startswith(PREFIX):
        return path
    name, known = text.removeprefix(PREFIX), pretrained_models(shelf)
    if name not in known:
        raise UserError(
            f"there is no model {text}; the package has {', '.join(known) or 'none'}: mla-pretrained "
            "lists them"
        )
    return (shelf or SHELF) / name


def workdirs_of(workdir: str | Path) -> list[str]:
    """The runs that a name stands for: one, or several with commas between them.

    A folder whose own name has a comma is itself.

    Raises:
      UserError: nothing stands before, behind or between commas.
    """
    text = str(workdir)
    if "," not in text or paths.as_path(text).exists():
        return [text]
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise UserError(f"{text!r} names no run beside a comma; give runs as A,B,C")
    return found


def one_workdir(workdir: str | Path) -> str | Path:
    """The name as it is, where it stands for one run.

    Raises:
      UserError: it stands for several.
    """
    several = workdirs_of(workdir)
    if len(several) > 1:
        raise UserError(
            f"{workdir} names {len(several)} runs, and an average cannot be used for this; give one of them"
        )
    return workdir


def run_names(workdirs: Sequence[str | Path]) -> list[str]:
    """Names for runs: as much of the ends of their paths as tells them apart.

    What all end in alike, such as seed0, is left out; a run by itself keeps it, behind its folder's name. An
    average is named by its runs.

    Raises:
      UserError: there is no run, or the same is given twice.
    """
    if not workdirs:
        raise UserError("give at least one run's folder")
    parts = [[paths.resolved(paths.as_path(w)).parts for w in workdirs_of(one)] for one in workdirs]
    if len({tuple(sorted(runs)) for runs in parts}) < len(parts):
        raise UserError("the same run is given twice; give each once")
    folders = list(dict.fromkeys(run for runs in parts for run in runs))
    name_of = dict(zip(folders, _short_names(folders), strict=True))
    return [
        name_of[runs[0]]
        if len(runs) == 1
        else f"average of {', '.join(name_of[run] for run in runs)}"
        for runs in parts
    ]


def _short_names(whole: list[tuple[str, ...]]) -> list[str]:
    """Names for folders that differ, by the parts of their paths."""
    if len(whole) == 1:
        return ["/".join(whole[0][-2 if whole[0][-1].startswith("seed") else -1 :])]
    while len({parts[-1:] for parts in whole}) == 1:
        whole = [parts[:-1] for parts in whole]
    lengths = range(1, max(map(len, whole)) + 1)
    candidates = (["/".join(parts[-length:]) for parts in whole] for length in lengths)
    return next(names for names in candidates if len(set(names)) == len(names))
