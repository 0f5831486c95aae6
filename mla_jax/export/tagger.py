"""What is exported: a model, what goes in and comes out, and the description that travels with it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from mla_jax import __version__
from mla_jax.audio.encoder import Encoder
from mla_jax.data.embedding import AUDIOSET, Embedding, Scaling
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.runs.environment import package_version
from mla_jax.runs.thresholds import kept_thresholds
from mla_jax.runs.trained import TrainedModel

DESCRIPTION = "tagger.json"
"""The description's name, in every format that holds files."""

KIND, VERSION = "mla_jax tagger", 1
_LIBRARIES = ("jax", "jaxlib", "tensorflow", "tensorflow-cpu", "keras", "onnx")


@dataclasses.dataclass(frozen=True)
class Tagger:
    """A model to export.

    In every format two arrays go in: `embeddings`, [clips, segments, features], as the data store them
    (uint8, else float32), and `mask`, [clips, segments] bool, True where there is a segment. Two come out,
    float32: `clip`, [clips, classes], the probabilities of the clips, and `segments`, [clips, segments,
    classes], the scores of their segments (`mla_jax.inference.segment_scores`). Scaling is part of it. What
    padding holds changes nothing; its segments have probability 0, and so has a clip of nothing else.

    Attributes:
      trained: the model.
      embedding: what it takes.
      thresholds: [classes] of the run's validation; None if it has none.
      encoder: if given, sound goes in instead (`mla_jax.export.sound_program`), which it makes embeddings of.
    """

    trained: TrainedModel
    embedding: Embedding
    thresholds: np.ndarray | None = None
    encoder: Encoder | None = None

    @classmethod
    def of(cls, trained: TrainedModel, thresholds: np.ndarray | None = None) -> "Tagger":
        """A trained model; if it does not say what its embeddings are, AudioSet's or floats."""
        embedding = trained.embedding
        if embedding is None:
            size = trained.num_features
            floats = Embedding("float32", size, Scaling.default("float32"))
            embedding = AUDIOSET if size == AUDIOSET.num_features else floats
            logging.warning("the run does not say what its embeddings are; taken for %s", embedding)
        return cls(trained, embedding, thresholds)

    @classmethod
    def open(
        cls, workdir: str | Path, step: int = 0, sound: EncoderFiles | None = None
    ) -> "Tagger":
        """The model of a run, with the thresholds that the run keeps of that step.

        Args:
          workdir: the run.
          step: the checkpoint; 0: the best by validation, or without validation the newest.
          sound: the encoder's files, if it is to stand in front.

        Raises:
          UserError: there is no such run or checkpoint, or it is damaged; or no such encoder.
        """
        trained = TrainedModel.open(workdir, step)
        tagger = cls.of(trained, kept_thresholds(workdir, trained))
        if sound is None:
            return tagger
        # Only sound needs what reads it.
        from mla_jax.recordings.sound_clips import encoder_of

        return dataclasses.replace(tagger, encoder=encoder_of(trained.embedding, sound))

    def __str__(self) -> str:
        """In a line: `2-A-1-A of step 300, 527 classes, thresholds; takes vggish, ...`."""
        kept = "" if self.thresholds is None else ", with thresholds"
        takes = "sound, of which it makes " if self.encoder else ""
        return (
            f"{self.trained.config.model.architecture} of step {self.trained.step:,}, "
            f"{len(self.trained.classes)} classes{kept}; takes {takes}{self.embedding}"
        )

    @property
    def dtype(self) -> str:
        """Of `embeddings`: uint8 or float32."""
        return "uint8" if self.embedding.dtype == "uint8" else "float32"

    @property
    def use_mask(self) -> bool:
        """Whether padding is left out; else the model was made for segments of zeros in its place."""
        return self.trained.masks_padding

    def describe(self, **more: Any) -> dict[str, Any]:
        """The description, as plain values for JSON.

        Args:
          **more: what the format adds.
        """
        features = self.trained.num_features
        libraries = {name: found for name in _LIBRARIES if (found := package_version(name))}
        return {
            "kind": KIND,
            "version": VERSION,
            "made_with": {"mla_jax": __version__, **libraries},
            "architecture": self.trained.config.model.architecture,
            "step": self.trained.step,
            "embedding": self.embedding.to_json(),
            "max_segments": self.trained.max_segments,
            "padding": "left out" if self.use_mask else "counts as segments of zeros",
            "inputs": {
                "embeddings": {"dtype": self.dtype, "shape": ["clips", "segments", features]},
                "mask": {"dtype": "bool", "shape": ["clips", "segments"]},
            },
            "outputs": self.outputs(),
            "classes": self._classes(),
            **more,
        }

    def outputs(self) -> dict[str, Any]:
        """What comes out: dtypes and shapes."""
        classes = len(self.trained.classes)
        return {
            "clip": {"dtype": "float32", "shape": ["clips", classes]},
            "segments": {"dtype": "float32", "shape": ["clips", "segments", classes]},
        }

    def _classes(self) -> list[dict[str, Any]]:
        classes = self.trained.classes
        rows = [
            {"index": k, "mid": mid, "name": name}
            for k, (mid, name) in enumerate(zip(classes.mids, classes.names, strict=True))
        ]
        if self.thresholds is not None:
            for row, threshold in zip(rows, self.thresholds, strict=True):
                # Infinity, of a class that was never seen, is a number that not all readers of JSON take.
                row["threshold"] = float(threshold) if np.isfinite(threshold) else None
        return rows
