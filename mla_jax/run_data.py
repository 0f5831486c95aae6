"""The data of a run, opened as its config says."""

import dataclasses

from absl import logging

from mla_jax.config import Config, DataConfig
from mla_jax.data import sources, splits
from mla_jax.data.clips import ClipSet
from mla_jax.data.labels import ClassList
from mla_jax.data.skipped import Skipped
from mla_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class RunData:
    """The data of a run.

    Attributes:
      train, validation, eval: the clips of each; None where there are none.
      classes: the classes, in index order.
      skipped: the records that were left out with `bad_records=skip` as the data were read.
    """

    train: ClipSet
    validation: ClipSet | None
    eval: ClipSet | None
    classes: ClassList
    skipped: tuple[Skipped, ...] = ()

    @classmethod
    def open(cls, config: Config) -> "RunData":
        """Opens what `config.data` names; warns of video ids that are in both train and eval.

        Raises:
          UserError: something is missing, cannot be read, or does not fit the rest.
        """
        data = config.data
        if not data.train:
            raise UserError(
                "there is nothing to train on: give --config.data.train, a packed folder, records, or an "
                "HDF5 or .npz file"
            )
        found = sources.find_classes(data, data.train, data.eval)
        for path in (data.train, data.eval):
            if path and found is not None:
                sources.require_same_classes(path, found)
        num_classes = sources.count_classes(data, found, data.train, data.eval)
        skipped: list[Skipped] = []
        trained_on = sources.open_clips(data.train, data, num_classes, skipped)
        train, validation = splits.hold_out(trained_on, data.validation_fraction)
        evaluation = None
        if data.eval:
            evaluation = sources.open_clips(data.eval, data, num_classes, skipped)
            _warn_of_shared_ids(data, trained_on, evaluation)
        for other in (validation, evaluation):
            if other is not None and other.num_features != train.num_features:
                raise UserError(
                    f"{data.eval} has {other.num_features} features a segment, {data.train} has "
                    f"{train.num_features}; both must come from the same encoder"
                )
        classes = found or ClassList.numbered(num_classes)
        return cls(train, validation, evaluation, classes, tuple(skipped))

    def sets(self) -> dict[str, ClipSet]:
        """The sets that are there, by name."""
        sets = {"train": self.train, "validation": self.validation, "eval": self.eval}
        return {name: clips for name, clips in sets.items() if clips is not None}

    def sizes(self) -> dict[str, int]:
        """The number of clips of each set that is there."""
        return {name: len(clips) for name, clips in self.sets().items()}

    def describe(self) -> str:
        """One line about what is there."""
        parts = [f"{name} {count:,}" for name, count in self.sizes().items()]
        train = self.train
        return (
            f"{', '.join(parts)} clips; {train.max_segments} x {train.num_features} "
            f"{train.embeddings.dtype}, {train.num_classes} classes"
        )


def _warn_of_shared_ids(data: DataConfig, train: ClipSet, evaluation: ClipSet) -> None:
    if shared := splits.shared_ids(train, evaluation):
        logging.warning(
            "%d video ids are both in %s and in %s, the first of them %r: scores on clips that were trained "
            "on flatter; leave them out of one",
            len(shared),
            data.train,
            data.eval,
            shared[0].decode(errors="replace"),
        )
