"""Using a trained run: restoring its model, and evaluating it on data."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from mla_jax.config import Config
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
from mla_jax.evaluation import metrics, summaries
from mla_jax.inference.predictor import Predictor, average_predictions
from mla_jax.inference.segments import SegmentOutput
from mla_jax.models.multi_level import MultiLevelModel, Variables, build_model, init_variables
from mla_jax.progress import Progress
from mla_jax.recordings.encoder_files import DEFAULT as DEFAULT_FILES
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.recordings.inputs import names_sound
from mla_jax.runs.checkpoints import Checkpoints, DamagedCheckpointError
from mla_jax.runs.environment import environment
from mla_jax.runs.folder import RunFolder, list_skipped, require_output
from mla_jax.runs.results import embedding_of
from mla_jax.storage import files
from mla_jax.training.state import TrainState, init_state


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A model restored from a checkpoint of a run, and what is needed to use it.

    Attributes:
      model, variables: what `model.apply` takes.
      classes: the classes, in index order.
      config: the settings of the run.
      step: the step of the checkpoint.
      num_features: the size of an embedding vector.
      max_segments: the number of segments of the clips that it was trained on.
      embedding: what the embeddings that it was trained on mean; None if an older version trained it.
      allow_other_embeddings: whether clips whose embeddings differ in meaning are used all the same.
      made_with: what is known of these clips (`mla_jax.runs.fingerprint`); nothing in older checkpoints.
      encoder_files: of the encoder, with which the model takes sound as well.
    """

    model: MultiLevelModel
    variables: Variables
    classes: ClassList
    config: Config
    step: int
    num_features: int
    max_segments: int
    embedding: Embedding | None = None
    made_with: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    allow_other_embeddings: bool = False
    encoder_files: EncoderFiles = DEFAULT_FILES

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
          UserError: there is no such run or checkpoint, or it is damaged.
        """
        with _checkpoints(workdir) as checkpoints:
            trained = _restore(checkpoints, _choose_steps(checkpoints, step)[0])
        return dataclasses.replace(
            trained, allow_other_embeddings=allow_other_embeddings, encoder_files=encoder_files
        )

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
        segment_seconds: float | None = None,
        skipped: list[Skipped] | None = None,
    ) -> ClipSet:
        """Opens clips for this model, with the settings of the run.

        Args:
          path: the data, as in `DataConfig.train`; or, without labels, sound files.
          needs_labels: False if clips may do without labels.
          bad_records: "error" or "skip"; "" for that of the run.
          segment_seconds: from one segment to the next, where the data do not say it.
          skipped: records that are left out are appended to it.

        Raises:
          UserError: the data cannot be read, their embeddings are not such as the model was trained on, or
            the class list beside them is not the model's.
        """
        data = self.config.data
        labels = data.labels if path in (data.train, data.eval) else ""
        options = self._read_options(
            bad_records, segment_seconds, needs_labels=needs_labels, labels=labels
        )
        if names_sound(path):
            stream = sources.stream_format(path, self._sound(path), options, whole=True)
            (clips,) = stream.chunks
            if skipped is not None:
                skipped += stream.skipped
            return clips
        data_classes.require_same_classes(path, self.classes)
        if needs_labels:
            data_classes.require_list_of_labels(path, self.classes, self.config.data)
        clips = sources.open_clips(path, options, skipped)
        self.require_same_embedding(clips, path)
        return clips

    def stream_clips(
        self,
        path: str,
        *,
        bad_records: str = "",
        segment_seconds: float | None = None,
        window: int = 1,
        hop: int = 1,
    ) -> sources.ClipStream:
        """Opens clips as a stream, in bounded memory: of any length, with labels or without.

        Args:
          path: the data, or sound files.
          bad_records: "error" or "skip"; "" for that of the run.
          segment_seconds: from one segment to the next, where the data do not say it.
          window, hop: how clips will be cut into windows, in segments; long recordings come in spans that
            have all of these.

        Raises:
          UserError: as `open_clips`; errors within the data are raised as its chunks are taken.
        """
        options = self._read_options(
            bad_records, segment_seconds, needs_labels=False, labels="", max_segments=None
        )
        if names_sound(path):
            return sources.stream_format(path, self._sound(path, window, hop), options)
        data_classes.require_same_classes(path, self.classes)
        stream = sources.stream_clips(path, options)
        stream.chunks = self._checked(stream.chunks, path)
        return stream

    def _sound(self, path: str, window: int = 1, hop: int = 1) -> Format:
        # Only sound needs what reads it.
        from mla_jax.recordings.sound_clips import SoundFiles, encoder_of

        encoder = encoder_of(self.embedding, self.encoder_files)
        return SoundFiles(path, encoder, window=window, hop=hop)

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
        stated = Stated.of(self.config.data, firmly=False)
        if segment_seconds is not None:
            seconds = known_segment_seconds(stated=segment_seconds)
            stated = dataclasses.replace(stated, hop_seconds=seconds)
        changes |= {"stated": stated, "classes": self.classes}
        return ReadOptions.of(self.config.data, len(self.classes), **changes)

    @property
    def predictor(self) -> Predictor:
        """Applies the model to clips, with padding masked or not as in training."""
        return Predictor(self.model, self.variables, use_mask=self.config.data.mask)

    def predict(
        self, clips: ClipSet, on_progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Clip probabilities, [clips, classes] float32, as `Predictor.predict`.

        Raises:
          UserError: the clips' embeddings are not such as the model was trained on.
        """
        self.require_same_embedding(clips)
        return self.predictor.predict(clips, on_progress)

    def predict_segments(self, clips: ClipSet, *, with_levels: bool = False) -> SegmentOutput:
        """What the model says of each segment, as `Predictor.predict_segments`.

        Raises:
          UserError: the clips' embeddings are not such as the model was trained on.
        """
        self.require_same_embedding(clips)
        return self.predictor.predict_segments(clips, with_levels=with_levels)


