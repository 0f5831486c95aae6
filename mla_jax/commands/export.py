"""Writes a trained model as a file that other programs run, without this package.

    mla-export --workdir=runs/mine --output=tagger.stablehlo

The ending of the output says the format. Embeddings and a mask go in; the probabilities of clips and of their
segments come out. Classes, thresholds and what the embeddings are travel in the file. docs/guide_export.md
has a program for each format that tags with it.
"""

from absl import flags

from mla_jax.commands import common_flags, console
from mla_jax.export.formats import FORMATS
from mla_jax.export.write import export_run
from mla_jax.recordings.encoder_files import EncoderFiles

_STEP = common_flags.define_step()
_WEIGHTS = common_flags.define_weights()
_PCA = common_flags.define_pca()
_WORKDIR = flags.DEFINE_string("workdir", "", "The run's folder.")
_OUTPUT = flags.DEFINE_string(
    "output",
    "",
    "What to write; its ending says the format: "
    + ", ".join(f"{ending} ({form.what})" for ending, form in FORMATS.items())
    + ".",
)
_SOUND = flags.DEFINE_bool(
    "sound",
    False,
    "Put the run's encoder in front, so that sound goes in: for .stablehlo.",
)


def main() -> None:
    """Exports as the flags say."""
    common_flags.require(_WORKDIR, _OUTPUT)
    if not _SOUND.value:
        common_flags.refuse([_WEIGHTS, _PCA], "these are an encoder's; give --sound too")
    encoder_files = EncoderFiles(_WEIGHTS.value, _PCA.value)
    tagger = export_run(
        _WORKDIR.value,
        _OUTPUT.value,
        step=_STEP.value,
        sound=encoder_files if _SOUND.value else None,
    )
    console.tell(f"{_OUTPUT.value}: {tagger}", _OUTPUT.value)
