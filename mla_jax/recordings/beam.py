"""Embedding with Apache Beam, for more recordings than one machine takes: the same functions in its steps.

    matched files -> spans -> records in shards, and a list of what failed

Spans are of whole segments, so that a long recording is embedded by many workers, and gives what it gives at
once. A worker that dies, or does its work twice, changes nothing: Beam keeps one result of each span, and
a shard appears only when it is complete.
"""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems

from mla_jax.audio.embed import Span, embed_files
from mla_jax.audio.encoder import Encoder
from mla_jax.audio.encoders import make_encoder
from mla_jax.audio.sound_file import sound_info
from mla_jax.audio.spans import spans_of
from mla_jax.data.label_file import NONE_HEARD, Heard
from mla_jax.errors import UserError
from mla_jax.recordings.clips import clip_set, cut_length, pieces_of

FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class Job:
    """What every worker does.

    Attributes:
      encoder, weights, pca, hop_seconds: as `mla_jax.audio.encoders.make_encoder` takes them; files must be
        where the workers can read them.
      clip_seconds: recordings are cut into clips of so many seconds; 0: each is one clip.
      num_classes: K of the labels.
      span_seconds: how much of a recording one worker takes; only where it is cut into clips.
    """

    encoder: str
    weights: str = ""
    pca: str = ""
    hop_seconds: float | None = None
    clip_seconds: float = 0.0
    num_classes: int = 0
    span_seconds: float = 600.0

    def make(self) -> Encoder:
        """The encoder."""
        return make_encoder(
            self.encoder,
            weights=self.weights or None,
            hop_seconds=self.hop_seconds,
            pca=self.pca or None,
        )


@dataclasses.dataclass(frozen=True)
class Work:
    """Some segments of a recording, all of it at first.

    Attributes:
      path: the sound file, local or where Beam can read it.
      name: what clips call it.
      heard: what is heard in it.
      first, count: which segments, as of `mla_jax.audio.embed.Span`.
    """

    path: str
    name: str
    heard: Heard = NONE_HEARD
    first: int = 0
    count: int | None = None


class CutIntoSpans(beam.DoFn):
    """Whole recordings as spans of whole clips."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def setup(self) -> None:
        """Makes the encoder, once for each worker."""
        self._encoder = self._job.make()

    def process(self, element: Work) -> Iterator[Work]:
        """The spans of a recording."""
        length = cut_length(self._encoder, self._job.clip_seconds)
        if not length:
            yield element
            return
        with local_file(element.path) as path:
            try:
                info = sound_info(path)
            except UserError:  # which is said when it is embedded
                info = None
            clips = max(2, round(self._job.span_seconds / self._encoder.hop_seconds / length))
            for span in spans_of(path, info, self._encoder, clips * length):
                yield dataclasses.replace(element, first=span.first, count=span.count)


class EmbedSpans(beam.DoFn):
    """Spans as serialized records, one a clip; what cannot be used goes to the output `failed`, as JSON."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def setup(self) -> None:
        """Makes the encoder, once for each worker."""
        self._encoder = self._job.make()

    def process(self, element: Work) -> Iterator[Any]:
        """The clips of a span."""
        from mla_jax.data.formats.sequence_examples import to_record

        with local_file(element.path) as path:
            span = Span(path, element.first, element.count)
            (embedded,) = embed_files([span], self._encoder)
        if embedded.error:
            reason = embedded.error.removeprefix(f"{path} ")
            failed = {"file": element.path, "segment": element.first, "reason": reason}
            yield beam.pvalue.TaggedOutput(FAILED, json.dumps(failed))
            return
        length = cut_length(self._encoder, self._job.clip_seconds)
        described = self._encoder.describe()
        for piece in pieces_of(
            element.name, embedded.embeddings, self._encoder, element.heard, length, element.first
        ):
            clips = clip_set(
                [piece],
                described,
                time=len(piece.embeddings),
                num_classes=self._job.num_classes,
            )
            yield to_record(clips, 0)


@contextlib.contextmanager
def local_file(path: str) -> Iterator[str]:
    """The file on this machine, a copy of the same name if it is elsewhere."""
    if "://" not in path:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.rpartition("/")[2])
        with FileSystems.open(path) as remote, copy.open("wb") as file:
            shutil.copyfileobj(remote, file)
        yield str(copy)


def match(pattern: str) -> list[tuple[str, str]]:
    """The files that match a glob, each with its name: the path behind the fixed part of the glob.

    Raises:
      UserError: there are none.
    """
    if not os.path.dirname(pattern):
        pattern = f"./{pattern}"  # Beam finds nothing by a glob without a folder
    found = [one.path for one in FileSystems.match([pattern])[0].metadata_list]
    if not found:
        raise UserError(f"{pattern} matches no file")
    fixed = re.split(r"[*?[]", pattern)[0].rpartition("/")[0]
    return [(path, path.removeprefix(fixed).lstrip("/")) for path in found]


def embed_pipeline(pipeline: beam.Pipeline, works: list[Work], job: Job, output: str) -> None:
    """Adds the steps to a pipeline.

    Args:
      pipeline: what runs them.
      works: the recordings.
      job: what is done with them.
      output: where shards go: `OUTPUT-00000-of-00010.tfrecord`, and `OUTPUT-failed.jsonl`.
    """
    made = (
        pipeline
        | "recordings" >> beam.Create(works, reshuffle=True)
        | "spans" >> beam.ParDo(CutIntoSpans(job))
        | "spread" >> beam.Reshuffle()
        | "embed" >> beam.ParDo(EmbedSpans(job)).with_outputs(FAILED, main="records")
    )
    _ = made.records | "write" >> beam.io.WriteToTFRecord(output, file_name_suffix=".tfrecord")
    _ = made[FAILED] | "list failed" >> beam.io.WriteToText(
        f"{output}-failed", file_name_suffix=".jsonl", shard_name_template=""
    )
