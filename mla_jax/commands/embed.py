r"""Embeds recordings: sound files in, packed clips out, to train on or to tag.

    mla-embed --data=recordings --encoder=vggish --output=packed/recordings

An input is a sound file (wav, flac, ogg, mp3, ...), a folder with all folders in it, a glob, or a .txt file
that lists sound files; several are given by several --data. A clip is called as its file, by its path within
the folder that was named. Killed or stopped, the same command goes on where it was.

    mla-embed --data=sounds --encoder=yamnet --labels=labels.csv \
        --clip_seconds=10 --output=packed/train

makes a training set. The labels are a CSV with the columns filename and labels; several labels of a file
stand behind semicolons, or in lines of their own. Every clip of a recording gets the recording's labels.
"""

from absl import flags

from mla_jax.commands import common_flags, console
from mla_jax.errors import UserError

_WEIGHTS = common_flags.define_weights()
_PCA = common_flags.define_pca()
_DATA = flags.DEFINE_multi_string(
    "data",
    [],
    "A sound file, a folder or glob of them, or a .txt file of their names; may be given several times.",
)
common_flags.formerly("input", _DATA)
_OUTPUT = flags.DEFINE_string(
    "output", "", "The packed folder or .tfrecord file to write; must not exist yet."
)
_ENCODER = flags.DEFINE_string(
    "encoder",
    "vggish",
    "vggish, yamnet, log_mel_statistics (which needs no weights), or package.module:attribute of your own.",
)
_HOP_SECONDS = flags.DEFINE_float(
    "hop_seconds", None, "From one segment to the next; if not given, the encoder's own."
)
_LABELS = flags.DEFINE_string("labels", "", "A CSV of labels: filename,labels.")
_CLASS_LIST = flags.DEFINE_string(
    "class_list",
    "",
    "A class_labels_indices.csv that the labels are of; empty: the names in the labels, sorted.",
)
_FIT_PCA = flags.DEFINE_string(
    "fit_pca",
    "",
    "An .npz to write: principal components are fitted on the embeddings, and the clips are bytes; other "
    "recordings are embedded alike with --pca of this file. For encoders that bring none.",
)
_PCA_FEATURES = flags.DEFINE_integer(
    "pca_features", 128, "For --fit_pca: how many features are kept.", lower_bound=1
)
_CLIP_SECONDS = flags.DEFINE_float(
    "clip_seconds",
    0.0,
    "Recordings are cut into clips so long; 0: each is one clip.",
    lower_bound=0.0,
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", 32, "Examples that the encoder takes at a time.", lower_bound=1
)
_THREADS = flags.DEFINE_integer("threads", 2, "Files that are decoded at once.", lower_bound=1)


def main() -> None:
    """Embeds as the flags say."""
    common_flags.require(_DATA, _OUTPUT)
    from mla_jax.audio.encoders import make_encoder
    from mla_jax.recordings.embed import EmbedOptions, embed_recordings

    if _CLASS_LIST.value and not _LABELS.value:
        raise UserError("--class_list says what labels mean; give --labels too")
    if not _FIT_PCA.value:
        common_flags.refuse(
            [_PCA_FEATURES], "no principal components are fitted; give --fit_pca too"
        )
    if _FIT_PCA.value and _PCA.value:
        raise UserError("--fit_pca fits a PCA and --pca takes one that is there; give one of them")
    options = EmbedOptions(
        clip_seconds=_CLIP_SECONDS.value,
        labels=_LABELS.value,
        class_list=_CLASS_LIST.value,
        fit_pca=_FIT_PCA.value,
        pca_features=_PCA_FEATURES.value,
        batch_size=_BATCH_SIZE.value,
        threads=_THREADS.value,
    )
    encoder = make_encoder(
        _ENCODER.value,
        weights=_WEIGHTS.value or None,
        hop_seconds=_HOP_SECONDS.value,
        pca=_PCA.value or None,
    )
    with console.keeps("what is finished"):
        account = embed_recordings(_DATA.value, _OUTPUT.value, encoder, options, say=console.say)
    print("\n".join([f"embedded into {_OUTPUT.value}", *account.lines(_LABELS.value)]))
