"""A trained model: restoring it from the checkpoints of a run, or from the file of one given away."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from absl import logging

from mla_jax.config import Config, DataConfig
from mla_jax.data.class_list import ClassList
from mla_jax.errors import UserError
from mla_jax.inference.predictor import Predictor
from mla_jax.models.folded import ModelForm
from mla_jax.models.variables import Variables
from mla_jax.parallel.mesh import everywhere
from mla_jax.recordings.encoder_files import DEFAULT as DEFAULT_FILES
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.model_file import read_model, require_shapes
from mla_jax.runs.names import PREFIX, folder_of, one_workdir
from mla_jax.runs.saved_weights import WEIGHTS_SHA256, SavedWeights, embedding_of
from mla_jax.runs.tagging_model import TaggingModel
from mla_jax.storage import files

# Flax, Orbax and Optax, which these modules import, take longer to be imported than many a model to be used.
if TYPE_CHECKING:
    from mla_jax.models.multi_level import MultiLevelModel
    from mla_jax.runs.checkpoints import Checkpoints


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedModel(TaggingModel):
    """A model restored from a checkpoint of a run, and what is needed to use it.

    Attributes:
      variables: what `model.apply` takes.
      config: the settings of the run.
      step: the step of the checkpoint.
      made_with: what is known of the clips that it was trained on (`mla_jax.runs.fingerprint`); nothing in
        older checkpoints.
    """

    variables: Variables
    config: Config
    step: int
    made_with: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def open(
        cls,
        workdir: str | Path,
        step: int = 0,
        *,
        allow_other_embeddings: bool = False,
        encoder_files: EncoderFiles = DEFAULT_FILES,
    ) -> "TrainedModel":
        """Restores the checkpoint of `step`; 0: the best by validation, or without validation the newest.

        Raises:
          UserError: there is no such run or checkpoint, it is damaged, or several runs are named.
        """
        (trained,) = restore(one_workdir(workdir), step)
        return dataclasses.replace(
            trained, allow_other_embeddings=allow_other_embeddings, encoder_files=encoder_files
        )

    @classmethod
    def pretrained(cls, name: str, shelf: Path | None = None, **options: Any) -> "TrainedModel":
        """Opens a model that comes with the package; `pretrained:NAME` is the same wherever a run is named.

        Args:
          name: one of `mla_jax.pretrained_models()`.
          shelf: a folder of such models; None: that of the package.
          **options: as `open`.

        Raises:
          UserError: there is no such model, or it is damaged.
        """
        return cls.open(folder_of(f"{PREFIX}{name}", shelf), **options)

    @property
    def form(self) -> ModelForm:
        """What the model looks like."""
        return ModelForm(self.config.model, len(self.classes))

    @property
    def model(self) -> "MultiLevelModel":
        """The model as a Flax module."""
        from mla_jax.models.multi_level import build_model

        return build_model(*self.form)

    @property
    def data_settings(self) -> DataConfig:
        """The settings of the run's data."""
        return self.config.data

    @property
    def masks_padding(self) -> bool:
        """As in training."""
        return self.config.data.mask

    @functools.cached_property
    def predictor(self) -> Predictor:
        """Applies the model to clips, with padding masked or not as in training."""
        return Predictor(self.form, self.variables, use_mask=self.masks_padding)


def restore(workdir: str | Path, step: int = 0, average_from: int = 0) -> list[TrainedModel]:
    """Restores checkpoints of a run.

    Args:
      workdir: the run.
      step: which checkpoint; 0: the best by validation, or without validation the newest.
      average_from: if given, all checkpoints from this step on, in order, instead of one.

    Raises:
      UserError: there is no such run or checkpoint, or one is damaged.
    """
    folder = RunFolder(workdir)
    folder.require_model()
    if folder.model_file.exists():
        found = [_given_away(folder.model_file, step, average_from)]
        return [dataclasses.replace(one, name=str(workdir)) for one in found]
    found = _read_whole(folder, step, average_from) or _read_all(folder, step, average_from)
    return [dataclasses.replace(one, name=str(workdir)) for one in found]


