"""Recordings where clips are expected: a data format whose clips are embedded as they are read."""

import os
from collections.abc import Iterator
from pathlib import Path

from mla_jax.audio.embed import embed_files
from mla_jax.audio.encoder import Encoder
from mla_jax.audio.encoders import make_encoder
from mla_jax.audio.sound_file import sound_info
from mla_jax.data.embedding import UNKNOWN, Embedding
from mla_jax.data.formats.format import Chunk, Format, ReadOptions, Shape
from mla_jax.data.skipped import Skipped
from mla_jax.errors import UserError
from mla_jax.recordings.clips import Piece, clip_set
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.recordings.hours import Hours
from mla_jax.recordings.inputs import find_recordings, names_sound


class SoundFiles(Format):
    """Recordings as clips, each of one recording, without labels.

    Sound is decoded as it is embedded; what is held of a recording are its embeddings, some kilobytes a
    second at most.
    """

    def __init__(self, path: str, encoder: Encoder) -> None:
        self._recordings = find_recordings([path]).recordings
        self._encoder = encoder
        self.files = len(self._recordings)
        self.shape = Shape(clips=self.files, features=encoder.num_features)

    @staticmethod
    def recognizes(path: Path) -> bool:
        """A sound file, a folder or glob of them, or a list."""
        return names_sound(os.fspath(path))

    def chunks(self, options: ReadOptions) -> Iterator[Chunk]:
        """Embeds one recording after the other.

        Raises:
          UserError: clips must have labels; or, before anything is embedded, a file's header says that it
            cannot be used, and `options` do not skip such.
        """
        for done, (pieces, skipped) in enumerate(self._pieces(options), start=1):
            yield self._chunk(pieces, skipped, done, options)

    def whole(self, options: ReadOptions) -> Iterator[Chunk]:
        """All recordings at once, with a time axis as long as the longest."""
        parts = list(self._pieces(options))
        pieces = [piece for some, _ in parts for piece in some]
        yield self._chunk(pieces, [bad for _, some in parts for bad in some], len(parts), options)

    def _chunk(
        self, pieces: list[Piece], skipped: list[Skipped], done: int, options: ReadOptions
    ) -> Chunk:
        longest = max((len(piece.embeddings) for piece in pieces), default=1)
        described = self._encoder.describe()
        clips = clip_set(pieces, described, time=longest, num_classes=options.num_classes)
        return Chunk(clips, skipped, cropped=0, done=done)

    def _pieces(self, options: ReadOptions) -> Iterator[tuple[list[Piece], list[Skipped]]]:
        """Of each recording a piece, or why it cannot be used."""
        if options.needs_labels:
            raise UserError(
                f"{self._recordings[0].path} is sound, and has no labels; embed it with labels first "
                "(experiments.embed --labels)"
            )
        hours = Hours("embed", sum(self._seconds(options)))
        found = (recording.path for recording in self._recordings)
        made = embed_files(found, self._encoder, on_seconds=hours.add)
        for recording, embedded in zip(self._recordings, made, strict=True):
            if embedded.error:
                reason = embedded.error.removeprefix(f"{recording.path} ")
                yield [], [(str(recording.path), 0, recording.name, reason)]
            else:
                yield [Piece(recording.name, 0.0, embedded.embeddings, ())], []
        hours.close()

    def _seconds(self, options: ReadOptions) -> Iterator[float]:
        """How long each recording is by its header."""
        for recording in self._recordings:
            try:
                yield sound_info(recording.path).seconds
            except UserError as error:
                if options.bad_records == "error":
                    raise UserError(
                        f"{error}; or leave such files out with bad_records=skip"
                    ) from error
                yield 0.0


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
            "embed the recordings with that encoder (experiments.embed), and give the run what comes out"
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
