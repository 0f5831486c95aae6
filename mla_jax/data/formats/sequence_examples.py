"""Records as AudioSet released them, `tf.train.SequenceExample` messages: thousands parsed in one call.

A record holds context `video_id` (bytes), `start_time_seconds` (float), `labels` (int64 list); feature list
`audio_embedding`, for every segment one string of M bytes (uint8) or, from a user's own encoder, one list
of M floats (float32). Other features are ignored.

Importing this module imports TensorFlow and hides accelerators from it; no other module of the library
imports TensorFlow.
"""

import contextlib
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.data.formats.rules import EMBEDDING, Columns

# Before the import: no start-up chatter (of which the note on oneDNN ignores the log level), and no lines
# about records that cannot be parsed, which get a line of ours. JAX, if there first, has set it to 1.
if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow as tf

for _kind in ("GPU", "TPU"):
    # Else TensorFlow takes the memory that JAX needs. Fails only where TensorFlow already runs.
    with contextlib.suppress(RuntimeError, ValueError):
        tf.config.set_visible_devices([], _kind)

_CONTEXT = {
    "video_id": ("bytes_list", tf.string),
    "start_time_seconds": ("float_list", tf.float32),
    "labels": ("int64_list", tf.int64),
}
"""The context features that are read: which field of tf.train.Feature holds their values, and its dtype."""


class Layout(NamedTuple):
    """How segments are stored: `kind` is the field of tf.train.Feature, `features` is M."""

    kind: str
    features: int

    @property
    def dtype(self) -> tf.DType:
        """That of the vectors."""
        return tf.uint8 if self.kind == "bytes_list" else tf.float32


AUDIOSET = Layout("bytes_list", 128)


def read_message(payload: bytes) -> Any:
    """The SequenceExample, or None if the payload is not one."""
    try:
        return tf.train.SequenceExample.FromString(payload)
    except Exception:  # of several kinds by implementation, and of a payload that may be damaged
        return None


def layout_of(example: Any) -> Layout | None:
    """How a record stores its segments, or None if it has none."""
    for feature in example.feature_lists.feature_list[EMBEDDING].feature[:1]:
        if floats := feature.float_list.value:
            return Layout("float_list", len(floats))
        if (strings := feature.bytes_list.value) and strings[0]:
            return Layout("bytes_list", len(strings[0]))
    return None


def video_id_alone(example: Any) -> bytes:
    """A record with the video id of `example`, if it has one, and nothing else."""
    kept = tf.train.SequenceExample()
    ids = example.context.feature["video_id"].bytes_list.value if example is not None else []
    kept.context.feature["video_id"].bytes_list.value.extend(ids[:1])
    return kept.SerializeToString()


def parse(payloads: Any, layout: Layout) -> tuple[Any, ...]:
    """Parses records in one call, in eager mode or in a graph.

    Args:
      payloads: [n] strings, each a protocol message: what is none may crash TensorFlow.
      layout: how the records store their segments.

    Returns:
      Tensors, for `to_columns`.

    Raises:
      tf.errors.OpError: some payload is no SequenceExample or has values of another kind.
    """
    kind = tf.string if layout.kind == "bytes_list" else tf.float32
    context, lists, _ = tf.io.parse_sequence_example(
        payloads,
        context_features={
            name: tf.io.RaggedFeature(dtype) for name, (_, dtype) in _CONTEXT.items()
        },
        # Ragged, not padded: one absurdly long record must not multiply the memory of all others.
        sequence_features={EMBEDDING: tf.io.RaggedFeature(kind)},
    )
    items = lists[EMBEDDING]  # [records, (segments), (strings or floats)]
    values, lengths = items.flat_values, tf.zeros([0], tf.int32)
    if kind == tf.string:
        lengths = tf.strings.length(values)
        values = tf.io.decode_raw(values, tf.uint8, fixed_length=layout.features)
    named = [
        part for name in _CONTEXT for part in (context[name].values, context[name].row_lengths())
    ]
    return (*named, items.row_lengths(), items.values.row_lengths(), lengths, values)


def to_columns(parsed: Sequence[np.ndarray], layout: Layout) -> Columns:
    """What `parse` returned, as NumPy arrays, without the segments that are of another size than M."""
    *named, segments, sizes, lengths, values = parsed
    ids, starts, labels = zip(named[::2], named[1::2], strict=True)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    if layout.kind == "bytes_list":
        single = sizes == 1
        sizes = np.zeros_like(sizes)
        sizes[single] = lengths[single[owner]]
    whole = sizes == layout.features
    if whole.all():
        vectors = values.reshape(-1, layout.features)
    else:
        vectors = np.zeros((len(sizes), layout.features), values.dtype)
        vectors[whole] = values[whole[owner]].reshape(-1, layout.features)
    return Columns(ids, starts, labels, segments, sizes, vectors)


def find_unparsable(payloads: Sequence[bytes], layout: Layout) -> dict[int, str]:
    """Which of the payloads cannot be parsed, found by halving, and why."""
    try:
        parse(tf.constant(payloads, tf.string, [len(payloads)]), layout)
        return {}
    except tf.errors.OpError:
        if len(payloads) == 1:
            return {0: _describe_unparsable(read_message(payloads[0]), layout)}
    half = len(payloads) // 2
    later = find_unparsable(payloads[half:], layout)
    return find_unparsable(payloads[:half], layout) | {half + i: why for i, why in later.items()}


def _describe_unparsable(example: Any, layout: Layout) -> str:
    for name, (kind, _) in _CONTEXT.items():
        found = example.context.feature[name].WhichOneof("kind")
        if found not in (None, kind):
            return f"its {name} is a {found}; it must be a {kind}"
    for feature in example.feature_lists.feature_list[EMBEDDING].feature:
        found = feature.WhichOneof("kind")
        if found not in (None, layout.kind):
            return f"its {EMBEDDING} is a {found}; that of the first record is a {layout.kind}"
    return "TensorFlow cannot parse it"


def to_record(clips: ClipSet, i: int) -> bytes:
    """Clip `i` as a serialized SequenceExample."""
    example = tf.train.SequenceExample()
    context = example.context.feature
    start, segments = float(clips.start_times[i]), int(clips.num_segments[i])
    context["video_id"].bytes_list.value.append(bytes(clips.video_ids[i]))
    context["start_time_seconds"].float_list.value.append(start)
    context["end_time_seconds"].float_list.value.append(start + segments)
    context["labels"].int64_list.value.extend(clips.labels_of(i))
    embedding = example.feature_lists.feature_list[EMBEDDING].feature
    for vector in clips.embeddings[i, :segments]:
        if vector.dtype == np.uint8:
            embedding.add().bytes_list.value.append(vector.tobytes())
        else:
            embedding.add().float_list.value.extend(vector.tolist())
    return example.SerializeToString()
