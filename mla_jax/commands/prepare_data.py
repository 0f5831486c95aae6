r"""Packs embeddings in files of many forms into a folder that opens at once.

    mla-prepare-data --data=audioset_v1_embeddings/bal_train \
        --output=packed/bal_train

    mla-prepare-data --data=openl3_output --labels=labels.csv --max_segments=97 \
        --output=packed/mine

    mla-prepare-data --verify=packed/bal_train

The last command reads a packed folder, and compares every file with its checksum.

After packing, nothing needs TensorFlow or the records any more. Taken are TFRecords; a folder of .npy or .npz
files, a recording each; and one HDF5 or .npz file of the arrays x, y and video_id_list, as the original
programs pack them. docs/guide_data.md says more.
"""

from absl import flags

from mla_jax.commands import common_flags
from mla_jax.config import DataConfig
from mla_jax.data.packing import pack_data
from mla_jax.data.sources import open_packed
from mla_jax.storage import outputs

_DATA = flags.DEFINE_string("data", "", f"What to pack: {common_flags.RECORDS_OR_ARRAYS}.")
common_flags.formerly("input", _DATA)
_OUTPUT = flags.DEFINE_string("output", "", "The folder to write; must not exist yet.")
_CLASS_LIST = flags.DEFINE_string(
    "class_list", "", "A class_labels_indices.csv; empty: the one found beside the data, if any."
)
_LABELS = flags.DEFINE_string(
    "labels",
    "",
    "A CSV file with the columns filename and labels, for recordings in .npy or .npz files of their own; "
    "empty: labels.csv beside them.",
)
_NUM_CLASSES = flags.DEFINE_integer(
    "num_classes",
    0,
    "K; 0: the length of the class list, else that of an array file, else AudioSet's 527.",
    lower_bound=0,
)
_MAX_SEGMENTS = flags.DEFINE_integer(
    "max_segments",
    10,
    "T for records: shorter clips are filled up to it. An array file has its own.",
    lower_bound=1,
)
_FEATURE = flags.DEFINE_string(
    "feature",
    "audio_embedding",
    "The feature list of records that holds their segments; YouTube-8M's are audio and rgb.",
)
_LONG_CLIPS = flags.DEFINE_enum(
    "long_clips",
    "error",
    ["error", "crop"],
    "What to do with clips of more segments: stop, or keep the first max_segments.",
)
_BAD_RECORDS = flags.DEFINE_enum(
    "bad_records",
    "error",
    ["error", "skip"],
    "What to do with records that cannot be used: stop, or leave them out and list them in "
    "skipped_records.jsonl, in the output.",
)
_ENCODER = flags.DEFINE_string(
    "encoder",
    "",
    "What made the embeddings, if the data do not say: a name such as openl3, for which runs and data are "
    "compared.",
)
_POSTPROCESSING = flags.DEFINE_string(
    "postprocessing", "", "What was done behind the encoder, such as: PCA, 8 bits."
)
_HOP_SECONDS = flags.DEFINE_float(
    "hop_seconds", 0.0, "Seconds from one segment to the next, if the data do not say."
)
_EXAMPLE_SECONDS = flags.DEFINE_float(
    "example_seconds", 0.0, "Seconds that a segment hears, if the data do not say."
)
_SCALING = flags.DEFINE_string(
    "scaling",
    "",
    "OFFSET,SCALE, if the data do not say: the model's input is (embedding - OFFSET) / SCALE. Empty: 128,128 "
    "for bytes, 0,1 for floats.",
)
_NO_LABEL = flags.DEFINE_enum(
    "no_label",
    "error",
    ["error", "background"],
    "What a record without a label is: one that cannot be used, or a clip of none of the classes, as it is "
    "in all other data.",
)
_OF_PACKING = (
    *(_DATA, _OUTPUT, _CLASS_LIST, _LABELS, _NUM_CLASSES, _MAX_SEGMENTS, _FEATURE, _LONG_CLIPS),
    *(_BAD_RECORDS, _ENCODER, _POSTPROCESSING, _HOP_SECONDS, _EXAMPLE_SECONDS, _SCALING, _NO_LABEL),
)
_VERIFY = flags.DEFINE_string(
    "verify", "", "A packed folder to check, every byte of it, instead of packing one."
)


def main() -> None:
    """Packs, or verifies, as the flags say."""
    if _VERIFY.value:
        common_flags.refuse(_OF_PACKING, "--verify checks a folder as it is; give it alone")
        clips = open_packed(_VERIFY.value, verify=True)
        print(f"{_VERIFY.value} is as it was written: {len(clips):,} clips")
        return
    common_flags.require(_DATA, _OUTPUT)
    outputs.require_new_folder(_OUTPUT.value)
    config = DataConfig(
        class_list=_CLASS_LIST.value,
        labels=_LABELS.value,
        num_classes=_NUM_CLASSES.value,
        feature=_FEATURE.value,
        max_segments=_MAX_SEGMENTS.value,
        long_clips=_LONG_CLIPS.value,
        bad_records=_BAD_RECORDS.value,
        encoder=_ENCODER.value,
        postprocessing=_POSTPROCESSING.value,
        hop_seconds=_HOP_SECONDS.value,
        example_seconds=_EXAMPLE_SECONDS.value,
        scaling=_SCALING.value,
        no_label=_NO_LABEL.value,
    )
    print("\n".join(pack_data(_DATA.value, _OUTPUT.value, config)))
