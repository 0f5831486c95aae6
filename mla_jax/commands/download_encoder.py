r"""Fetches or converts the weights of an encoder of sound, VGGish or YAMNet.

    mla-download-encoder --encoder=vggish

fetches VGGish's checkpoint (291 MB) and PCA from Google's servers and makes one .npz of them, which needs no
TensorFlow any more. Files that are there are taken instead:

    mla-download-encoder --encoder=vggish \
        --checkpoint=vggish_model.ckpt --pca=vggish_pca_params.npz --output=vggish.npz
    mla-download-encoder --encoder=yamnet --tflite=yamnet.tflite

A command that was stopped, or lost its connection, goes on where it was when it is given again. With
--verify the weights are compared with what is published.
"""

from pathlib import Path

from absl import flags

from mla_jax.audio import published, verify
from mla_jax.audio.weights import default_path, load_weights, ways_on
from mla_jax.audioset import transfer
from mla_jax.audioset.http_file import UnavailableError
from mla_jax.commands import console
from mla_jax.errors import UserError
from mla_jax.storage import paths

_ENCODER = flags.DEFINE_enum("encoder", "vggish", sorted(published.PUBLISHED), "Which encoder.")
_OUTPUT = flags.DEFINE_string(
    "output", "", "The .npz to write; if not given, the place where encoders are looked for."
)
_CHECKPOINT = flags.DEFINE_string("checkpoint", "", "vggish_model.ckpt, if it is there.")
_PCA = flags.DEFINE_string("pca", "", "vggish_pca_params.npz, if it is there.")
_TFLITE = flags.DEFINE_string("tflite", "", "YAMNet's TFLite file.")
_VERIFY = flags.DEFINE_bool("verify", False, "Compare the weights with what is published.")
_SILENCE = flags.DEFINE_string(
    "silence",
    "",
    "For --verify: an .npy with the vector that AudioSet's release has for silence, uint8 [128].",
)
_BASE_URL = flags.DEFINE_string(
    "base_url", published.SERVER, "The server; a mirror must have the same paths."
)
_RETRIES = flags.DEFINE_integer(
    "retries",
    transfer.RETRIES,
    "How many retries in a row may bring nothing new, before it gives up.",
    lower_bound=0,
)


def main() -> None:
    """Brings the weights if they are not there, and verifies them if asked to."""
    encoder = _ENCODER.value
    output = paths.require_local(_OUTPUT.value or default_path(encoder), "--output")
    given = {"checkpoint": _CHECKPOINT.value, "pca": _PCA.value, "tflite": _TFLITE.value}
    roles = {file.role for file in published.PUBLISHED[encoder]}
    for role, path in given.items():
        if path and role not in roles:
            raise UserError(f"--{role} is no file of {encoder}; it has {', '.join(sorted(roles))}")
    files = {role: path for role, path in given.items() if path}
    if paths.as_path(output).exists():
        console.say(f"{output} is here already; remove it to make it again")
        weights = load_weights(encoder, output)
    else:
        weights = published.bring_weights(
            encoder, output, files=files, fetch=_fetch, base_url=_BASE_URL.value, say=console.say
        )
    print(f"{output}: {encoder}, sha256 of the weights {weights.checksum}")
    if _VERIFY.value:
        _verify(weights)


def _fetch(url: str, path: Path, admit: transfer.Admit) -> None:
    try:
        with console.keeps("what has arrived"):
            transfer.fetch(url, path, retries=_RETRIES.value, admit=admit, say=console.say)
    except UnavailableError as error:
        raise UserError(
            f"{error}; or fetch the files on another machine, and give them by --checkpoint and --pca; "
            f"{ways_on(_ENCODER.value)}"
        ) from error


def _verify(weights: verify.Weights) -> None:
    if weights.encoder == "vggish":
        checks = verify.verify_vggish(weights, _SILENCE.value or None)
    elif _TFLITE.value:
        checks = verify.verify_yamnet(weights, _TFLITE.value)
    else:
        raise UserError("to verify YAMNet, give its TFLite file too, by --tflite=FILE")
    print("\n".join(str(check) for check in checks))
    if not all(check.agrees for check in checks):
        raise UserError("these are not the published weights, or something is wrong with them")
