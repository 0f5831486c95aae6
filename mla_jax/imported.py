"""A Keras model's weights as a run's folder, which `mla_jax.trained` opens.

workdir/config.json     the settings, as far as the file says them
workdir/checkpoints/0   the weights, the settings and the class list
"""

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

from mla_jax import files, paths
from mla_jax.cache import local_copy
from mla_jax.config import Config, DataConfig, ModelConfig, parse_architecture
from mla_jax.data.labels import ClassList
from mla_jax.errors import UserError
from mla_jax.models.keras_import.weights import KerasModel, load_keras
from mla_jax.models.multi_level import num_parameters
from mla_jax.presets import PRESETS
from mla_jax.training.checkpoints import Checkpoints
from mla_jax.training.state import init_state

# These say how a model starts, not what it is.
_INITIAL = ("kernel_init", "prior_bias")
# Weights alone do not say these, nor what follows from them.
_UNSEEN = ("dropout_rate", "norm_momentum", "norm_epsilon", "norm_unbiased")


@dataclasses.dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes:
      config: the settings as they were written.
      preset: the name of the preset that the model is of, its architecture aside; "" if none is.
      classes: the classes, numbered where no list was given.
      num_features, num_parameters: M, and how many trainable numbers there are.
      has_graph: the form was read from the model's graph, not inferred from weights alone.
    """

    config: Config
    preset: str
    classes: ClassList
    num_features: int
    num_parameters: int
    has_graph: bool


def import_keras(
    weights: str | Path, workdir: str | Path, *, architecture: str = "", class_list: str = ""
) -> Imported:
    """Turns a Keras HDF5 file into a checkpoint at step 0.

    Padding will count as segments of zero bytes (`data.mask=False`), as in the programs that such files
    come from. Adam's state is fresh; of weights alone, dropout is that of the preset they fit.

    Args:
      weights: what `model.save("x.h5")`, or `model.save_weights`, of Keras 2 or 3 wrote.
      workdir: the folder to write; must not exist, or be empty.
      architecture: such as 2-A-1-A; needed where the file has weights alone.
      class_list: a class_labels_indices.csv of the model's classes.

    Raises:
      UserError: the file does not fit, the class list is of another length, or the folder is taken.
    """
    workdir = paths.as_path(workdir)
    if paths.is_taken(workdir):
        raise UserError(f"{workdir} already exists and is not empty; give another workdir")
    copy = local_copy(weights)
    with copy.naming():
        model = load_keras(copy.path, architecture)
    classes = ClassList.numbered(model.num_classes)
    if class_list:
        classes = ClassList.read(class_list)
        if len(classes) != model.num_classes:
            raise UserError(
                f"{class_list} has {len(classes)} classes, but the model of {weights} has "
                f"{model.num_classes}; give the list that it was trained with"
            )
    preset, config = _settings(model)
    _write(workdir, model, config, classes)
    return Imported(
        config=config,
        preset=preset,
        classes=classes,
        num_features=model.num_features,
        num_parameters=num_parameters(model.variables),
        has_graph=model.has_graph,
    )


def _settings(model: KerasModel) -> tuple[str, Config]:
    ours, preset = model.config, _preset_of(model)
    if preset and not model.has_graph:
        like = PRESETS[preset]().model
        ours = dataclasses.replace(ours, dropout_rate=like.dropout_rate)
    data = DataConfig(mask=False)
    if model.max_segments:
        data = dataclasses.replace(data, max_segments=model.max_segments)
    return preset, Config(model=ours, data=data)


def _preset_of(model: KerasModel) -> str:
    """The first preset that differs from the model in nothing that the file says."""
    ignored = {"architecture", *_INITIAL, *(() if model.has_graph else _UNSEEN)}
    if len(parse_architecture(model.config.architecture)) == 1:
        ignored |= {"join", "output_norm"}
    fields = [f.name for f in dataclasses.fields(ModelConfig) if f.name not in ignored]
    for name, make in PRESETS.items():
        like = make().model
        if all(getattr(model.config, field) == getattr(like, field) for field in fields):
            return name
    return ""


def _write(workdir: Path, model: KerasModel, config: Config, classes: ClassList) -> None:
    """The folder appears whole or not at all; in a bucket its checkpoint does, and config.json last."""
    meta = {
        "config": config.to_dict(),
        "classes": dataclasses.asdict(classes),
        "num_features": model.num_features,
    }

    def fill(folder: Path) -> None:
        with Checkpoints(folder / "checkpoints") as checkpoints:
            checkpoints.save(init_state(model.variables, config.optim), meta)
        files.write_json(folder / "config.json", config.to_dict())

    if paths.is_remote(workdir):
        fill(workdir)
        return
    try:
        workdir.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=workdir.parent, prefix=f".{workdir.name}."))
    except OSError as error:
        raise UserError(f"cannot write {workdir}: {error.strerror or error}") from error
    try:
        fill(partial)
        os.chmod(partial, 0o755)  # mkdtemp's folders are private
        partial.replace(workdir)
    except OSError as error:
        raise UserError(f"cannot write {workdir}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
