"""Clips from a data source of TensorFlow Datasets, such as `mla_jax.audioset.tfds` builds.

No TensorFlow is needed. An example has the features `video_id`, `start_time_seconds`, `embeddings`
([segments, features]) and `labels` (a sequence of a ClassLabel).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.embedding import AUDIOSET, EMBEDDING_DTYPES, Embedding, Scaling
from mla_jax.data.formats.format import Chunk, Format, ReadOptions, Shape
from mla_jax.data.labels import Labels
from mla_jax.data.stated import Stated
from mla_jax.errors import UserError

_FEATURES = ("video_id", "start_time_seconds", "embeddings", "labels")


class DataSource(Format):
    """Part of a split: of a data source that is open, or of the local folder of a data set.

    A data path does not name a split, so this format is no entry of the table.
    """

    def __init__(self, source: Any, split: str, shard: tuple[int, int]) -> None:
        if isinstance(source, str):
            source = _open_folder(source, split)
        elif split:
            raise UserError(f"split={split!r} goes with a folder; a data source is of one split")
        elif not hasattr(source, "dataset_info"):
            raise UserError(
                f"a {type(source).__name__} is no data source of one split; give tfds.data_source a split"
            )
        self._source = source
        features, classes = _check_features(source)
        self._rows = _rows(len(source), shard)
        self.shape = Shape(len(self._rows), features=features, classes=classes)
        self._embedding = _embedding(source.dataset_info, features)

    @staticmethod
    def recognizes(path: Path) -> bool:
        """The folder of a data set."""
        return (path / "dataset_info.json").is_file()

    def chunks(self, options: ReadOptions) -> Iterator[Chunk]:
        """Reads the clips in the order of the data source; long clips are an error."""
        done = 0
        for k in range(0, len(self._rows), options.chunk_size):
            rows = self._rows[k : k + options.chunk_size]
            done += len(rows)
            yield Chunk(self._read(rows, options), skipped=[], cropped=0, done=done)

    def _read(self, rows: range, options: ReadOptions) -> ClipSet:
        info = self._source.dataset_info
        try:
            examples = self._source.__getitems__(list(rows))
        except Exception as error:  # of many kinds, by format: a file is missing or damaged
            raise UserError(
                f"cannot read clips {rows[0]} to {rows[-1]} of {info.data_dir} "
                f"({' '.join(str(error).split())}); build it again"
            ) from error
        segments = [len(example["embeddings"]) for example in examples]
        time = options.max_segments or max(segments)
        if (longest := max(segments)) > time:
            i = segments.index(longest)
            raise UserError(
                f"clip {rows[i]} (video id {_text(examples[i]['video_id'])!r}) has {longest} segments, more "
                f"than max_segments={time}; give a larger one"
            )
        embeddings = np.zeros(
            (len(rows), time, self.shape.features), info.features["embeddings"].np_dtype
        )
        for i, example in enumerate(examples):
            embeddings[i, : segments[i]] = example["embeddings"]
        return ClipSet.from_arrays(
            embeddings,
            Labels.of_lists([example["labels"] for example in examples]),
            num_classes=self.shape.classes,
            num_segments=np.array(segments),
            video_ids=[example["video_id"] for example in examples],
            start_times=np.array([example["start_time_seconds"] for example in examples]),
            embedding=self._embedding,
        )


def data_source_classes(source: Any) -> ClassList | None:
    """The class list that a data source's set was built with, mids and names, or None."""
    try:
        metadata = source.dataset_info.metadata
        mids, names = tuple(metadata["mids"]), tuple(metadata["names"])
    except (TypeError, KeyError):  # another builder's, which keeps none or something else
        return None
    return ClassList(mids=mids, names=names) if names else None


def _embedding(info: Any, features: int) -> Embedding:
    """What the set was built with; what older versions of `mla_jax.audioset.tfds` built is AudioSet's."""
    dtype = np.dtype(info.features["embeddings"].np_dtype).name
    plain = Embedding(dtype, features, Scaling.default(dtype))
    try:
        text = info.metadata["embedding"]
    except (TypeError, KeyError):  # an older or another builder's
        ours = getattr(info, "name", "") == "audioset_embeddings"
        same = (dtype, features) == (AUDIOSET.dtype, AUDIOSET.num_features)
        return AUDIOSET if ours and same else plain
    return Stated.from_text(text, f"{info.full_name}, embedding").on(plain)


def _open_folder(folder: str, split: str) -> Any:
    # Not needed for a data source that is open, nor for anything else that this package does.
    import tensorflow_datasets as tfds

    if not DataSource.recognizes(Path(folder)):
        raise UserError(
            f"{folder} is no data set of TensorFlow Datasets; give the folder that has dataset_info.json, "
            "such as audioset_embeddings/v1/1.0.0"
        )
    try:
        builder = tfds.builder_from_directory(folder)
        if not split:
            raise ValueError(f"no split is given; choose from {', '.join(builder.info.splits)}")
        return builder.as_data_source(split)
    except NotImplementedError as error:
        raise UserError(
            f"{folder} is in the format {builder.info.file_format.value}, which has no random access; build "
            "it again with --file_format=array_record"
        ) from error
    except Exception as error:
        # Of many kinds: there is no such split, a file is damaged, what reads the format is not installed.
        raise UserError(f"cannot open {folder}: {' '.join(str(error).split())}") from error


def _check_features(source: Any) -> tuple[int, int]:
    """M and the number of classes."""
    info = source.dataset_info
    missing = [name for name in _FEATURES if name not in info.features]
    if missing:
        raise UserError(
            f"{info.full_name} has no feature {', '.join(missing)}, only {', '.join(info.features)}; give a "
            "data set such as mla_jax.audioset.tfds builds"
        )
    shape, dtype = info.features["embeddings"].shape, info.features["embeddings"].np_dtype
    if len(shape) != 2 or shape[1] is None or np.dtype(dtype).name not in EMBEDDING_DTYPES:
        raise UserError(
            f"{info.full_name} has embeddings of {shape} {np.dtype(dtype)}; they must be [segments, M] of "
            f"{', '.join(EMBEDDING_DTYPES)}"
        )
    num_classes = getattr(info.features["labels"], "num_classes", None)
    if not num_classes:
        raise UserError(f"{info.full_name} has labels without a number of classes")
    return int(shape[1]), int(num_classes)


def _rows(size: int, shard: tuple[int, int]) -> range:
    """The part `shard` of `size` clips: the first `size % count` parts have one more than the others."""
    index, count = shard
    if not 0 <= index < count:
        raise UserError(f"shard={shard} is not valid: it must be (index, count), index below count")
    each, more = divmod(size, count)
    start = each * index + min(index, more)
    rows = range(start, start + each + (index < more))
    if not rows:
        raise UserError(f"shard={shard} has no clips: there are only {size}; use fewer shards")
    return rows


def _text(video_id: bytes | str) -> str:
    return video_id.decode(errors="replace") if isinstance(video_id, bytes) else video_id
