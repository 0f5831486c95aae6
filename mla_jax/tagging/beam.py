"""Tagging with Apache Beam, for more data than one machine takes: the same functions in its steps.

    matched files -> parts of files -> rows in shards of Parquet, and a list of what failed

A file is sound, or embeddings in any form that `mla_jax.predict_to_file` takes. Long recordings are shared
out by the hour, and have the windows of the whole. A worker that dies, or does its work twice, changes
nothing: Beam keeps one result of each part, and a shard appears only when it is complete.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam

from mla_jax.data.formats.recordings import RecordingFiles
from mla_jax.data.skipped import Skipped
from mla_jax.data.sources import ClipStream
from mla_jax.errors import UserError
from mla_jax.recordings.beam import FAILED, local_file
from mla_jax.recordings.encoder_files import DEFAULT as DEFAULT_FILES
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.recordings.inputs import names_sound
from mla_jax.tagging.formats import parquet_schema, rows_of
from mla_jax.tagging.tagger import Tagger, TagOptions

COUNTED = "mla_jax"
"""The namespace of the pipeline's counters, `clips` and `failed`."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What every worker does.

    Attributes:
      workdir: the run, or several as "A,B,C"; where the workers can read it.
      options: what is said of each clip.
      step, average_from, allow_other_embeddings: as for `predict_to_file`.
      encoder_files: of the encoder, for sound; where the workers can read them.
    """

    workdir: str
    options: TagOptions
    step: int = 0
    average_from: int = 0
    allow_other_embeddings: bool = False
    encoder_files: EncoderFiles = DEFAULT_FILES


@dataclasses.dataclass(frozen=True)
class Work:
    """Some of a file.

    Attributes:
      path: the file, local or where Beam can read it.
      name: what the clips of a recording are called.
      part: which part of it; None: all.
    """

    path: str
    name: str
    part: int | None = None


@functools.cache
def tagger_of(job: Job) -> Tagger:
    """The model of a job, opened once in each process of a worker."""
    return Tagger.open(
        job.workdir,
        job.options,
        job.step,
        average_from=job.average_from,
        allow_other_embeddings=job.allow_other_embeddings,
        encoder_files=job.encoder_files,
    )


def _open(path: str, tagger: Tagger) -> ClipStream:
    return tagger.trained.stream_clips(
        path,
        bad_records="skip",
        segment_seconds=tagger.options.segment_seconds,
        window=tagger.windows.length,
        hop=tagger.windows.hop,
    )


class CutIntoParts(beam.DoFn):
    """Recordings as their parts; other files stay whole."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def process(self, element: Work) -> Iterator[Work]:
        """The parts of a file."""
        if not names_sound(element.path):
            yield element
            return
        with local_file(element.path) as path:
            try:
                stream = _open(path, tagger_of(self._job))
                list(stream.parts(lambda _: False))  # reads headers alone
            except UserError:  # which is said when it is tagged
                yield element
                return
        for part in range(stream.num_parts):
            yield dataclasses.replace(element, part=part)


class TagParts(beam.DoFn):
    """Parts as rows of Parquet; what cannot be used goes to the output `failed`, as JSON."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._clips = beam.metrics.Metrics.counter(COUNTED, "clips")
        self._failed = beam.metrics.Metrics.counter(COUNTED, "failed")

    def process(self, element: Work) -> Iterator[Any]:
        """The rows of a part."""
        tagger = tagger_of(self._job)
        with local_file(element.path) as path:
            try:
                stream = _open(path, tagger)
                for part in stream.parts(lambda i: element.part in (None, i)):
                    for clips in part.chunks:
                        tagger.trained.require_same_embedding(clips, element.path)
                        self._clips.inc(len(clips))
                    for tags in tagger.tag(part.chunks, stream.time):
                        for row in rows_of(tags, tagger.trained.classes):
                            yield _named(row, element, path)
                    for skipped in part.skipped:
                        yield self._failure(element, path, skipped)
            except UserError as error:
                yield self._failure(element, path, (path, 0, "", str(error)))

    def _failure(self, element: Work, path: str, skipped: Skipped) -> Any:
        _, record, video_id, reason = skipped
        self._failed.inc()
        failed = {"file": element.path, "record": record, "video_id": video_id or None}
        reason = reason.replace(path, element.path).removeprefix(f"{element.path} ")
        return beam.pvalue.TaggedOutput(FAILED, json.dumps({**failed, "reason": reason}))


def _named(row: dict[str, Any], element: Work, path: str) -> dict[str, Any]:
    """A row of a recording is called by the name that the pipeline knows, not that of the file at `path`."""
    if names_sound(element.path):
        return {**row, "video_id": element.name}
    if RecordingFiles.recognizes(Path(path)):
        return {**row, "video_id": os.path.splitext(element.name)[0]}
    return row


def tag_pipeline(pipeline: beam.Pipeline, works: list[Work], job: Job, output: str) -> None:
    """Adds the steps to a pipeline.

    Args:
      pipeline: what runs them.
      works: the files.
      job: what is done with them.
      output: where shards go: `OUTPUT-00000-of-00010.parquet`, and `OUTPUT-failed.jsonl`.
    """
    made = (
        pipeline
        | "files" >> beam.Create(works, reshuffle=True)
        | "parts" >> beam.ParDo(CutIntoParts(job))
        | "spread" >> beam.Reshuffle()
        | "tag" >> beam.ParDo(TagParts(job)).with_outputs(FAILED, main="rows")
    )
    _ = made.rows | "write" >> beam.io.WriteToParquet(
        output, parquet_schema(job.options.segments), file_name_suffix=".parquet"
    )
    _ = made[FAILED] | "list failed" >> beam.io.WriteToText(
        f"{os.fspath(output)}-failed", file_name_suffix=".jsonl", shard_name_template=""
    )
