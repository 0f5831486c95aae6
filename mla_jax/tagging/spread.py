"""Tagging in several processes: each tags some parts of the data, and the last to finish writes the file.

Tagging a clip needs no other clip, so the processes have nothing to say to each other: each writes its parts
to a folder beside the output (`mla_jax.storage.parts`), and the one that finds all of them there reads them
in their order, into the file that one process would have written.
"""

import dataclasses
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mla_jax.data.embedding import Embedding
from mla_jax.data.sources import StreamPart
from mla_jax.progress import Progress
from mla_jax.runs.folder import list_skipped
from mla_jax.runs.use import weights_of
from mla_jax.storage.parts import Kept, PartFolder, Share, beside, state_of
from mla_jax.tagging.tag import Tagged, TagJob
from mla_jax.tagging.tagger import TagOptions
from mla_jax.tagging.tags import TaggedClips, Tags

_NO_SEGMENTS: dict[str, Any] = {"scores": None, "segment_starts": None}


def predict_share(
    share: Share,
    workdir: str | Path,
    data: str,
    output: str | Path,
    options: TagOptions | None = None,
    *,
    part_clips: int = 1000,
    **opening: Any,
) -> Tagged | None:
    """As `mla_jax.predict_to_file`, in one of several processes that are given the same.

    Parts that are finished are kept beside the output, in a folder of its name with `.unfinished`; the same
    call, in as many processes or others, goes on with them.

    Args:
      share: which process this is.
      workdir, data, output, options: as for `predict_to_file`.
      part_clips: the most clips of a part, in whole batches where no clip is cut; of sound, parts are some
        twenty minutes, or a span of a long recording.
      **opening: its other arguments.

    Returns:
      What was tagged by all, in the process that wrote the output; in the others None.

    Raises:
      UserError: as `predict_to_file`; or what was begun there had other settings, files or weights.
    """
    parts = beside(output)
    options = options or TagOptions()
    job = TagJob.open(workdir, data, output, options, part_clips=part_clips, **opening)
    settings = {**_settings(job), "parts": {"clips": part_clips}}
    parts.claim(settings, with_first=True)
    progress = Progress(f"predict, process {share.number} of {share.count}", 0, "windows")
    items = 0
    for part in job.stream.parts(lambda i: share.has(i) and parts.read(i) is None):
        batches = list(_tags(job, part))
        _write(parts, part, batches)
        items += sum(len(tags.clips) for tags in batches)
        progress.update(items, job.stream.place)
    progress.close()
    return parts.join(job.stream.num_parts, lambda: _join(parts, job))


def _settings(job: TagJob) -> dict[str, dict[str, Any]]:
    """All that the tags depend on."""
    tagger = job.tagger
    encoder = tagger.trained.encoder_files
    # Other events of the same tags are no other parts, but the file would not say which it has.
    thresholds = [tagger.limits, *([tagger.rules.start] if tagger.rules else [])]
    return {
        "weights": weights_of(tagger.trained),
        "options": {
            **dataclasses.asdict(tagger.options),
            "format": job.format,
            "bad_records": job.bad_records,
            "thresholds": zlib.crc32(b"".join(limits.tobytes() for limits in thresholds)),
        },
        "encoder": {file: state_of(file) for file in (encoder.weights, encoder.pca) if file},
        "files": job.stream.state(),
    }


def _tags(job: TagJob, part: StreamPart) -> Iterator[Tags]:
    for clips in part.chunks:
        job.tagger.trained.require_same_embedding(clips, job.data)
    yield from job.tag(part.chunks)


def _write(parts: PartFolder, part: StreamPart, batches: Sequence[Tags]) -> None:
    """Keeps the tags of a part, batch by batch, as the writers of files take them."""
    about = {
        "clips": sum(map(len, part.chunks)),
        "skipped": part.skipped,
        "embeddings": [tags.clips.embedding.to_json() for tags in batches],
    }
    arrays = {}
    for i, tags in enumerate(batches):
        for place in (tags.clips, tags):
            for name, value in _fields(place).items():
                arrays[f"{i}.{name}"] = value
    parts.write(part.number, about, arrays)


def _fields(of: TaggedClips | Tags) -> dict[str, np.ndarray]:
    fields = of._asdict() if isinstance(of, Tags) else vars(of)
    return {name: value for name, value in fields.items() if isinstance(value, np.ndarray)}


def _read(kept: Kept) -> Iterator[Tags]:
    """The batches of a part."""
    for i, embedding in enumerate(kept.about["embeddings"]):
        found: dict[str, Any] = {
            name.removeprefix(f"{i}."): value
            for name, value in kept.arrays.items()
            if name.startswith(f"{i}.")
        }
        of_clips = {
            name: found.pop(name)
            for name in ("video_ids", "start_times", "num_segments", "end_times")
            if name in found
        }
        clips = TaggedClips(**of_clips, embedding=Embedding.from_json(embedding))
        yield Tags(clips=clips, **{**_NO_SEGMENTS, **found})


def _join(parts: PartFolder, job: TagJob) -> Tagged:
    """Writes the file; a part is in memory at a time."""
    clips = items = 0
    skipped = []
    with job.writing() as write:
        for number in range(job.stream.num_parts):
            kept = parts.require(number)
            for tags in _read(kept):
                write(tags)
                items += len(tags.clips)
            clips += kept.about["clips"]
            skipped += [tuple(one) for one in kept.about["skipped"]]
        job.stream.require_clips(clips)
    list_skipped(job.output, skipped)
    return Tagged(clips, items, len(skipped), job.events)
