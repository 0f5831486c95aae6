"""The models that come with the package, and what names them: `pretrained:NAME` wherever a run is named."""

from pathlib import Path

from mla_jax.errors import UserError

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
            f"there is no model {text}; the package has {', '.join(known) or 'none'}: see "
            "mla_jax.pretrained_models()"
        )
    return (shelf or SHELF) / name
