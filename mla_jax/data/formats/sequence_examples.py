"""Records as AudioSet released them, `tf.train.SequenceExample` messages: thousands parsed in one call.

A record holds context `video_id` (bytes), `start_time_seconds` (float), `labels` (int64 list); feature list
`audio_embedding`, for every segment one string of M bytes (uint8) or, from a user's own encoder, one list
of M floats (float32). Two more features of the context are written, and read, where
these cannot say it: `embedding`, what the embeddings mean, as JSON; and `start_time_float64`, 8 bytes.
Without the first, 128 bytes a segment are taken for AudioSet's release. Other features are ignored.

Importing this module imports TensorFlow and hides accelerators from it; no other module of the library
imports TensorFlow.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.data.embedding import AUDIOSET, Embedding, Scaling
from mla_jax.data.formats.rules import EMBEDDING, Columns
from mla_jax.data.stated import Stated

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

_STATED = "embedding"
_CONTEXT = {
    "video_id": ("bytes_list", tf.string),
    "start_time_seconds": ("float_list", tf.float32),
    "labels": ("int64_list", tf.int64),
    "start_time_float64": ("bytes_list", tf.string),
}
"""The context features that are read: which field of tf.train.Feature holds their values, and its dtype."""


class Layout(NamedTuple):
    """How segments are stored: `kind` is the field of tf.train.Feature, `features` is M.

    `stated` is what a record says of its embeddings, empty if nothing.
    """

    kind: str
    features: int
    stated: str = ""

    @property
    def dtype(self) -> tf.DType:
        """That of the vectors."""
        return tf.uint8 if self.kind == "bytes_list" else tf.float32

    @property
    def embedding(self) -> Embedding:
        """What the record says of its embeddings; where it says nothing, what its form says."""
        dtype = self.dtype.name
        plain = Embedding(dtype, self.features, Scaling.default(dtype))
        if self.stated:
            return Stated.from_text(self.stated, f"a record's {_STATED}").on(plain)
        assumed = (plain.dtype, plain.num_features) == (AUDIOSET.dtype, AUDIOSET.num_features)
        return AUDIOSET if assumed else plain


RELEASED = Layout("bytes_list", 128)


def read_message(payload: bytes) -> Any:
    """The SequenceExample, or None if the payload is not one."""
    try:
        return tf.train.SequenceExample.FromString(payload)
    except Exception:  # of several kinds by implementation, and of a payload that may be damaged
        return None


def layout_of(example: Any) -> Layout | None:
    """How a record stores its segments, or None if it has none."""
    texts = example.context.feature[_STATED].bytes_list.value
    stated = texts[0].decode(errors="replace") if texts else ""
    for feature in example.feature_lists.feature_list[EMBEDDING].feature[:1]:
        if floats := feature.float_list.value:
            return Layout("float_list", len(floats), stated)
        if (strings := feature.bytes_list.value) and strings[0]:
            return Layout("bytes_list", len(strings[0]), stated)
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
    ids, starts, labels, exact = zip(named[::2], named[1::2], strict=True)
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
    starts = (_exact(*starts, *exact), starts[1])
    return Columns(ids, starts, labels, segments, sizes, vectors, layout.embedding)


def _exact(
    starts: np.ndarray, counts: np.ndarray, exact: np.ndarray, exact_counts: np.ndarray
) -> np.ndarray:
    """The start times as float64, those that records have in full in full."""
    starts = starts.astype(np.float64)
    replaced = (counts == 1) & (exact_counts == 1)
    owner = np.repeat(np.arange(len(counts)), counts)
    chosen = exact[np.repeat(replaced, exact_counts)]
    starts[replaced[owner]] = [
        np.frombuffer(value, "<f8")[0] if len(value) == 8 else np.nan for value in chosen
    ]
    return starts


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
    if context["start_time_seconds"].float_list.value[0] != start:
        exact = np.array(start, "<f8").tobytes()
        context["start_time_float64"].bytes_list.value.append(exact)
    if hop := clips.embedding.hop_seconds:
        context["end_time_seconds"].float_list.value.append(start + segments * hop)
    context["labels"].int64_list.value.extend(clips.labels_of(i))
    embedding = example.feature_lists.feature_list[EMBEDDING].feature
    for vector in clips.embeddings[i, :segments]:
        if vector.dtype == np.uint8:
            embedding.add().bytes_list.value.append(vector.tobytes())
        else:
            embedding.add().float_list.value.extend(vector.tolist())
    kind = "bytes_list" if clips.embeddings.dtype == np.uint8 else "float_list"
    if clips.embedding != Layout(kind, clips.num_features).embedding:
        text = json.dumps(clips.embedding.to_json(), sort_keys=True).encode()
        context[_STATED].bytes_list.value.append(text)
    return example.SerializeToString()
