"""What a run remembers of its data: a short fingerprint of each set of clips, which tells others apart.

It is kept beside every checkpoint and in results.json; runs of older versions have none, and are not checked.
"""

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.errors import UserError

# Embeddings of more bytes are not read as a whole, but so many clips of them, evenly spread.
_WHOLE_BYTES, _SAMPLE = 64 * 1024 * 1024, 4096


def fingerprint(clips: ClipSet) -> str:
    """A text of the clips' shapes, lengths, labels, ids and embeddings (of large sets, a sample of these).

    Clips that are equal have the same, in whichever format they are stored.
    """
    embeddings = clips.embeddings
    step = 1 if embeddings.nbytes <= _WHOLE_BYTES else max(1, len(clips) // _SAMPLE)
    ids = np.frombuffer(b"\n".join(clips.video_ids.tolist()), np.uint8)
    arrays = [clips.num_segments, clips.label_offsets, clips.label_ids, ids, embeddings[::step]]
    if clips.label_mask is not None:
        arrays.append(clips.label_mask)
    sums = [zlib.crc32(np.ascontiguousarray(a).view(np.uint8).data) for a in arrays]
    told = f"{embeddings.shape} {embeddings.dtype} {clips.num_classes} {sums}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def of_weights(variables: Any) -> str:
    """A text of a model's variables, arrays in a tree: other weights have another."""
    told = [
        f"{place} {zlib.crc32(np.ascontiguousarray(leaf).tobytes())}"
        for place, leaf in jax.tree_util.tree_leaves_with_path(variables)
    ]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def describe(sets: Mapping[str, ClipSet]) -> dict[str, Any]:
    """What is kept of sets of clips, by name: `require_same` takes it."""
    return {
        "clips": {name: len(clips) for name, clips in sets.items()},
        "fingerprints": {name: fingerprint(clips) for name, clips in sets.items()},
    }


def may_be_same_eval(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether results are of the same eval clips, as far as they say; older runs have no fingerprints."""
    said = [(r.get("fingerprints", {}).get("eval"), r.get("num_clips")) for r in (one, other)]
    return all(a is None or b is None or a == b for a, b in zip(*said, strict=True))


def require_same(
    kept: Mapping[str, Any], sets: Mapping[str, ClipSet], where: object, names: Iterable[str]
) -> None:
    """Checks that sets of clips are those that a run was made with.

    Args:
      kept: something with what `describe` gave, or of an older version without.
      sets: the clips as they are now, by name.
      where: the run, for the message.
      names: the sets that have to be the same; those that are not on both sides are passed over.

    Raises:
      UserError: one is another.
    """
    then = kept.get("fingerprints", {})
    for name in names:
        if name not in then or name not in sets or then[name] == fingerprint(sets[name]):
            continue
        before, now = kept["clips"][name], len(sets[name])
        what = (
            f"{before:,} clips then, {now:,} now"
            if before != now
            else f"{now:,} clips then and now"
        )
        raise UserError(
            f"{where}: the {name} clips have changed since it was made ({what}); give the data as they were, "
            "or another --workdir to begin anew"
        )
