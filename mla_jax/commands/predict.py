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

With --distributed=local:4, or as in training, several processes share the work; what they have done is kept
beside the output, and killed or stopped, the same command goes on.

With --events the output says when labels begin and end. A .tsv has a row for each event, filename, onset,
offset, event_label and score, as the DCASE challenges have it; a .txt is a label track for Audacity; a .jsonl
has a line for each recording, with its events. (A .tsv or .txt has events without the flag, too.)

    mla-predict --workdir=runs/mine --data=field_recording.mp3 --events --output=events.jsonl \
        --threshold=0.4 --keep=0.5 --smoothing=3 --least_seconds=2 --least_gap=1

An event begins at a score that reaches the threshold, 0.5 if none is given, and goes on over scores of at
least --keep of it. --rules=FILE has thresholds by class, chosen on strong labels by mla-evaluate
--write_rules.
"""

import functools

from absl import flags

from mla_jax.commands import common_flags, console, distributed, event_flags, tag_flags
from mla_jax.storage.parts import Share
from mla_jax.tagging.formats import FORMATS

_BAD_RECORDS = common_flags.define_bad_records()
_STEP = common_flags.define_step()
_AVERAGE_FROM = common_flags.define_average_from()
_SEGMENT_SECONDS = common_flags.define_segment_seconds()
_ALLOW_OTHER = common_flags.define_allow_other_embeddings()
_WEIGHTS = common_flags.define_weights()
_PCA = common_flags.define_pca()
_WORKDIR = common_flags.define_workdir_of_model()
_DATA = flags.DEFINE_string("data", "", f"{common_flags.CLIPS}; or sound.")
common_flags.formerly("input", _DATA)
_OUTPUT = flags.DEFINE_string(
    "output", "", "The .jsonl, .csv, .parquet, .tsv or .txt file to write."
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "",
    ["", *FORMATS],
    "The output's format, where its ending does not say it: dcase is that of .tsv, audacity that of .txt, "
    "events that of .jsonl with --events.",
)


def main() -> None:
    """Predicts as the flags say."""
    common_flags.require(_WORKDIR, _DATA, _OUTPUT)
    common_flags.require_one_of(_STEP, _AVERAGE_FROM)
    distributed.run_shares(_predict)


def _predict(share: Share | None) -> None:
    # Imported here: it takes seconds, and the parent of several processes needs none of it.
    from mla_jax.tagging.spread import predict_share
    from mla_jax.tagging.tag import predict_to_file

    events = event_flags.event_options(_OUTPUT.value, _FORMAT.value)
    predict = functools.partial(predict_share, share) if share else predict_to_file
    done = predict(
        common_flags.one(_WORKDIR),
        _DATA.value,
        _OUTPUT.value,
        tag_flags.tag_options(_SEGMENT_SECONDS.value, _FORMAT.value, events),
        step=_STEP.value,
        average_from=_AVERAGE_FROM.value,
        bad_records=_BAD_RECORDS.value or "",
        allow_other_embeddings=_ALLOW_OTHER.value,
        encoder_files=common_flags.encoder_files(_WEIGHTS, _PCA, _DATA.value),
    )
    if done is None:
        distributed.say_share_done(share, _OUTPUT.value)
        return
    what = str(done.events or f"{done.clips:,} clip{'' if done.clips == 1 else 's'}")
    if done.items != done.clips and not done.events:
        what += f" in {done.items:,} windows"
    if done.skipped:
        what += f", without {done.skipped:,} bad records"
    console.tell(f"{_OUTPUT.value}: {what}", _OUTPUT.value)
