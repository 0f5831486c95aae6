"""AudioSet's released features as a data set of TensorFlow Datasets.

tfds build audioset_embeddings --imports=mla_jax.audioset.tfds --file_format=array_record \
        --manual_dir=<folder>

The folder holds `audioset_v1_embeddings/{bal_train,unbal_train,eval}/*.tfrecord` as the release's archive
unpacks, or is that folder, as `mla-download-audioset` fills it. `class_labels_indices.csv` in it, in
its `csv/`, or beside it gives the classes their names.

A builder's module is loaded by name or by path, so it imports nothing of its own package, and TensorFlow
only to build: a data set in the ArrayRecord format is read without it (`mla_jax.data.formats.tfds`).
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from mla_jax.data import class_list
from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.formats.format import ReadOptions
from mla_jax.data.known_lists import require_audiosets_order
from mla_jax.data.skipped import SKIPPED_FILE, Skipped, to_jsonl
from mla_jax.data.sources import stream_clips
from mla_jax.errors import UserError

SPLITS = ("bal_train", "unbal_train", "eval")
_FOLDER = "audioset_v1_embeddings"  # as the release calls it

# The order of keys is the order on disk. They are spread over the 128 bits that keys have, so that what TFDS
# sorts on disk, for more than 1 GB, goes to many small files and not to one that it would hold in memory.
KEY_SHIFT = 104


@dataclasses.dataclass(eq=False)
class Config(tfds.core.BuilderConfig):
    """How the records are read; the defaults are the release's.

    Attributes:
      num_classes, max_segments, num_features: K, T, M.
      splits: the splits to build, each of which must be there; empty: those that are there.
      long_clips: what to do with clips of more segments: error or crop (keep the first T).
      bad_records: what to do with records that cannot be used: error, or skip (they are listed in
        `skipped_records.jsonl` beside the data).
      class_list: path of a class_labels_indices.csv; empty: the one found beside the records, if any.
    """

    num_classes: int = 527
    max_segments: int = 10
    num_features: int = 128
    splits: Sequence[str] = ()
    long_clips: str = "error"
    bad_records: str = "error"
    class_list: str = ""

    def __post_init__(self) -> None:
        """Checks the names of splits; the other fields are checked where they are used."""
        for split in self.splits:
            if split not in SPLITS:
                raise UserError(f"no split is called {split!r}; choose from {', '.join(SPLITS)}")


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds `audioset_embeddings`; clips stay in the order of the records."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "The features of 2017."}
    BUILDER_CONFIGS: ClassVar[list[Config]] = [
        Config(name="v1", description="The release: 128 features of a second, as bytes.")
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"mla-download-audioset --output=<manual_dir>/{_FOLDER} downloads the release"
    )

    def _info(self) -> Any:
        config, f = self.builder_config, tfds.features
        return tfds.core.DatasetInfo(
            builder=self,
            description="AudioSet: clips of ten seconds, an embedding of 128 bytes for each second, and the "
            "classes that sound in the clip, without their times.",
            homepage="https://research.google.com/audioset/",
            license="CC BY 4.0",
            citation="@inproceedings{gemmeke2017audioset, author={Gemmeke, Jort F. and others}, "
            "title={Audio Set: An ontology and human-labeled dataset for audio events}, "
            "booktitle={ICASSP}, year={2017}}",
            features=f.FeaturesDict(
                {
                    "video_id": f.Text(),
                    "start_time_seconds": np.float32,
                    # [segments, features]; as bytes, or each byte would be stored as an int64.
                    "embeddings": f.Tensor(
                        shape=(None, config.num_features), dtype=np.uint8, encoding="bytes"
                    ),
                    "num_segments": np.int32,
                    "labels": f.Sequence(f.ClassLabel(num_classes=config.num_classes)),
                }
            ),
            supervised_keys=("embeddings", "labels"),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(mids=[], names=[]),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        folder = self._find_release(dl_manager)
        asked = self.builder_config.splits
        found = [split for split in asked or SPLITS if _has_records(folder / split)]
        missing = [split for split in asked or SPLITS if split not in found]
        if missing and asked:
            raise UserError(
                f"{folder} has no records of {', '.join(missing)}; put {missing[0]}/*.tfrecord there, or "
                "leave it out of the config's splits"
            )
        for split in missing:
            logging.warning("%s has no records of %s: this split is left out", folder, split)
        classes = class_list.resolve(self.builder_config.class_list, [folder])
        if classes is None:
            logging.warning("no class list beside %s: classes are named by their index", folder)
        else:
            self._name_classes(classes)
        self._skipped: list[Skipped] = []
        return {split: self._generate_examples(folder / split) for split in found}

    def _find_release(self, dl_manager: Any) -> Path:
        """The folder of the splits, in what `--manual_dir` names."""
        try:
            placed = Path(os.fspath(dl_manager.manual_dir))
        except AssertionError as error:  # that it does not exist or is empty, and the instructions
            raise UserError(" ".join(str(error).split())) from error
        for folder in (placed / _FOLDER, placed):
            if any(_has_records(folder / split) for split in SPLITS):
                return folder
        raise UserError(
            f"{placed} has no records in {', '.join(SPLITS)}, nor in these folders of {_FOLDER}; "
            f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
        )

    def _name_classes(self, classes: ClassList) -> None:
        if len(classes) != self.builder_config.num_classes:
            raise UserError(
                f"the class list has {len(classes)} classes, the config {self.builder_config.num_classes}; "
                "give the list that belongs to the data (class_list), or a config of its num_classes"
            )
        require_audiosets_order(classes, self.builder_config.name)
        self.info.features["labels"].feature.names = distinct_names(classes)
        self.info.metadata.update(mids=list(classes.mids), names=list(classes.names))

    def _generate_examples(self, folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        config, count = self.builder_config, 0
        options = ReadOptions(
            config.num_classes,
            max_segments=config.max_segments,
            long_clips=config.long_clips,
            bad_records=config.bad_records,
        )
        stream = stream_clips(str(folder), options)
        for clips in stream.chunks:
            self._check_kind(folder, clips)
            for i in range(len(clips)):
                yield count << KEY_SHIFT, _to_example(clips, i)
                count += 1
        if stream.skipped:
            logging.warning(
                "%s: %d bad records left out, see %s", folder, len(stream.skipped), SKIPPED_FILE
            )
            self._skipped += stream.skipped
            (self.data_path / SKIPPED_FILE).write_text(to_jsonl(self._skipped))

    def _check_kind(self, folder: Path, clips: ClipSet) -> None:
        features = self.builder_config.num_features
        if clips.embeddings.dtype != np.uint8 or clips.num_features != features:
            raise UserError(
                f"{folder} has embeddings of {clips.num_features} {clips.embeddings.dtype}, not of "
                f"{features} uint8; give a config of its num_features, or pack it (mla-prepare-data)"
            )
        if (clips.start_times != clips.start_times.astype(np.float32)).any():
            raise UserError(
                f"{folder} has start times that no float32 holds, as the data set has them; pack it "
                "(mla-prepare-data)"
            )
        self.info.metadata["embedding"] = json.dumps(clips.embedding.to_json())

    def as_dataset(self, split: Any = None, **options: Any) -> Any:
        """As `tfds.core.DatasetBuilder.as_dataset`, which `tfds.load` calls."""
        from mla_jax.data.formats import tfrecords  # noqa: F401 (hides accelerators from TensorFlow)

        self._require(split)
        return super().as_dataset(split, **options)

    def as_data_source(self, split: Any = None, **options: Any) -> Any:
        """As `tfds.core.DatasetBuilder.as_data_source`, which `tfds.data_source` calls."""
        self._require(split)
        return super().as_data_source(split, **options)

    def _require(self, split: Any) -> None:
        # A name, a slice of one, an instruction that TFDS made of it, or any structure of these.
        asked = re.findall(r"\w+", str(split))
        missing = [name for name in SPLITS if name in asked and name not in self.info.splits]
        if missing and self.info.splits:
            raise UserError(
                f"{self.data_dir} has no split {missing[0]}, only {', '.join(self.info.splits)}: its records "
                "were not there; put them beside the others, and build again (tfds build --overwrite)"
            )


def distinct_names(classes: ClassList) -> list[str]:
    """Names as `ClassLabel` wants them, one line each and no two alike.

    Display names if they are, else mids, else indices.
    """
    for names in (classes.names, classes.mids):
        lines = [" ".join(name.split()) for name in names]
        if all(lines) and len(set(lines)) == len(lines):
            return lines
    return [str(k) for k in range(len(classes))]


def _has_records(folder: Path) -> bool:
    return next(folder.glob("*.tfrecord"), None) is not None


def _to_example(clips: ClipSet, i: int) -> dict[str, Any]:
    segments = int(clips.num_segments[i])
    return {
        "video_id": bytes(clips.video_ids[i]),
        "start_time_seconds": clips.start_times[i],
        "embeddings": clips.embeddings[i, :segments],
        "num_segments": segments,
        "labels": clips.labels_of(i),
    }
