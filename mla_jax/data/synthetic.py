"""AudioSet-like clips whose event times are known, for the demo and the tests.

The world: every class has a prototype vector in embedding space. A segment is the prototypes of what
sounds in it, each times its loudness, plus the clip's background, plus noise, rounded to bytes. A clip
has one to three events of unequally frequent classes; an event brings its class's partner along now
and then. Two classes of three are short (1 to 2 segments), the others last half of the clip or more.
Faint sounds of any class go on through the whole clip and are never labelled. Some clips are short, some
labels are missing or wrong.

So a faint sound weighs as much in a clip's mean as a short event does: what tells them apart must know
which segment to look at.
"""

import base64
import dataclasses
import hashlib
from typing import NamedTuple

import numpy as np

from mla_jax.data.class_list import ClassList
from mla_jax.data.clips import ClipSet
from mla_jax.data.embedding import Embedding, Scaling
from mla_jax.errors import UserError

_EVENT_CHANCES = (1.0, 0.6, 0.3)  # of a first, a second and a third event in a clip
_FAINTNESS = (0.2, 0.6)  # of a faint sound, relative to the mean loudness of events
_BACKGROUND = 0.5  # relative to the noise
_BYTES_PER_UNIT = 30.0
ENCODER = "synthetic"
"""What embeddings of generated clips name as their encoder."""
_BLOCK = 1000  # clips made at a time, which bounds what floats need


@dataclasses.dataclass(frozen=True)
class SyntheticConfig:
    """The world, and how many clips of it.

    Attributes:
      num_clips, num_classes, max_segments, num_features: N, K, T, M.
      loudness: the mean length of an event's vector; the noise in a segment has a length of sqrt(M).
      faint_sounds: how many a clip has.
      partner_rate: the chance that an event brings its class's partner along.
      short_clip_rate: the share of clips with fewer than T segments.
      missing_label_rate: the chance of a label to be left out; a clip that would lose all keeps them.
      wrong_label_rate: the chance of a clip to get a label drawn at random.
      seed: of the world, and of the clips.
    """

    num_clips: int = 6000
    num_classes: int = 40
    max_segments: int = 10
    num_features: int = 128
    loudness: float = 8.0
    faint_sounds: int = 2
    partner_rate: float = 0.3
    short_clip_rate: float = 0.05
    missing_label_rate: float = 0.05
    wrong_label_rate: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks every value."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 1 if field.name.startswith(("num_", "max_")) else 0
            if value < least or (field.name.endswith("_rate") and value > 1):
                most = " to 1" if field.name.endswith("_rate") else " or more"
                raise UserError(f"{field.name}={value!r} is not valid: it must be {least}{most}")


class SyntheticClips(NamedTuple):
    """Generated clips, and what is true of them.

    Attributes:
      clips: with labels as an annotator would give them, some of them wrong.
      events: [num_clips, time, num_classes] bool, which classes sound when, faint sounds left out.
      classes: names for the classes.
    """

    clips: ClipSet
    events: np.ndarray
    classes: ClassList


def synthetic_clips(config: SyntheticConfig, split: str = "train") -> SyntheticClips:
    """Generates clips; the same config and split give the same bytes.

    Splits share the world (prototypes, frequencies, partners) and differ in their clips, so more clips
    than fit in memory are made as many splits: `train-0`, `train-1`, ...
    """
    world = _World.make(config)
    rng = _rng(config.seed, "clips", split)
    num_segments = _segment_counts(config, rng)
    sounds = _sounds(config, world, num_segments, rng)
    events = _events(config, sounds)
    clips = ClipSet.from_arrays(
        _embeddings(config, world, sounds, num_segments, rng),
        _labels(config, events, rng),
        num_segments=num_segments,
        video_ids=[_video_id(config.seed, split, i) for i in range(config.num_clips)],
        start_times=10.0 * rng.integers(0, 30, config.num_clips),
        embedding=Embedding(
            "uint8",
            config.num_features,
            Scaling(128.0, 128.0),
            encoder=ENCODER,
            hop_seconds=1.0,
            example_seconds=1.0,
        ),
    )
    return SyntheticClips(clips, events, _class_list(world))


def _rng(seed: int, *purpose: str) -> np.random.Generator:
    digest = hashlib.sha256("/".join(purpose).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])


class _World(NamedTuple):
    prototypes: np.ndarray  # [K, M] float32, of length 1
    frequencies: np.ndarray  # [K], sum to 1
    partners: np.ndarray  # [K] class indices
    is_short: np.ndarray  # [K] bool

    @classmethod
    def make(cls, config: SyntheticConfig) -> "_World":
        rng = _rng(config.seed, "world")
        K = config.num_classes
        prototypes = rng.standard_normal((K, config.num_features), np.float32)
        frequencies = 1.0 / np.arange(3, K + 3)
        ring = rng.permutation(K)
        partners = np.empty(K, int)
        partners[ring] = np.roll(ring, 1)
        return cls(
            prototypes=prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True),
            frequencies=frequencies / frequencies.sum(),
            partners=partners,
            is_short=np.arange(K) % 3 > 0,
        )


