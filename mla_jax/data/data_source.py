"""Clips from a data source of TensorFlow Datasets, such as `mla_jax.tfds` builds; no TensorFlow is needed.

source = tfds.data_source("audioset_embeddings", split="bal_train")
clips = open_data_source(source, shard=(jax.process_index(), jax.process_count()))

An example has the features `video_id`, `start_time_seconds`, `embeddings` ([segments, features]) and
`labels` (a sequence of a ClassLabel).
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from mla_jax.cache import local_copy
from mla_jax.data.clips import EMBEDDING_DTYPES, ClipSet, concatenate
from mla_jax.data.labels import ClassList
from mla_jax.errors import UserError

_FEATURES = ("video_id", "start_time_seconds", "embeddings", "labels")


def open_data_source(
    source: Any, split: str = "", *, max_segments: int = 10, shard: tuple[int, int] = (0, 1)
) -> ClipSet:
    """Reads a data source into memory; as `read_data_source`, which says more."""
    return concatenate(
        list(read_data_source(source, split, max_segments=max_segments, shard=shard))
    )


def read_data_source(
    source: Any,
    split: str = "",
    *,
    max_segments: int = 10,
    shard: tuple[int, int] = (0, 1),
    chunk_size: int = 4096,
) -> Iterator[ClipSet]:
    """Reads clips in the order of the data source, for `pack` or for whoever wants them by and by.

    Args:
      source: what `tfds.data_source` or a builder's `as_data_source` gives; or the folder of a data set
        that was built in a format of random access, `.../audioset_embeddings/v1/1.0.0`.
      split: with a folder, what to read of it: `eval`, `bal_train[:10%]`.
      max_segments: the size of the time axis; shorter clips are padded with zero.
      shard: (index, count): which of `count` parts to read. The parts are those of
        `tfds.even_splits(split, count)`: consecutive, disjoint, together everything.
      chunk_size: the most clips of one chunk.

    Yields:
      ClipSets of 1 to `chunk_size` clips: embeddings [clips, max_segments, M] of the data source's dtype,
      labels ascending.

    Raises:
      UserError: there is no such data set or split, it has other features or no random access, the
        shard has no clips, or a clip cannot be read or has more than `max_segments` segments.
    """
    if max_segments < 1 or chunk_size < 1:
        raise UserError(
            f"max_segments={max_segments} and chunk_size={chunk_size} must both be 1 or more"
        )
    if isinstance(source, str | os.PathLike):
        source = _open_folder(os.fspath(source), split)
    elif split:
        raise UserError(f"split={split!r} goes with a folder; a data source is of one split")
    elif not hasattr(source, "dataset_info"):
        raise UserError(
            f"a {type(source).__name__} is no data source of one split; give tfds.data_source a split"
        )
    num_classes = _check_features(source)
    return _chunks(source, num_classes, max_segments, _rows(len(source), shard), chunk_size)


def data_source_classes(source: Any) -> ClassList | None:
    """The class list that a data source's set was built with, mids and names, or None."""
    try:
        metadata = source.dataset_info.metadata
        mids, names = tuple(metadata["mids"]), tuple(metadata["names"])
    except (TypeError, KeyError):  # another builder's, which keeps none or something else
        return None
    return ClassList(mids=mids, names=names) if names else None


def _open_folder(folder: str, split: str) -> Any:
    copy = local_copy(folder)
    with copy.naming():
        return _open_local(copy.path, split)


def _open_local(folder: str, split: str) -> Any:
    # Not needed for a data source that is open, nor for anything else that this package does.
    import tensorflow_datasets as tfds

    if not (tfds.core.Path(folder) / "dataset_info.json").is_file():
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


def _check_features(source: Any) -> int:
    """The number of classes."""
    info = source.dataset_info
    missing = [name for name in _FEATURES if name not in info.features]
    if missing:
        raise UserError(
            f"{info.full_name} has no feature {', '.join(missing)}, only {', '.join(info.features)}; give a "
            "data set such as mla_jax.tfds builds"
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
    return int(num_classes)


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


def _chunks(
    source: Any, num_classes: int, max_segments: int, rows: range, chunk_size: int
) -> Iterator[ClipSet]:
    features = source.dataset_info.features["embeddings"]
    for k in range(0, len(rows), chunk_size):
        chunk = rows[k : k + chunk_size]
        try:
            examples = source.__getitems__(list(chunk))
        except Exception as error:  # of many kinds, by format: a file is missing or damaged
            raise UserError(
                f"cannot read clips {chunk[0]} to {chunk[-1]} of {source.dataset_info.data_dir} "
                f"({' '.join(str(error).split())}); build it again"
            ) from error
        embeddings = np.zeros((len(examples), max_segments, features.shape[1]), features.np_dtype)
        segments = [len(example["embeddings"]) for example in examples]
        for i, (example, count) in enumerate(zip(examples, segments, strict=True)):
            if count > max_segments:
                raise UserError(
                    f"clip {chunk[i]} (video id {_text(example['video_id'])!r}) has {count} segments, more "
                    f"than max_segments={max_segments}; give a larger one"
                )
            embeddings[i, :count] = example["embeddings"]
        yield ClipSet.from_arrays(
            embeddings,
            [example["labels"] for example in examples],
            num_classes=num_classes,
            num_segments=np.array(segments),
            video_ids=[example["video_id"] for example in examples],
            start_times=np.array([example["start_time_seconds"] for example in examples]),
        )


def _text(video_id: bytes | str) -> str:
    return video_id.decode(errors="replace") if isinstance(video_id, bytes) else video_id
