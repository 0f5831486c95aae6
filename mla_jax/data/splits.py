"""Which clips train and which evaluate: holding out by a hash of the video id, and what is in both."""

import hashlib
import re

import numpy as np

from mla_jax.data.clips import ClipSet
from mla_jax.errors import UserError

_NUMBERED = re.compile(rb"clip\d{7,}")  # what clips without ids are called; equal ones mean nothing


def hash_fractions(video_ids: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each id, [num_clips] float64: the same on every machine and run.

    It depends on the id alone, so a clip stays on its side when clips are added or reordered.
    """
    digests = b"".join(hashlib.blake2b(v, digest_size=8).digest() for v in video_ids.tolist())
    return np.frombuffer(digests, ">u8").astype(np.float64) / 2.0**64


def hold_out(clips: ClipSet, fraction: float) -> tuple[ClipSet, ClipSet | None]:
    """Splits `clips` into training and validation; nothing is held out where `fraction` is 0.

    Raises:
      UserError: `fraction` is so small or so large that one side has no clip.
    """
    if fraction == 0:
        return clips, None
    held = hash_fractions(clips.video_ids) < fraction
    if held.all() or not held.any():
        num_ids = len(np.unique(clips.video_ids))
        if num_ids == 1 < len(clips):
            raise UserError(
                f"all {len(clips)} clips have the video id {clips.video_ids[0].decode(errors='replace')!r}, "
                "and clips of one video stay together, so none can be held out; give clips of other videos "
                "other ids, or data.validation_fraction=0"
            )
        raise UserError(
            f"data.validation_fraction={fraction} holds out {held.sum()} of {len(clips)} clips, of {num_ids} "
            "video ids; choose one that leaves clips on both sides"
        )
    return clips[~held], clips[held]


def take_share(clips: ClipSet, fraction: float, held_out: float) -> ClipSet:
    """A share of the training clips that `hold_out` left, by their hashes from its edge on.

    The clips of a smaller share are among those of a larger, and none is ever a validation clip.

    Args:
      clips: the training clips.
      fraction: the share, in (0, 1]; of 1 all are taken.
      held_out: the fraction that was held out.

    Raises:
      UserError: no clip is left.
    """
    if fraction == 1:
        return clips
    kept = are_trained_on(clips.video_ids, fraction, held_out)
    if not kept.any():
        raise UserError(
            f"data.train_fraction={fraction} leaves none of {len(clips)} clips; choose a larger one"
        )
    return clips[kept]


def are_trained_on(video_ids: np.ndarray, fraction: float, held_out: float) -> np.ndarray:
    """Whether clips of these ids are among those that `hold_out` and `take_share` leave, [num_clips] bool."""
    hashes = hash_fractions(video_ids)
    return (hashes >= held_out) & (hashes < held_out + fraction * (1 - held_out))


def shared_ids(first: ClipSet, other: ClipSet) -> list[bytes]:
    """The video ids that are in both, sorted; ids that only number clips without one do not count."""
    # A set of the fewer ids: 0.1 s for 20 thousand against 2 million, where sorting both takes 2 s.
    few, many = sorted((first, other), key=len)
    shared = set(few.video_ids.tolist()).intersection(many.video_ids.tolist())
    return sorted(video_id for video_id in shared if not _NUMBERED.fullmatch(video_id))


def copies(clips: ClipSet, of: ClipSet, among: np.ndarray | None = None) -> list[tuple[int, int]]:
    """Which clips hold, to the bit, what a clip of another set holds, whatever they are called.

    Args:
      clips, of: two sets.
      among: [num_clips of `of`] bool, which of its clips count; None: all.

    Returns:
      For each such clip its row, ascending, and the row of one that it is a copy of.
    """
    # A key of the first segment leaves few to compare: a second for 20 thousand clips against 2 million.
    keys = _first_segments(clips), _first_segments(of)
    others = np.isin(keys[1], keys[0]) & (True if among is None else among)
    maybe = np.flatnonzero(np.isin(keys[0], keys[1])), np.flatnonzero(others)
    rows = {_content(of, row): row for row in maybe[1].tolist()}
    found = ((row, rows.get(_content(clips, row))) for row in maybe[0].tolist())
    return [(row, other) for row, other in found if other is not None]


def _first_segments(clips: ClipSet, at_once: int = 65_536) -> np.ndarray:
    """A key of each clip's first segment, [num_clips] uint64: equal ones have the same."""
    first = clips.embeddings[:, 0]
    weights = np.random.default_rng(0).integers(
        2**64, size=first.shape[1] * first.itemsize, dtype=np.uint64
    )
    parts = (np.ascontiguousarray(first[i : i + at_once]) for i in range(0, len(first), at_once))
    return np.concatenate([part.view(np.uint8).astype(np.uint64) @ weights for part in parts])


def _content(clips: ClipSet, row: int) -> bytes:
    return clips.embeddings[row, : clips.num_segments[row]].tobytes()
