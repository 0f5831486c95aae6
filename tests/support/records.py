"""Records as a user's own program may write them: 7 classes, 4 features, as in `random_clips`."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mla_jax.data.tensorflow import tf  # hidden from accelerators by then

BYTES = (b"abcd", b"efgh")
FLOATS = ([0.5, -1.0, 2.0, 0.0],)


def message(
    video_id: bytes | None = b"the_video",
    start: float | None = 30.0,
    label_ids: Sequence[int] = (4, 1),
    segments: Sequence[bytes | Sequence[float]] = BYTES,
    name: str = "audio_embedding",
) -> Any:
    """A SequenceExample; a segment is a bytes string, a list of floats, or nothing ([])."""
    example = tf.train.SequenceExample()
    context = example.context.feature
    if video_id is not None:
        context["video_id"].bytes_list.value.append(video_id)
    if start is not None:
        context["start_time_seconds"].float_list.value.append(start)
    context["labels"].int64_list.value.extend(label_ids)
    for segment in segments:
        feature = example.feature_lists.feature_list[name].feature.add()
        if isinstance(segment, bytes):
            feature.bytes_list.value.append(segment)
        elif segment:
            feature.float_list.value.extend(segment)
    return example


def payload(video_id: bytes | None = b"the_video", **fields: Any) -> bytes:
    """The bytes of a `message`."""
    serialized: bytes = message(video_id, **fields).SerializeToString()
    return serialized


def write_file(path: Path, payloads: Iterable[bytes]) -> Path:
    """A record file, written by TensorFlow."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in payloads:
            writer.write(one)
    return path
