"""The data of a run, opened as its config says."""

import dataclasses

import numpy as np
from absl import logging

from mla_jax.config import Config, DataConfig
from mla_jax.data import data_classes, sources, splits
from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.formats.format import ReadOptions
from mla_jax.data.same_embedding import require_same_embedding
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
      allow_other_embeddings: whether embeddings that differ in meaning are used all the same.
    """

    train: ClipSet
    validation: ClipSet | None
    eval: ClipSet | None
    classes: ClassList
    skipped: tuple[Skipped, ...] = ()
    allow_other_embeddings: bool = False

    @classmethod
    def open(cls, config: Config, *, allow_other_embeddings: bool = False) -> "RunData":
        """Opens what `config.data` names; warns of clips that are in both train and eval.

        Args:
          config: the settings.
          allow_other_embeddings: whether embeddings that differ in meaning are used all the same.

        Raises:
          UserError: data are missing, cannot be read, or do not fit each other.
        """
        data = config.data
        if not data.train:
            raise UserError(
                "there is nothing to train on: give --config.data.train, a packed folder, records, or an "
                "HDF5 or .npz file"
            )
        sources.require_used(data, data.train, data.eval)
        found = data_classes.find_classes(data, data.train, data.eval)
        num_classes = data_classes.count_classes(data, found, data.train, data.eval)
        for path in (data.train, data.eval):
            if path and found is not None:
                data_classes.require_same_classes(path, found)
                data_classes.require_list_of_labels(path, found, data)
        skipped: list[Skipped] = []
        options = ReadOptions.of(data, num_classes, classes=found)
        trained_on = sources.open_clips(data.train, options, skipped)
        sources.warn_of_own_time(data.train, trained_on.max_segments, data)
        train, validation = splits.hold_out(trained_on, data.validation_fraction)
        train = splits.take_share(train, data.train_fraction, data.validation_fraction)
        evaluation = None
        if data.eval:
            evaluation = sources.open_clips(data.eval, options, skipped)
            if not data.mask:  # padding counts: as much of it as in training
                evaluation = evaluation.padded(train.max_segments)
            _warn_of_shared_ids(data, trained_on, evaluation)
            require_same_embedding(
                data.eval,
                evaluation.embedding,
                data.train,
                train.embedding,
                allow_other=allow_other_embeddings,
            )
        for name, clips in (("validation", validation), ("eval", evaluation)):
            if clips is not None:
                _warn_of_copies(train, name, clips)
        classes = found or ClassList.numbered(num_classes)
        _warn_of_labels_without_contrast(train, validation, evaluation, classes)
        return cls(train, validation, evaluation, classes, tuple(skipped), allow_other_embeddings)

    def sets(self) -> dict[str, ClipSet]:
        """The sets of clips that there are, by name."""
        sets = {"train": self.train, "validation": self.validation, "eval": self.eval}
        return {name: clips for name, clips in sets.items() if clips is not None}

    def evaluated(self) -> dict[str, ClipSet]:
        """The sets that models are evaluated on, by name."""
        return {name: clips for name, clips in self.sets().items() if name != "train"}

    def sizes(self) -> dict[str, int]:
        """The number of clips in each set."""
        return {name: len(clips) for name, clips in self.sets().items()}

    def describe(self) -> str:
        """The sets in one line."""
        parts = {name: f"{name} {count:,}" for name, count in self.sizes().items()}
        if self.validation is not None:
            share = len(self.validation) / (len(self.validation) + len(self.train))
            parts["validation"] += f" ({share:.1%} of these two, by a hash of their ids)"
        train = self.train
        return (
            f"{', '.join(parts.values())} clips; {train.max_segments} x {train.num_features} "
            f"{train.embeddings.dtype}, {train.num_classes} classes"
        )


def _warn_of_labels_without_contrast(
    train: ClipSet, validation: ClipSet | None, evaluation: ClipSet | None, classes: ClassList
) -> None:
    """Says which classes cannot be learned, and which clips give no score."""
    everywhere = np.flatnonzero(train.class_counts() == len(train))
    if len(everywhere):
        names = ", ".join(classes.shown_names[k] for k in everywhere[:3])
        logging.warning(
            "every training clip has the label %s%s, so a model learns to say it of every clip; add clips "
            "without it",
            names,
            f" and {len(everywhere) - 3} others" if len(everywhere) > 3 else "",
        )
    for name, clips in (("validation", validation), ("eval", evaluation)):
        if clips is not None and not _scorable(clips):
            logging.warning(
                "the %d %s clips give no score: no class is in some of them and not in others",
                len(clips),
                name,
            )


def _scorable(clips: ClipSet) -> bool:
    """Whether some class has clips that are known to have it, and others that are known not to."""
    known = np.full(clips.num_classes, len(clips))
    if clips.label_mask is not None:
        known = clips.label_mask.sum(axis=0)
    counts = clips.class_counts()
    return bool(((counts > 0) & (counts < known)).any())


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


def _warn_of_copies(train: ClipSet, name: str, clips: ClipSet) -> None:
    ids = clips.video_ids, train.video_ids
    pairs = [(ids[0][row], ids[1][other]) for row, other in splits.copies(clips, train)]
    # Of clips with the same id there is another warning.
    if pairs := [(one, other) for one, other in pairs if one != other]:
        one, other = (video_id.decode(errors="replace") for video_id in pairs[0])
        logging.warning(
            "copies of training clips under other ids: %d of %d %s clips, such as %r of %r; scores on clips "
            "that were trained on flatter, so leave copies out",
            len(pairs),
            len(clips),
            name,
            one,
            other,
        )
