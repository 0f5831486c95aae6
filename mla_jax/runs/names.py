"""What names runs: a folder; `A,B,C`, the average of several; `pretrained:NAME`, a model of the package."""

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