def _read_whole(folder: RunFolder, step: int, average_from: int) -> list[TrainedModel]:
    """The models, read without Orbax; none if any of them cannot be."""
    saved = SavedWeights(folder.checkpoints)
    if not saved.steps():
        return []
    found = []
    for chosen in _choose_steps(saved, step, average_from):
        read = saved.read(chosen)
        if read is None:
            return []
        meta, variables = read
        found.append(_of_meta(meta, chosen, jax.device_put(variables, everywhere())))
    return found


def _read_all(folder: RunFolder, step: int, average_from: int) -> list[TrainedModel]:
    from mla_jax.runs.checkpoints import Checkpoints

    with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
        steps = _choose_steps(checkpoints, step, average_from)
        return [_restore(checkpoints, step) for step in steps]


def _choose_steps(
    checkpoints: "SavedWeights | Checkpoints", step: int, average_from: int
) -> list[int]:
    """All steps from `average_from` on, if it is given; else `step`, or for 0 the best or the newest."""
    steps = checkpoints.steps()
    if not steps:
        raise UserError(f"{checkpoints.folder} has no checkpoint yet; train for longer")
    if average_from:
        chosen = [s for s in steps if s >= average_from]
        if not chosen:
            raise UserError(
                f"{checkpoints.folder} keeps no checkpoint from step {average_from} on; it has {steps}"
            )
        if steps[0] > average_from:
            logging.warning(
                "the oldest checkpoint kept is of step %d, so nothing from step %d to there is averaged; "
                "--config.train.keep_checkpoints=0 keeps all in training",
                steps[0],
                average_from,
            )
        return chosen
    return [step or checkpoints.best_step() or steps[-1]]


def _restore(checkpoints: "Checkpoints", step: int) -> TrainedModel:
    from mla_jax.runs.checkpoints import DamagedCheckpointError

    try:
        return _read(checkpoints, step)
    except DamagedCheckpointError as error:
        others = [s for s in checkpoints.steps() if s != step]
        hint = f"; choose another with --step, there are {others}"
        raise UserError(f"{error}{hint if others else ', and there is no other'}") from error


def _read(checkpoints: "Checkpoints", step: int) -> TrainedModel:
    from mla_jax.training.state import TrainState, init_state

    meta = checkpoints.read_meta(step)

    def fresh() -> TrainState:
        config = Config.from_dict(meta["config"])
        return init_state(_fresh_variables(meta), config.optim, config.train.steps)

    state = checkpoints.restore(step, jax.eval_shape(fresh))
    return _of_meta(meta, step, state.variables)


def _given_away(path: Path, step: int, average_from: int) -> TrainedModel:
    """The model of a file without checkpoints, which has one step alone."""
    variables, meta = read_model(path)
    with files.taken_as(path, "a model; get it again"):
        if step not in (0, meta["step"]) or average_from > meta["step"]:
            raise UserError(
                f"{path} has the model of step {meta['step']} alone, not {step or average_from}"
            )
        if WEIGHTS_SHA256 not in meta:  # a file of before, so not known to be whole
            require_shapes(path, variables, jax.eval_shape(lambda: _fresh_variables(meta)))
        return _of_meta(meta, meta["step"], jax.device_put(variables, everywhere()))


def _fresh_variables(meta: Mapping[str, Any]) -> Variables:
    from mla_jax.models.multi_level import build_model, init_variables

    num_classes = len(meta["classes"]["names"])
    model = build_model(Config.from_dict(meta["config"]).model, num_classes)
    prior = np.full(num_classes, 0.5)
    return init_variables(model, 0, meta["num_features"], class_prior=prior)


def _of_meta(meta: Mapping[str, Any], step: int, variables: Variables) -> TrainedModel:
    config = Config.from_dict(meta["config"])
    return TrainedModel(
        variables=variables,
        classes=ClassList(tuple(meta["classes"]["mids"]), tuple(meta["classes"]["names"])),
        config=config,
        step=step,
        num_features=meta["num_features"],
        # Older checkpoints do not say.
        max_segments=meta.get("max_segments", config.data.max_segments),
        embedding=embedding_of(meta),
        made_with={name: meta.get(name, {}) for name in ("clips", "fingerprints")},
    )
