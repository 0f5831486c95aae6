"""The data of a run, opened as its config says."""

import dataclasses
import zlib

import numpy as np
from absl import logging

from mla_jax.config import Config, DataConfig
from mla_jax.data import sources, splits
from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.formats.format import ReadOptions
from mla_jax.data.skipped import Skipped
from mla_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class RunData:
    """The data of a run.

    Attributes:
      train: the clips to train on.
      validation, eval: the clips to evaluate on; None if there are none.
      classes: the classes, in index order.
      skipped: the records that were left out with `bad_records=skip`.
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
          UserError: data are missing, cannot be read, or do not fit each other.
        """
        data = config.data
        if not data.train:
            raise UserError(
                "there is nothing to train on: give --config.data.train, a packed folder, records, or an "
                "HDF5 or .npz file"
            )
        found = sources.find_classes(data, data.train, data.eval)
        num_classes = sources.count_classes(data, found, data.train, data.eval)
        for path in (data.train, data.eval):
            if path and found is not None:
                sources.require_same_classes(path, found)
                sources.require_list_of_labels(path, found, data)
        skipped: list[Skipped] = []
        options = ReadOptions.of(data, num_classes)
        trained_on = sources.open_clips(data.train, options, skipped)
        train, validation = splits.hold_out(trained_on, data.validation_fraction)
        evaluation = None
        if data.eval:
            evaluation = sources.open_clips(data.eval, options, skipped)
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
        """The sets of clips that there are, by name."""
        sets = {"train": self.train, "validation": self.validation, "eval": self.eval}
        return {name: clips for name, clips in sets.items() if clips is not None}

    def evaluated(self) -> dict[str, ClipSet]:
        """The sets that models are evaluated on, by name."""
        return {name: clips for name, clips in self.sets().items() if name != "train"}

    def fingerprints(self) -> dict[str, bytes]:
        """By name, bytes that tell sets apart; they are made without reading the embeddings."""
        return {name: _fingerprint(clips) for name, clips in self.sets().items()}

    def sizes(self) -> dict[str, int]:
        """The number of clips in each set."""
        return {name: len(clips) for name, clips in self.sets().items()}

    def describe(self) -> str:
        """The sets in one line."""
        parts = [f"{name} {count:,}" for name, count in self.sizes().items()]
        train = self.train
        return (
            f"{', '.join(parts)} clips; {train.max_segments} x {train.num_features} "
            f"{train.embeddings.dtype}, {train.num_classes} classes"
        )


def _fingerprint(clips: ClipSet) -> bytes:
    shape = f"{clips.embeddings.shape} {clips.embeddings.dtype} {clips.num_classes}".encode()
    arrays = (clips.num_segments, clips.label_offsets, clips.label_ids, clips.video_ids)
    sums = (zlib.crc32(np.ascontiguousarray(a).view(np.uint8).data) for a in arrays)
    return b" ".join([shape, *(b"%d" % s for s in sums)])


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
