"""The average of several trained models, used as one: of runs, or of the checkpoints of a run."""

import dataclasses
from collections.abc import Iterable
from functools import reduce
from typing import Self

from mla_jax.config import DataConfig
from mla_jax.data.class_list import one_list
from mla_jax.data.embedding import Embedding
from mla_jax.errors import UserError
from mla_jax.inference.averaged import AveragedPredictor
from mla_jax.runs.tagging_model import TaggingModel, require_models_alike
from mla_jax.runs.trained import TrainedModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class AveragedModel(TaggingModel):
    """The mean of the probabilities of several models of the same classes and embeddings.

    Each counts the same, and masks padding as it did in training. Data are read with the settings of the
    first. `max_segments` is the least of theirs, so that no model gets longer windows than it was trained on
    unless the user says so.

    Attributes:
      members: the models, of any architecture.
    """

    members: tuple[TrainedModel, ...]

    @classmethod
    def of(cls, members: Iterable[TrainedModel]) -> Self:
        """The average of these models.

        Raises:
          UserError: there are none; or two are of other classes, or of embeddings that mean something else.
        """
        members = tuple(members)
        if not members:
            raise UserError("there is no model to average; give one or more")
        named = {f"{one.name or 'a model'}, step {one.step}": one for one in members}
        require_models_alike(named)
        first = members[0]
        return cls(
            name=",".join(dict.fromkeys(one.name for one in members)),
            classes=one_list({name: one.classes for name, one in named.items()}),
            num_features=first.num_features,
            max_segments=min(one.max_segments for one in members),
            embedding=_known_of_all(members),
            allow_other_embeddings=first.allow_other_embeddings,
            encoder_files=first.encoder_files,
            members=members,
        )

    @property
    def data_settings(self) -> DataConfig:
        """The settings of the first model's data."""
        return self.members[0].data_settings

    @property
    def masks_padding(self) -> bool:
        """Whether all of them do."""
        return all(one.masks_padding for one in self.members)

    @property
    def predictor(self) -> AveragedPredictor:
        """Applies all models to clips, and gives the mean."""
        return AveragedPredictor(tuple(one.predictor for one in self.members))


def members_of(model: TaggingModel) -> tuple[TrainedModel, ...]:
    """The trained models that it is made of: of one, itself."""
    if isinstance(model, AveragedModel):
        return model.members
    assert isinstance(model, TrainedModel)
    return (model,)


def _known_of_all(members: Iterable[TrainedModel]) -> Embedding | None:
    """What the models know together of their embeddings; where they differ, what the first says."""
    known = [one.embedding for one in members if one.embedding is not None]
    if not known:
        return None
    return reduce(lambda a, b: a if a.difference(b) else a.joined(b), known)
