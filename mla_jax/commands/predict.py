r"""Tags clips or sounds with a trained run: what is heard and, with --segments, when.

    mla-predict --workdir=runs/2-A-1-A --data=packed/eval \
        --output=predictions.jsonl --top_k=5

The input is sound: a file (wav, flac, ogg, mp3, ...), a folder or glob of them, or a .txt file that lists
them, which are embedded by the encoder that the run was trained with. Or it is packed clips; a folder, file
or glob of TFRecords, or of .npy or .npz files that are a recording each; or an HDF5 or .npz file of arrays.
It may be of any size, and long recordings are cut into windows. The output is JSON Lines (one line a clip),
or CSV or Parquet (one row a clip and label), by the ending of its name.

    mla-predict --workdir=runs/mine --data=field_recording.mp3 --segments --output=tags.csv

    mla-predict --workdir=runs/2-A-1-A --data=recordings.h5 \
        --output=segments.parquet --segments --threshold=validation --window=10 --hop=5

An output that ends in .tsv or .txt has one row for each event: when a label begins and ends. A .tsv has
filename, onset, offset, event_label and score, as the DCASE challenges have it; a .txt is a label track for
Audacity. A label sounds in a segment whose score reaches the threshold, or 0.5 if none is given.
"""

from absl import flags

from mla_jax.commands import cli
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.tagging import tag
from mla_jax.tagging.formats import FORMATS

_BAD_RECORDS = cli.define_bad_records()
_STEP = cli.define_step()
_AVERAGE_FROM = cli.define_average_from()
_SEGMENT_SECONDS = cli.define_segment_seconds()
_ALLOW_OTHER = cli.define_allow_other_embeddings()
_WEIGHTS = cli.define_weights()
_PCA = cli.define_pca()
_WORKDIR = cli.define_workdir_of_model()
_DATA = flags.DEFINE_string("data", "", f"{cli.CLIPS}; or sound.")
cli.formerly("input", _DATA)
_OUTPUT = flags.DEFINE_string(
    "output", "", "The .jsonl, .csv, .parquet, .tsv or .txt file to write."
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "",
    ["", *FORMATS],
    "The output's format, where its ending does not say it: dcase is that of .tsv, audacity that of .txt.",
)
_TOP_K = flags.DEFINE_integer(
    "top_k",
    None,
    "How many labels a clip or window gets at most; if not given 5, or all labels of events.",
    lower_bound=1,
)
_THRESHOLD = flags.DEFINE_string(
    "threshold",
    None,
    "Only labels that are at least so probable are reported, so a clip may get none. A number; or "
    "validation: for each class the threshold with the largest F1 on the run's validation split, kept in "
    "the run's thresholds.json.",
)
_SEGMENTS = flags.DEFINE_bool("segments", False, "Also write the scores of each label by segment.")
_WINDOW = flags.DEFINE_integer(
    "window",
    0,
    "Longer clips are cut into windows of so many segments; 0: as many as clips had in training.",
    lower_bound=0,
)
_HOP = flags.DEFINE_integer(
    "hop",
    0,
    "Segments from the start of one window to that of the next; 0: the window.",
    lower_bound=0,
)


def main() -> None:
    """Predicts as the flags say."""
    cli.require(_WORKDIR, _DATA, _OUTPUT)
    cli.require_one_of(_STEP, _AVERAGE_FROM)
    done = tag.predict_to_file(
        cli.one(_WORKDIR),
        _DATA.value,
        _OUTPUT.value,
        tag.TagOptions(
            top_k=_TOP_K.value,
            threshold=_THRESHOLD.value,
            segments=_SEGMENTS.value,
            window=_WINDOW.value,
            hop=_HOP.value,
            segment_seconds=_SEGMENT_SECONDS.value,
            format=_FORMAT.value,
        ),
        step=_STEP.value,
        average_from=_AVERAGE_FROM.value,
        bad_records=_BAD_RECORDS.value or "",
        allow_other_embeddings=_ALLOW_OTHER.value,
        encoder_files=EncoderFiles(_WEIGHTS.value, _PCA.value),
    )
    what = f"{done.clips:,} clip{'' if done.clips == 1 else 's'}"
    if done.items != done.clips:
        what += f" in {done.items:,} windows"
    if done.skipped:
        what += f", without {done.skipped:,} bad records"
    cli.tell(f"{_OUTPUT.value}: {what}", _OUTPUT.value)
