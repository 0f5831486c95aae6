"""Records as AudioSet released them, `tf.train.SequenceExample` messages: thousands parsed in one call.

A record holds context `video_id` (bytes), `start_time_seconds` (float), `labels` (int64 list); feature list
`audio_embedding`, for every segment one string of M bytes (uint8) or, from a user's own encoder, one list
of M floats (float32). Two more features of the context are written, and read, where
these cannot say it: `embedding`, what the embeddings mean, as JSON; and `start_time_float64`, 8 bytes.
Without the first, 128 bytes a segment are taken for AudioSet's release. YouTube-8M's records have `id`
instead of `video_id`, no start time, and feature lists of other names, of which one is chosen. Other features
are ignored.

To import this module imports TensorFlow.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.data.embedding import AUDIOSET, Embedding, Scaling
from mla_jax.data.formats.rules import Columns
from mla_jax.data.stated import Stated
from mla_jax.data.tensorflow import tf

_RELEASED = "audio_embedding"
_STATED = "embedding"


class Layout(NamedTuple):
    """How records are stored.

    Attributes:
      kind: the field of tf.train.Feature that holds a segment.
      features: M.
      feature: the feature list of the segments.
      id_name: the context feature of the id; that of YouTube-8M is `id`.
      stated: what a record says of its embeddings, empty if nothing.
    """

    kind: str
    features: int
    feature: str
    id_name: str = "video_id"
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
        form = (self.feature, plain.dtype, plain.num_features)
        assumed = form == (_RELEASED, AUDIOSET.dtype, AUDIOSET.num_features)
        return AUDIOSET if assumed else plain

    @property
    def context(self) -> dict[str, tuple[str, tf.DType]]:
        """The context features: which field of tf.train.Feature holds their values, and its dtype."""
        return {
            self.id_name: ("bytes_list", tf.string),
            "start_time_seconds": ("float_list", tf.float32),
            "labels": ("int64_list", tf.int64),
            "start_time_float64": ("bytes_list", tf.string),
        }


def read_message(payload: bytes) -> Any:
    """The SequenceExample, or None if the payload is not one."""
    try:
        return tf.train.SequenceExample.FromString(payload)
    except Exception:  # of several kinds by implementation, and of a payload that may be damaged
        return None


def layout_of(example: Any, feature: str) -> Layout | None:
    """How a record stores its segments in a feature list, or None if it has none."""
    lists, context = example.feature_lists.feature_list, example.context.feature
    id_name = "id" if "id" in context and "video_id" not in context else "video_id"
    texts = context[_STATED].bytes_list.value if _STATED in context else ()
    stated = texts[0].decode(errors="replace") if texts else ""
    for first in lists[feature].feature[:1] if feature in lists else ():
        if floats := first.float_list.value:
            return Layout("float_list", len(floats), feature, id_name, stated)
        if (strings := first.bytes_list.value) and strings[0]:
            return Layout("bytes_list", len(strings[0]), feature, id_name, stated)
    return None


def describe_features(example: Any) -> str:
    """The feature lists that a record has, or else what it has of the whole clip, in words; or nothing."""
    if lists := sorted(example.feature_lists.feature_list):
        return f"the feature lists {', '.join(lists)}"
    usual = {"video_id", "id", "start_time_seconds", "end_time_seconds", "labels"}
    others = ", ".join(sorted(set(example.context.feature) - usual))
    return f"no feature list, only features of the whole clip: {others}" if others else ""


def id_alone(example: Any, id_name: str) -> bytes:
    """A record with the id of `example`, if it has one, and nothing else."""
    kept = tf.train.SequenceExample()
    ids = example.context.feature[id_name].bytes_list.value if example is not None else []
    kept.context.feature[id_name].bytes_list.value.extend(ids[:1])
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
    values_of = layout.context
    context, lists, _ = tf.io.parse_sequence_example(
        payloads,
        context_features={
            name: tf.io.RaggedFeature(dtype) for name, (_, dtype) in values_of.items()
        },
        # Ragged, not padded: one absurdly long record must not multiply the memory of all others.
        sequence_features={layout.feature: tf.io.RaggedFeature(kind)},
    )
    items = lists[layout.feature]  # [records, (segments), (strings or floats)]
    values, lengths = items.flat_values, tf.zeros([0], tf.int32)
    if kind == tf.string:
        lengths = tf.strings.length(values)
        values = tf.io.decode_raw(values, tf.uint8, fixed_length=layout.features)
    named = [
        part for name in values_of for part in (context[name].values, context[name].row_lengths())
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
    for name, (kind, _) in layout.context.items():
        found = example.context.feature[name].WhichOneof("kind")
        if found not in (None, kind):
            return f"its {name} is a {found}; it must be a {kind}"
    for feature in example.feature_lists.feature_list[layout.feature].feature:
        found = feature.WhichOneof("kind")
        if found not in (None, layout.kind):
            return f"its {layout.feature} is a {found}; that of the first record is a {layout.kind}"
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
    embedding = example.feature_lists.feature_list[_RELEASED].feature
    for vector in clips.embeddings[i, :segments]:
        if vector.dtype == np.uint8:
            embedding.add().bytes_list.value.append(vector.tobytes())
        else:
            embedding.add().float_list.value.extend(vector.tolist())
    kind = "bytes_list" if clips.embeddings.dtype == np.uint8 else "float_list"
    if clips.embedding != Layout(kind, clips.num_features, _RELEASED).embedding:
        text = json.dumps(clips.embedding.to_json(), sort_keys=True).encode()
        context[_STATED].bytes_list.value.append(text)
    return example.SerializeToString()
