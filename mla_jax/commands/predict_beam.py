r"""Tags with Apache Beam: millions of recordings or clips, on one machine or many.

    mla-predict-beam --workdir=runs/sounds --data='sounds/**/*.wav' --output=tags/part

writes `tags/part-00000-of-00010.parquet`, ..., with the columns that mla-predict gives Parquet, and
`tags/part-failed.jsonl`, which lists what could not be used. The files are sound, or embeddings: records,
.npz, .npy or HDF5 files. What Beam is to know follows behind `--`:

    mla-predict-beam --workdir=gs://BUCKET/runs/sounds --data='gs://BUCKET/sounds/*.flac' \
        --weights=/weights/vggish.npz --output=gs://BUCKET/tags/part -- --runner=DataflowRunner \
        --project=PROJECT --region=REGION --temp_location=gs://BUCKET/tmp \
        --sdk_container_image=IMAGE_WITH_MLA_JAX_AND_WEIGHTS

A recording is called by its path behind the fixed part of the glob. Rows are in no order.
"""

from absl import flags

from mla_jax.commands import common_flags, console, tag_flags
from mla_jax.errors import UserError
from mla_jax.recordings.encoder_files import EncoderFiles

_STEP = common_flags.define_step()
_AVERAGE_FROM = common_flags.define_average_from()
_SEGMENT_SECONDS = common_flags.define_segment_seconds()
_ALLOW_OTHER = common_flags.define_allow_other_embeddings()
_WEIGHTS = common_flags.define_weights()
_PCA = common_flags.define_pca()
_WORKDIR = common_flags.define_workdir_of_model()
_DATA = flags.DEFINE_string("data", "", "A glob of files, local or gs://BUCKET/...")
_OUTPUT = flags.DEFINE_string("output", "", "What the names of the shards begin with.")


def main(beam_flags: list[str]) -> None:
    """Runs the pipeline as the flags say."""
    common_flags.require(_WORKDIR, _DATA, _OUTPUT)
    common_flags.require_one_of(_STEP, _AVERAGE_FROM)
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError(f"this needs Apache Beam ({error}): pip install 'mla_jax[beam]'") from error
    from mla_jax.recordings.beam import match
    from mla_jax.tagging.beam import COUNTED, Job, Work, tag_pipeline, tagger_of

    works = [Work(path, name) for path, name in match(_DATA.value)]
    job = Job(
        common_flags.one(_WORKDIR),
        tag_flags.tag_options(_SEGMENT_SECONDS.value),
        step=_STEP.value,
        average_from=_AVERAGE_FROM.value,
        allow_other_embeddings=_ALLOW_OTHER.value,
        encoder_files=EncoderFiles(_WEIGHTS.value, _PCA.value),
    )
    tagger_of(job)  # what is wrong with the run is said here, not by each worker
    console.say(f"{len(works):,} files")
    pipeline = beam.Pipeline(options=PipelineOptions(beam_flags))
    tag_pipeline(pipeline, works, job, _OUTPUT.value)
    done = pipeline.run()
    done.wait_until_finish()
    counters = done.metrics().query(beam.metrics.MetricsFilter().with_namespace(COUNTED))[
        "counters"
    ]
    counted = {found.key.metric.name: found.result for found in counters}
    if not counted.get("clips"):
        raise UserError(f"no clip could be tagged; {_OUTPUT.value}-failed.jsonl says why")
    # What never happened was not counted.
    failed = counted.get("failed", 0)
    listed = f"; {failed:,} failed, see {_OUTPUT.value}-failed.jsonl" if failed else ""
    print(f"{_OUTPUT.value}-*.parquet: {counted['clips']:,} clips or spans of recordings{listed}")