def _checkpoints(workdir: str | Path) -> Checkpoints:
    folder = RunFolder(workdir)
    folder.require_checkpoints()
    return Checkpoints(folder.checkpoints, read_only=True)


def _choose_steps(checkpoints: Checkpoints, step: int = 0, average_from: int = 0) -> list[int]:
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


def _restore(checkpoints: Checkpoints, step: int) -> TrainedModel:
    try:
        return _read(checkpoints, step)
    except DamagedCheckpointError as error:
        others = [s for s in checkpoints.steps() if s != step]
        hint = f"; choose another with --step, there are {others}"
        raise UserError(f"{error}{hint if others else ', and there is no other'}") from error


def _read(checkpoints: Checkpoints, step: int) -> TrainedModel:
    meta = checkpoints.read_meta(step)
    config = Config.from_dict(meta["config"])
    classes = ClassList(tuple(meta["classes"]["mids"]), tuple(meta["classes"]["names"]))
    model = build_model(config.model, len(classes))

    def fresh() -> TrainState:
        prior = np.full(len(classes), 0.5)
        variables = init_variables(model, 0, meta["num_features"], class_prior=prior)
        return init_state(variables, config.optim)

    state = checkpoints.restore(step, jax.eval_shape(fresh))
    return TrainedModel(
        model=model,
        variables=state.variables,
        classes=classes,
        config=config,
        step=step,
        num_features=meta["num_features"],
        # Older checkpoints do not say.
        max_segments=meta.get("max_segments", config.data.max_segments),
        embedding=embedding_of(meta),
        made_with={name: meta.get(name, {}) for name in ("clips", "fingerprints")},
    )


def evaluate(
    workdir: str | Path,
    data: str,
    *,
    step: int = 0,
    average_from: int = 0,
    bad_records: str = "",
    allow_other_embeddings: bool = False,
    output: str | Path = "",
    show: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Evaluates a run on data: one checkpoint, or the average of the probabilities of several.

    Args:
      workdir: the run.
      data: a packed folder, records, or an HDF5 or .npz file.
      step: the checkpoint; 0: the best by validation, or without validation the newest.
      average_from: if given, all checkpoints from this step on are averaged.
      bad_records: "error" or "skip"; "" for that of the run.
      allow_other_embeddings: whether data whose embeddings differ in meaning are used all the same.
      output: if given, a JSON file to write the results to; records that were left out are listed beside it.
      show: takes the results before they are written, so that a full disk loses none.

    Returns:
      The scores mAP, AUC, d_prime, ...; skipped_records, step, steps_averaged, the classes' scores, ...

    Raises:
      UserError: the run or the data cannot be used, or the output cannot be written.
    """
    if output:
        require_output(output, [data])
    with _checkpoints(workdir) as checkpoints:
        steps = _choose_steps(checkpoints, step, average_from)
        models = (
            dataclasses.replace(
                _restore(checkpoints, s), allow_other_embeddings=allow_other_embeddings
            )
            for s in steps
        )
        trained = next(models)
        skipped: list[Skipped] = []
        clips = trained.open_clips(data, bad_records=bad_records, skipped=skipped)
        progress = Progress("predict", len(steps) * len(clips), "clips")

        def advance(before: int, done: int) -> None:
            progress.update(before + done)

        def predictions() -> Iterator[np.ndarray]:
            for i, model in enumerate(itertools.chain([trained], models)):
                yield model.predict(clips, partial(advance, i * len(clips)))

        probs = average_predictions(predictions())
        progress.close()
    scores = metrics.evaluate(probs, clips.multi_hot(), clips.label_mask)
    results = {
        **summaries.summarize(scores),
        "skipped_records": len(skipped),
        "step": steps[-1],
        "steps_averaged": steps,
        "workdir": str(workdir),
        "data": data,
        **environment(),
        "classes": summaries.per_class(scores, trained.classes.mids, trained.classes.names),
    }
    show(results)
    if output:
        files.write_json(output, results)
        list_skipped(output, skipped)
    return results
