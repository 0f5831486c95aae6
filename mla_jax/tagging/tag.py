"""Tags clips with a trained run, as a stream: read, predict, write, a batch at a time."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

from mla_jax.data.clips import ClipSet
from mla_jax.data.sources import ClipStream
from mla_jax.errors import UserError
from mla_jax.progress import Progress
from mla_jax.recordings.encoder_files import DEFAULT as DEFAULT_FILES
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.runs.folder import list_skipped, require_output
from mla_jax.tagging import formats
from mla_jax.tagging.events import EventCount
from mla_jax.tagging.tagger import Tagger, TagOptions
from mla_jax.tagging.tags import Tags, Write


class Tagged(NamedTuple):
    """What was tagged.

    Attributes:
      clips: how many clips were read.
      items: how many were written: clips, and of long ones windows.
      skipped: how many were left out.
      events: what was written of them; None if the output is not one of events.
    """

    clips: int
    items: int
    skipped: int
    events: EventCount | None = None


def predict_to_file(
    workdir: str | Path,
    data: str,
    output: str | Path,
    options: TagOptions | None = None,
    *,
    step: int = 0,
    average_from: int = 0,
    bad_records: str = "",
    allow_other_embeddings: bool = False,
    encoder_files: EncoderFiles = DEFAULT_FILES,
) -> Tagged:
    """Writes the most probable labels of every clip, in bounded memory.

    A clip of more segments than a window has is written as windows, each with a start time of its own;
    `mla_jax.data.windows` says which. The file's ending says its format (`mla_jax.tagging.formats` has the
    columns of .csv and .parquet); a line of .jsonl is

        {"video_id": ..., "start_time": seconds, "labels": [{"index", "mid", "name", "probability"}, ...]}

    labels by falling probability, equal ones by index. With `options.segments` a line also has
    `segment_starts`, the seconds into the video at which each segment begins, and a label `segments`, their
    scores. A .tsv or .txt has a row for each event, and with `options.events` a .jsonl a line for each
    recording with its events (`mla_jax.tagging.events`). The file appears when it is complete; records that
    were left out (`bad_records="skip"`) are listed beside it.

    Args:
      workdir: the run; several as "A,B,C" are used as one model, their average.
      data: a packed folder; a folder, file or glob of TFRecords; an HDF5 or .npz file; or sound, as
        `mla_jax.recordings.inputs` takes it, if the run knows its encoder.
      output: the file to write: .jsonl, .csv, .parquet, .tsv or .txt.
      options: what is written of each clip; `TagOptions()` if not given.
      step: which checkpoint; 0: the best by validation, else the newest.
      average_from: if given, the average of all checkpoints from this step on is used instead of one.
      bad_records: error or skip; as in training if not given.
      allow_other_embeddings: whether data whose embeddings differ in meaning are used all the same.
      encoder_files: of the encoder, for sound.

    Raises:
      UserError: an argument is not valid, the run or the data cannot be used, or the output cannot be
        written.
    """
    job = TagJob.open(
        workdir,
        data,
        output,
        options or TagOptions(),
        step=step,
        average_from=average_from,
        bad_records=bad_records,
        allow_other_embeddings=allow_other_embeddings,
        encoder_files=encoder_files,
    )
    stream = job.stream
    progress = Progress("predict", *((stream.total, "clips") if job.whole else (0, "windows")))
    items = 0
    with job.writing() as write:
        for tags in job.tag(stream.chunks):
            write(tags)
            items += len(tags.clips)
            read = stream.place or f"{stream.clips:,} of {stream.total:,} clips begun"
            progress.update(items, "" if job.whole else read)
    progress.close()
    list_skipped(output, stream.skipped)
    return Tagged(stream.clips, items, len(stream.skipped), job.events)


@dataclasses.dataclass(frozen=True, eq=False)
class TagJob:
    """What is to be tagged, with what, and where to.

    Attributes:
      tagger: the model, and how it is used.
      stream: the clips.
      data: the path that they are read from.
      output: the file of tags.
      format: its format.
      bad_records: what becomes of them; "" for that of the run.
      events: what was written of them; None if the format is not one of events.
    """

    tagger: Tagger
    stream: ClipStream
    data: str
    output: str | Path
    format: str
    bad_records: str
    events: EventCount | None

    @classmethod
    def open(
        cls,
        workdir: str | Path,
        data: str,
        output: str | Path,
        options: TagOptions,
        *,
        step: int = 0,
        average_from: int = 0,
        bad_records: str = "",
        allow_other_embeddings: bool = False,
        encoder_files: EncoderFiles = DEFAULT_FILES,
        part_clips: int = 0,
    ) -> Self:
        """Opens the run and the data; takes and raises what `predict_to_file` does.

        With `part_clips`, chunks have about so many clips, in whole batches where no clip is cut.
        """
        format = formats.format_of(output, options.format, events=options.events is not None)
        require_output(output, [data, options.events.rules if options.events else ""])
        tagger = Tagger.open(
            workdir,
            options,
            step,
            average_from=average_from,
            allow_other_embeddings=allow_other_embeddings,
            encoder_files=encoder_files,
        )
        events = EventCount() if format in formats.EVENT_FORMATS else None
        if events is not None:
            tagger = tagger.of_events()
        _, size = tagger.batch_shape()
        sizes = {"chunk_size": max(1, part_clips // size) * size} if part_clips else {}
        stream = tagger.trained.stream_clips(
            data,
            bad_records=bad_records,
            segment_seconds=options.segment_seconds,
            window=tagger.windows.length,
            hop=tagger.windows.hop,
            **sizes,
        )
        if format == formats.ONE_RECORDING and stream.files > 1:
            raise UserError(
                f"a label track is of one recording, and {data} names {stream.files:,}; give an output that "
                "ends in .tsv, or one recording"
            )
        return cls(tagger, stream, data, output, format, bad_records, events)

    @property
    def whole(self) -> bool:
        """Whether it is known that no clip is cut."""
        return 0 < self.stream.time <= self.tagger.windows.length

    def tag(self, chunks: Iterable[ClipSet]) -> Iterator[Tags]:
        """The tags of all clips, or of those of a part, in order and a batch at a time."""
        total = self.stream.total if self.whole else 0
        return self.tagger.tag(chunks, self.stream.time, total)

    def writing(self) -> contextlib.AbstractContextManager[Write]:
        """The file of tags, to be written in the block."""
        return formats.open_tag_file(
            self.output,
            self.tagger.trained.classes,
            self.tagger.options.segments,
            format=self.format,
            rules=self.tagger.rules,
            count=self.events,
        )