def _segment_counts(config: SyntheticConfig, rng: np.random.Generator) -> np.ndarray:
    full = np.full(config.num_clips, config.max_segments)
    short = rng.integers(1, max(2, config.max_segments), config.num_clips)
    return np.where(rng.random(config.num_clips) < config.short_clip_rate, short, full)


class _Sounds(NamedTuple):
    """Each clip's S sounds: events, the events' partners, faint sounds."""

    classes: np.ndarray  # [N, S]
    active: np.ndarray  # [N, S, T] bool
    is_faint: np.ndarray  # [S] bool


def _sounds(
    config: SyntheticConfig, world: _World, num_segments: np.ndarray, rng: np.random.Generator
) -> _Sounds:
    N, T, K = config.num_clips, config.max_segments, config.num_classes
    E = len(_EVENT_CHANCES)
    labels = rng.choice(K, (N, E), p=world.frequencies)
    present = rng.random((N, E)) < _EVENT_CHANCES
    joined = present & (rng.random((N, E)) < config.partner_rate)
    faint = rng.integers(0, K, (N, config.faint_sounds))
    classes = np.concatenate([labels, world.partners[labels], faint], axis=1)
    present = np.concatenate([present, joined, np.ones(faint.shape, bool)], axis=1)
    is_faint = np.arange(classes.shape[1]) >= 2 * E

    short = rng.integers(1, 3, classes.shape)
    long = rng.integers((T + 1) // 2, T + 1, classes.shape)
    length = np.where(is_faint, T, np.where(world.is_short[classes], short, long))
    length = np.minimum(length, num_segments[:, None])
    onset = (rng.random(classes.shape) * (num_segments[:, None] - length + 1)).astype(int)
    time = np.arange(T)
    active = (time >= onset[:, :, None]) & (time < (onset + length)[:, :, None])
    return _Sounds(classes, active & present[:, :, None], is_faint)


def _events(config: SyntheticConfig, sounds: _Sounds) -> np.ndarray:
    """Which classes sound when: [N, T, K] bool."""
    N, T, K = config.num_clips, config.max_segments, config.num_classes
    events = np.zeros((N, T, K), bool)
    for s in np.flatnonzero(~sounds.is_faint):
        events[np.arange(N), :, sounds.classes[:, s]] |= sounds.active[:, s]
    return events


def _embeddings(
    config: SyntheticConfig,
    world: _World,
    sounds: _Sounds,
    num_segments: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """[N, T, M] uint8."""
    N, T, M = config.num_clips, config.max_segments, config.num_features
    stored = np.empty((N, T, M), np.uint8)
    for start in range(0, N, _BLOCK):
        block = slice(start, start + _BLOCK)
        active = sounds.active[block]
        n, S = active.shape[:2]
        # Loudness differs from sound to sound, and falls and rises a little within one.
        loudness = np.where(
            sounds.is_faint, rng.uniform(*_FAINTNESS, (n, S)), rng.gamma(4.0, 1 / 4.0, (n, S))
        )
        gains = config.loudness * loudness[:, :, None] * active * rng.uniform(0.8, 1.2, (n, S, T))
        signal = rng.standard_normal((n, T, M), np.float32)
        signal += _BACKGROUND * rng.standard_normal((n, 1, M), np.float32)
        signal += gains.astype(np.float32).swapaxes(1, 2) @ world.prototypes[sounds.classes[block]]
        signal *= _BYTES_PER_UNIT
        signal += 128.0
        stored[block] = np.clip(np.rint(signal, out=signal), 0, 255, out=signal)
    stored[np.arange(T) >= num_segments[:, None]] = 0
    return stored


def _labels(config: SyntheticConfig, events: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What an annotator says: [N, K] bool, at least one label a clip."""
    truth = np.any(events, axis=1)
    labels = truth & (rng.random(truth.shape) >= config.missing_label_rate)
    labels = np.where(labels.any(axis=1, keepdims=True), labels, truth)
    wrong = np.flatnonzero(rng.random(len(truth)) < config.wrong_label_rate)
    labels[wrong, rng.integers(0, truth.shape[1], len(wrong))] = True
    return labels


def _video_id(seed: int, split: str, i: int) -> str:
    """Eleven characters of the alphabet that real ids have.

    The first two name the record file: lower-case hexadecimal digits keep files few, and their names apart
    where upper and lower case are one.
    """
    digest = hashlib.sha256(f"{seed}/{split}/{i}".encode()).digest()
    return digest[:1].hex() + base64.urlsafe_b64encode(digest[1:])[:9].decode()


def _class_list(world: _World) -> ClassList:
    kinds = np.where(world.is_short, "short", "long")
    return ClassList(
        mids=tuple(f"/s/{k:03d}" for k in range(len(kinds))),
        names=tuple(f"Sound {k} ({kind})" for k, kind in enumerate(kinds)),
    )
