"""What is used as a model of clips, be it one trained model or the average of several: `TaggingModel`."""

import abc
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from mla_jax.config import DataConfig
from mla_jax.data import data_classes, sources
from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.embedding import Embedding
from mla_jax.data.formats.format import Format, ReadOptions
from mla_jax.data.same_embedding import UNNAMED, require_same_embedding
from mla_jax.data.segment_seconds import known_segment_seconds
from mla_jax.data.skipped import Skipped
from mla_jax.data.stated import Stated
from mla_jax.errors import UserError
from mla_jax.inference.predictor import ClipPredictor
from mla_jax.inference.segment_scores import DEFAULT_SCORE
from mla_jax.inference.segments import SegmentOutput
from mla_jax.recordings.encoder_files import DEFAULT as DEFAULT_FILES
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.recordings.inputs import names_sound


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaggingModel(abc.ABC):
    """What gives clips probabilities, with what is known of the clips that it takes.

    Attributes:
      name: what it was opened by, such as its run's folder; empty if it was not.
      classes: the classes, in index order.
      num_features: the size of an embedding vector.
      max_segments: the number of segments of the clips that it was trained on.
      embedding: what the embeddings that it was trained on mean; None if an older version trained it.
      allow_other_embeddings: whether clips whose embeddings differ in meaning are used all the same.
      encoder_files: of the encoder, with which the model takes sound as well.
    """

    name: str = ""
    classes: ClassList
    num_features: int
    max_segments: int
    embedding: Embedding | None = None
    allow_other_embeddings: bool = False
    encoder_files: EncoderFiles = DEFAULT_FILES

    @property
    @abc.abstractmethod
    def data_settings(self) -> DataConfig:
        """The settings with which data are read for it."""

    @property
    @abc.abstractmethod
    def masks_padding(self) -> bool:
        """False where padding counts as segments (`data.mask=False`): then it fills clips as in training."""

    @property
    @abc.abstractmethod
    def predictor(self) -> ClipPredictor:
        """Applies it to clips, with padding masked or not as in training."""

    def require_same_embedding(self, clips: ClipSet, name: str = UNNAMED) -> None:
        """Checks that clips have embeddings such as the model was trained on.

        Raises:
          UserError: they have not; where `allow_other_embeddings` says so, it is a warning.
        """
        require_same_embedding(
            name,
            clips.embedding,
            "the run",
            self.embedding,
            allow_other=self.allow_other_embeddings,
        )

    def open_clips(
        self,
        path: str,
        *,
        needs_labels: bool = True,
        bad_records: str = "",
        labels: str = "",
        segment_seconds: float | None = None,
        skipped: list[Skipped] | None = None,
    ) -> ClipSet:
        """Opens clips for this model, with the settings of the run.

        Args:
          path: the data, as in `DataConfig.train`; or sound files, which, where labels are needed, are cut
            into clips as long as those of training.
          needs_labels: False if clips may do without labels.
          bad_records: "error" or "skip"; "" for that of the run.
          labels: a CSV file of labels, for sound and for recordings in files of their own; "" for that of
            the run if the data are the run's, else `labels.csv` beside the recordings.
          segment_seconds: from one segment to the next, where the data do not say it.
          skipped: records that are left out are appended to it.

        Raises:
          UserError: the data cannot be read, or no clip has a label though they are needed; their embeddings
            are not such as the model was trained on, or the class list beside them is not the model's.
        """
        data = self.data_settings
        if labels and not names_sound(path):
            sources.require_used(DataConfig(labels=labels), path)
        if not labels and path in (data.train, data.eval):
            labels = data.labels
        options = self._read_options(
            bad_records, segment_seconds, needs_labels=needs_labels, labels=labels
        )
        if names_sound(path):
            stream = sources.stream_format(
                path,
                self._sound(path, labelled_length=self.max_segments),
                options,
                whole=True,
            )
            (clips,) = stream.chunks
            if skipped is not None:
                skipped += stream.skipped
            return clips
        data_classes.require_same_classes(path, self.classes)
        if needs_labels:
            data_classes.require_list_of_labels(path, self.classes, self.data_settings)
        clips = sources.open_clips(path, options, skipped)
        if needs_labels and not len(clips.label_ids):
            raise UserError(
                f"{path} has no labels, so nothing can be scored; give clips with labels (of sound: "
                "mla-embed --labels)"
            )
        self.require_same_embedding(clips, path)
        return clips if self.masks_padding else clips.padded(self.max_segments)

    def stream_clips(
        self,
        path: str,
        *,
        bad_records: str = "",
        segment_seconds: float | None = None,
        window: int = 1,
        hop: int = 1,
        chunk_size: int = ReadOptions.chunk_size,
    ) -> sources.ClipStream:
        """Opens clips as a stream, in bounded memory: of any length, with labels or without.

        Args:
          path: the data, or sound files.
          bad_records: "error" or "skip"; "" for that of the run.
          segment_seconds: from one segment to the next, where the data do not say it.
          window, hop: how clips will be cut into windows, in segments; long recordings come in spans that
            have all of these.
          chunk_size: the most clips of a chunk.

        Raises:
          UserError: as `open_clips`; errors within the data are raised as its chunks are taken.
        """
        options = self._read_options(
            bad_records,
            segment_seconds,
            needs_labels=False,
            labels="",
            max_segments=None,
            chunk_size=chunk_size,
        )
        if names_sound(path):
            return sources.stream_format(path, self._sound(path, window=window, hop=hop), options)
        data_classes.require_same_classes(path, self.classes)
        stream = sources.stream_clips(path, options)
        stream.chunks = self._checked(stream.chunks, path)
        return stream

    def _sound(self, path: str, **lengths: int) -> Format:
        # Only sound needs what reads it.
        from mla_jax.recordings.sound_clips import SoundFiles, encoder_of

        encoder = encoder_of(self.embedding, self.encoder_files)
        return SoundFiles(path, encoder, **lengths)

    def _checked(self, chunks: Iterator[ClipSet], path: str) -> Iterator[ClipSet]:
        for clips in chunks:
            self.require_same_embedding(clips, path)
            yield clips

    def _read_options(
        self, bad_records: str, segment_seconds: float | None, **changes: Any
    ) -> ReadOptions:
        if bad_records:
            changes["bad_records"] = bad_records
        # Data that say otherwise than the run's settings are compared with the model, which knows better.
        stated = Stated.of(self.data_settings, firmly=False)
        if segment_seconds is not None:
            seconds = known_segment_seconds(stated=segment_seconds)
            stated = dataclasses.replace(stated, hop_seconds=seconds)
        changes |= {"stated": stated, "classes": self.classes}
        return ReadOptions.of(self.data_settings, len(self.classes), **changes)

    def predict(
        self, clips: ClipSet, on_progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Clip probabilities, [clips, classes] float32, as `Predictor.predict`.

        Raises:
          UserError: the clips' embeddings are not such as the model was trained on.
        """
        self.require_same_embedding(clips)
        return self.predictor.predict(clips, on_progress)

    def predict_segments(
        self, clips: ClipSet, *, score: str = DEFAULT_SCORE, with_levels: bool = False
    ) -> SegmentOutput:
        """What the model says of each segment, as `Predictor.predict_segments`.

        Raises:
          UserError: the clips' embeddings are not such as the model was trained on.
        """
        self.require_same_embedding(clips)
        return self.predictor.predict_segments(clips, score=score, with_levels=with_levels)


def require_models_alike(models: Mapping[str, TaggingModel]) -> None:
    """Checks that models, by name, were trained on embeddings that mean the same.

    Raises:
      UserError: two were not; where `allow_other_embeddings` says so, it is a warning, unless their vectors
        have another size.
    """
    for (one, first), (other, second) in itertools.combinations(models.items(), 2):
        if second.embedding is not None:
            require_same_embedding(
                other,
                second.embedding,
                one,
                first.embedding,
                allow_other=second.allow_other_embeddings,
            )
        if first.num_features != second.num_features:
            raise UserError(
                f"{other} takes {second.num_features} features a segment, but {one} takes "
                f"{first.num_features}; give models of the same embeddings"
            )
