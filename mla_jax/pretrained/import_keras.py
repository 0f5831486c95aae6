"""Weights of a Keras model as a run's folder, which `mla_jax.runs.trained` opens.

workdir/config.json     the settings, as far as the file says them
workdir/checkpoints/0   the weights, the settings and the class list
"""

import contextlib
import dataclasses
from pathlib import Path

from mla_jax.config import Config, DataConfig, parse_architecture
from mla_jax.data.class_list import ClassList
from mla_jax.data.known_lists import require_audiosets_order
from mla_jax.errors import UserError
from mla_jax.models.multi_level import num_parameters
from mla_jax.presets import PRESETS, preset_of
from mla_jax.pretrained.keras.weights import KerasModel, load_keras
from mla_jax.runs.checkpoints import Checkpoints
from mla_jax.runs.folder import RunFolder
from mla_jax.storage import paths
from mla_jax.storage.cache import local_copy
from mla_jax.storage.folders import new_folder
from mla_jax.training.state import init_state

# Fields that a preset may have different and still be the preset of a model: how a model starts,
_INITIAL = ("kernel_init", "prior_bias")
# and what weights alone, without a graph, do not tell.
_UNSEEN = ("dropout_rate", "norm_momentum", "norm_epsilon", "norm_unbiased")


@dataclasses.dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes:
      config: the settings as they were written.
      preset: the name of the preset that equals the model in all but the architecture; "" if none does.
      classes: the classes; numbered if no list was given.
      num_features, num_parameters: M, and the number of trainable parameters.
      has_graph: whether the settings were read from the model's graph, or inferred from weights alone.
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

    Padding will count as segments of zero bytes (`data.mask=False`), as in the programs that write such
    files. Adam's state is fresh. If the file has weights alone, dropout is that of the preset they fit.

    Args:
      weights: what `model.save("x.h5")`, or `model.save_weights`, of Keras 2 or 3 wrote.
      workdir: the folder to write; must not exist, or be empty.
      architecture: such as 2-A-1-A; needed if the file has weights alone.
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
        require_audiosets_order(classes, str(weights), "none at all, and classes are numbered")
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
    """The preset that the model fits ("" if none), and its config."""
    ours = model.config
    ignored = {"architecture", *_INITIAL, *(() if model.has_graph else _UNSEEN)}
    if len(parse_architecture(ours.architecture)) == 1:
        ignored |= {"join", "output_norm"}
    preset = preset_of(ours, ignored)
    if preset and not model.has_graph:
        like = PRESETS[preset]().model
        ours = dataclasses.replace(ours, dropout_rate=like.dropout_rate)
    data = DataConfig(mask=False)
    if model.max_segments:
        data = dataclasses.replace(data, max_segments=model.max_segments)
    return preset, Config(model=ours, data=data)


def _write(workdir: Path, model: KerasModel, config: Config, classes: ClassList) -> None:
    """The folder appears only when it is complete; in a bucket its checkpoint does, and config.json last.

    What Orbax writes in a bucket is not what it writes on a disk, so it writes there itself.
    """
    meta = {
        "config": config.to_dict(),
        "classes": dataclasses.asdict(classes),
        "num_features": model.num_features,
    }
    remote = paths.is_remote(workdir)
    making = contextlib.nullcontext(workdir) if remote else new_folder(workdir)
    with making as folder:
        run = RunFolder(folder)
        with Checkpoints(run.checkpoints) as checkpoints:
            checkpoints.save(init_state(model.variables, config.optim), meta)
        run.write_config(config)
