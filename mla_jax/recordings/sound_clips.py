"""Recordings where clips are expected: a data format whose clips are embedded as they are read."""

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mla_jax.audio.embed import Span, embed_files
from mla_jax.audio.encoder import Encoder
from mla_jax.audio.encoders import NAMES, make_encoder
from mla_jax.audio.sound_file import SoundInfo, sound_info
from mla_jax.audio.spans import spans_of
from mla_jax.data.embedding import UNKNOWN, Embedding
from mla_jax.data.formats.format import Chunk, Format, ReadOptions, Shape
from mla_jax.data.label_file import FILE_NAME, NONE_HEARD, Heard, find_labels
from mla_jax.data.skipped import Skipped
from mla_jax.errors import UserError
from mla_jax.recordings.account import counted, told_flags
from mla_jax.recordings.clips import Piece, clip_set, pieces_of
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.recordings.hours import Hours
from mla_jax.recordings.inputs import Recording, find_recordings, names_sound
from mla_jax.recordings.labels import match_labels

_PART_FILES = 500  # at most


class _Take(NamedTuple):
    """A recording, or a span of one, what is heard in it, and how many seconds of it are new."""

    recording: Recording
    span: Span
    heard: Heard
    seconds: float


class SoundFiles(Format):
    """Recordings as clips, each of one recording, or of a span of a long one.

    Where labels are needed they are those of `options.labels`, a CSV (`mla_jax.recordings.labels`), or of
    `labels.csv` in the folder that is named, or above it, which is noted. Recordings of which it says nothing
    are left out, and noted.

    Sound is decoded as it is embedded, and the embeddings of an hour or two are held at most, so that a
    recording may be of any length (but an mp3 that does not say how long it is, which is held whole).
    """

    def __init__(
        self,
        path: str,
        encoder: Encoder,
        *,
        window: int = 1,
        hop: int = 1,
        labelled_length: int = 0,
        span_seconds: float = 3600.0,
        part_seconds: float = 1200.0,
    ) -> None:
        """Finds the files.

        Args:
          path: what `find_recordings` takes.
          encoder: makes the embeddings.
          window, hop: how clips will be cut into windows, in segments: then spans have those windows that
            the whole recording has.
          labelled_length: where labels are needed, recordings are cut into clips of so many segments, as they
            were in training; 0: each is one clip.
          span_seconds: how long the spans of long recordings are.
          part_seconds: how much sound makes a part, by the headers.
        """
        found = find_recordings([path])
        self._recordings = found.recordings
        self.passed_over = [p.name for p in found.passed_over if p.name != FILE_NAME]
        self._path, self._labelled_length = path, labelled_length
        self._notes: list[str] = []
        self._flagged: dict[str, list[str]] = {}
        self._encoder = encoder
        # Whole hops, and no fewer segments than a window has: then the last span has one that is its own.
        hops = max(2, round(span_seconds / encoder.hop_seconds / hop), -(-window // hop))
        self._step, self._overlap = hops * hop, window - hop
        self._part_seconds = part_seconds
        self.files = len(self._recordings)
        self.made_of = [recording.path for recording in self._recordings]
        self.shape = Shape(clips=self.files, features=encoder.num_features)

    @property
    def notes(self) -> Sequence[str]:
        """Which recordings are odd, though usable, and which have no labels."""
        return [*self._notes, *told_flags(self._flagged)]

    @staticmethod
    def recognizes(path: Path) -> bool:
        """A sound file, a folder or glob of them, or a list."""
        return names_sound(os.fspath(path))

    def chunks(self, options: ReadOptions) -> Iterator[Chunk]:
        """Embeds one recording, or span, after the other.

        Raises:
          UserError: clips must have labels, and none are there; or, before anything is embedded, a file's
            header says that it cannot be used, and `options` do not skip such.
        """
        for done, (pieces, skipped) in enumerate(self._pieces(options, self._step), start=1):
            yield self._chunk(pieces, skipped, done, options)

    def whole(self, options: ReadOptions) -> Iterator[Chunk]:
        """All recordings at once, with a time axis as long as the longest."""
        parts = list(self._pieces(options, sys.maxsize))
        pieces = [piece for some, _ in parts for piece in some]
        yield self._chunk(pieces, [bad for _, some in parts for bad in some], len(parts), options)

    def _chunk(
        self, pieces: list[Piece], skipped: list[Skipped], done: int, options: ReadOptions
    ) -> Chunk:
        time = max((len(piece.embeddings) for piece in pieces), default=1)
        if options.needs_labels:  # as in training, where padding may count
            time = max(time, self._labelled_length)
        described = self._encoder.describe()
        clips = clip_set(pieces, described, time=time, num_classes=options.num_classes)
        return Chunk(clips, skipped, cropped=0, done=done)

    def parts(self, options: ReadOptions) -> Iterator[Callable[[], Iterable[Chunk]]]:
        """Some files together, or a span of a long one; only those that are called are decoded."""
        waiting: list[_Take] = []
        for take in self._takes(options, self._step):
            waiting.append(take)
            seconds = sum(take.seconds for take in waiting)
            if seconds >= self._part_seconds or len(waiting) == _PART_FILES:
                yield functools.partial(self._chunks, waiting, options)
                waiting = []
        if waiting:
            yield functools.partial(self._chunks, waiting, options)

    def _chunks(self, takes: "list[_Take]", options: ReadOptions) -> Iterator[Chunk]:
        for pieces, skipped in self._embed(takes, options):
            yield self._chunk(pieces, skipped, 0, options)

    def _pieces(
        self, options: ReadOptions, step: int
    ) -> Iterator[tuple[list[Piece], list[Skipped]]]:
        """Of each recording, or span of `step` segments, a piece, or why it cannot be used."""
        takes = self._takes(options, step)
        hours = Hours("embed", sum(take.seconds for take in takes))
        yield from self._embed(takes, options, hours.add)
        hours.close()

    def _takes(self, options: ReadOptions, step: int) -> "list[_Take]":
        """The recordings, or their spans of `step` segments."""
        heard_in = self._heard(options)
        takes = []
        for recording, info in zip(heard_in, list(_headers(heard_in, options)), strict=True):
            left = info.seconds if info else 0.0
            for span in spans_of(recording.path, info, self._encoder, step, self._overlap):
                seconds = left if span.count is None else step * self._encoder.hop_seconds
                takes.append(_Take(recording, span, heard_in[recording], seconds))
                left -= seconds
        return takes

    def _embed(
        self,
        takes: "list[_Take]",
        options: ReadOptions,
        on_seconds: Callable[[float], None] = lambda _: None,
    ) -> Iterator[tuple[list[Piece], list[Skipped]]]:
        length = self._labelled_length if options.needs_labels else 0
        made = embed_files((take.span for take in takes), self._encoder, on_seconds=on_seconds)
        for (recording, span, heard, _), embedded in zip(takes, made, strict=True):
            for flag in embedded.flags:
                named = self._flagged.setdefault(flag, [])
                if recording.name not in named:
                    named.append(recording.name)
            if embedded.error:
                reason = embedded.error.removeprefix(f"{recording.path} ")
                yield [], [(str(recording.path), 0, recording.name, reason)]
            elif len(embedded.starts):  # else a span that is cut at once
                rows, first = embedded.embeddings, span.first
                end = float(embedded.starts[0]) + embedded.seconds
                pieces = pieces_of(recording.name, rows, self._encoder, heard, length, first, end)
                yield list(pieces), []

    def _heard(self, options: ReadOptions) -> dict[Recording, Heard]:
        """What is heard in the recordings; those of which nothing is known are left out and noted."""
        if not options.needs_labels:
            return dict.fromkeys(self._recordings, NONE_HEARD)
        place = Path(self._path)
        found_labels = find_labels(options.labels, place if place.is_dir() else place.parent)
        if found_labels is None:
            raise UserError(
                f"{self._path} is sound, and its labels are not known; give them with "
                "labels=labels.csv, a CSV with a line filename,labels for each recording"
            )
        labels = found_labels.path
        found = match_labels(labels, self._recordings, options.classes)
        both = list(zip(self._recordings, found.of, strict=True))
        unlabelled = [recording.name for recording, heard in both if heard is None]
        self._notes = [
            found_labels.note,
            counted(f"recordings are left out: {labels} says nothing of them", unlabelled),
            counted(f"names in {labels} are those of no recording", found.without_file),
        ]
        return {recording: heard for recording, heard in both if heard is not None}


def _headers(recordings: Iterable[Recording], options: ReadOptions) -> Iterator[SoundInfo | None]:
    """What the files' headers say; None of one that cannot be used, where `options` skip such."""
    for recording in recordings:
        try:
            yield sound_info(recording.path)
        except UserError as error:
            if options.bad_records == "error":
                raise UserError(
                    f"{error}; or leave such files out with bad_records=skip"
                ) from error
            yield None


def encoder_of(embedding: Embedding | None, files: EncoderFiles) -> Encoder:
    """The encoder that makes embeddings of this meaning.

    Args:
      embedding: what a model was trained on; None if that is not known.
      files: of the encoder.

    Raises:
      UserError: the encoder is not known or not there, or makes other embeddings.
    """
    if embedding is None or embedding.encoder == UNKNOWN or embedding.hop_seconds is None:
        raise UserError(
            "the run does not know which encoder its clips are of, and how often, so it cannot take sound: "
            "embed the recordings with that encoder (mla-embed), and give the run what comes out"
        )
    if embedding.encoder not in NAMES and ":" not in embedding.encoder:
        raise UserError(
            f"the run was trained on embeddings of {embedding.encoder!r}, which is no encoder of this "
            "package, so it cannot take sound: give it embeddings of that kind"
        )
    encoder = make_encoder(
        embedding.encoder,
        weights=files.weights or None,
        hop_seconds=embedding.hop_seconds,
        pca=files.pca or None,
    )
    if difference := embedding.difference(encoder.describe()):
        lacks_pca = "pca" in embedding.details and not files.pca
        hint = "; give the file of its principal components (pca)" if lacks_pca else ""
        raise UserError(
            f"the run was trained on other embeddings than this {embedding.encoder} makes: "
            f"{difference}{hint}"
        )
    return encoder
