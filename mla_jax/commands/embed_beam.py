r"""Embeds recordings with Apache Beam: millions of files, on one machine or many.

    mla-embed-beam --data='sounds/**/*.wav' --encoder=vggish --output=records/part

writes `records/part-00000-of-00010.tfrecord`, ..., which every command takes as records, and
`records/part-failed.jsonl`, which lists what could not be used. What Beam is to know follows behind `--`:

    mla-embed-beam --data='gs://BUCKET/sounds/*.flac' --weights=/weights/vggish.npz \
        --output=gs://BUCKET/records/part -- --runner=DataflowRunner --project=PROJECT --region=REGION \
        --temp_location=gs://BUCKET/tmp --sdk_container_image=IMAGE_WITH_MLA_JAX_AND_WEIGHTS

A clip is called by its file's path behind the fixed part of the glob. The encoder and the labels are those
of mla-embed.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from mla_jax.commands import common_flags, console
from mla_jax.errors import UserError

if TYPE_CHECKING:
    from mla_jax.recordings.beam import Work

_WEIGHTS = common_flags.define_weights()
_PCA = common_flags.define_pca()
_DATA = flags.DEFINE_string("data", "", "A glob of sound files, local or gs://BUCKET/...")
common_flags.formerly("input", _DATA)
_OUTPUT = flags.DEFINE_string("output", "", "What the names of the shards begin with.")
_ENCODER = flags.DEFINE_string(
    "encoder",
    "vggish",
    "vggish, yamnet, log_mel_statistics (which needs no weights), or package.module:attribute of your own.",
)
_HOP_SECONDS = flags.DEFINE_float(
    "hop_seconds", None, "From one segment to the next; if not given, the encoder's own."
)
_LABELS = flags.DEFINE_string("labels", "", "A CSV of labels, filename,labels; on this machine.")
_CLASS_LIST = flags.DEFINE_string("class_list", "", "The classes that the labels are of.")
_CLIP_SECONDS = flags.DEFINE_float(
    "clip_seconds",
    10.0,
    "Recordings are cut into clips so long; 0: each is one clip.",
    lower_bound=0.0,
)


def main(beam_flags: list[str]) -> None:
    """Runs the pipeline as the flags say."""
    common_flags.require(_DATA, _OUTPUT)
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError(f"this needs Apache Beam ({error}): pip install 'mla_jax[beam]'") from error
    from mla_jax.recordings.beam import Job, embed_pipeline

    if _CLASS_LIST.value and not _LABELS.value:
        raise UserError("--class_list says what labels mean; give --labels too")
    works, num_classes = _works()
    job = Job(
        encoder=_ENCODER.value,
        weights=_WEIGHTS.value,
        pca=_PCA.value,
        hop_seconds=_HOP_SECONDS.value,
        clip_seconds=_CLIP_SECONDS.value,
        num_classes=num_classes,
    )
    console.say(f"{len(works):,} recordings")
    with beam.Pipeline(options=PipelineOptions(beam_flags)) as pipeline:
        embed_pipeline(pipeline, works, job, _OUTPUT.value)
    print(f"{_OUTPUT.value}-*.tfrecord; what failed: {_OUTPUT.value}-failed.jsonl")


def _works() -> "tuple[list[Work], int]":
    """The recordings that are to be embedded, and the number of classes."""
    from mla_jax.data.class_list import ClassList, write_class_list
    from mla_jax.recordings.beam import Work, match
    from mla_jax.recordings.inputs import Recording
    from mla_jax.recordings.labels import match_labels
    from mla_jax.storage import paths

    matched = match(_DATA.value)
    if not _LABELS.value:
        return [Work(path, name) for path, name in matched], 0
    recordings = [Recording(Path(path), name) for path, name in matched]
    given = ClassList.read(_CLASS_LIST.value) if _CLASS_LIST.value else None
    labels = match_labels(_LABELS.value, recordings, given)
    labels.require_all_known(_OUTPUT.value)
    write_class_list(labels.classes, paths.as_path(os.path.dirname(_OUTPUT.value) or "."))
    console.say(
        f"{labels.of.count(None):,} recordings without a line in {_LABELS.value} are left out, "
        f"{len(labels.without_file):,} names in it are those of no recording"
    )
    works = [
        Work(path, name, mine)
        for (path, name), mine in zip(matched, labels.of, strict=True)
        if mine is not None
    ]
    return works, len(labels.classes)
