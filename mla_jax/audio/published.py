"""The published files of each encoder: where they are, what is said of them, and how they become weights."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from mla_jax.audio.convert import convert_vggish, convert_yamnet
from mla_jax.audio.weights import Weights, save_weights
from mla_jax.errors import UserError
from mla_jax.storage.disk import require_room
from mla_jax.storage.locks import one_writer

SERVER = "https://storage.googleapis.com"


@dataclasses.dataclass(frozen=True)
class PublishedFile:
    """A file that an encoder's weights come from.

    Attributes:
      role: what it is: `checkpoint`, `pca` or `tflite`.
      name: as it is called.
      bucket: of Google's, where it is; empty if it is on none that we know.
      size: in bytes, as reported; 0 if unknown.
      sha256: as third parties report it, in hexadecimal; we could not compare it with the real one.
    """

    role: str
    name: str
    bucket: str = ""
    size: int = 0
    sha256: str = ""


PUBLISHED = {
    "vggish": (
        PublishedFile(
            role="checkpoint",
            name="vggish_model.ckpt",
            bucket="audioset",
            size=291_108_469,
            sha256="0962b1914e3e053922d957c45bc84a78c985765641dc6bceeeb3a7d8dfecfdf6",
        ),
        PublishedFile(
            role="pca",
            name="vggish_pca_params.npz",
            bucket="audioset",
            size=73_020,
            sha256="4d878af3e306defbfb37095365aa7e5a6cecb86bad13e859e626151c4e6a8b9d",
        ),
    ),
    "yamnet": (PublishedFile(role="tflite", name="yamnet.tflite"),),
}

CONVERT: dict[str, Callable[..., Weights]] = {"vggish": convert_vggish, "yamnet": convert_yamnet}

Fetch = Callable[..., object]
"""Brings a file: `mla_jax.audioset.transfer.fetch(url, path, admit=...)`."""


def bring_weights(
    encoder: str,
    output: str | os.PathLike[str],
    *,
    files: Mapping[str, str],
    fetch: Fetch,
    base_url: str = SERVER,
    say: Callable[[str], None] = print,
) -> Weights:
    """Makes an encoder's .npz of its published files, which are fetched where they are not given.

    A published file beside `output` is used, and left. What is fetched lies there, as `<name>.fetched`, until
    the .npz is whole; a transfer that was stopped goes on.

    Args:
      encoder: a key of `PUBLISHED`.
      output: the .npz.
      files: paths of files that are there, by role.
      fetch: brings a file, resuming what is there of it.
      base_url: the server, if not Google's: a mirror with the same paths.
      say: takes a line for the user; a warning begins with `warning:`.

    Raises:
      UserError: a file cannot be had, or is not of this encoder.
    """
    output = Path(output)
    with one_writer(output.parent):
        fetched: list[Path] = []
        paths = []
        for file in PUBLISHED[encoder]:
            path = Path(files.get(file.role, output.parent / file.name))
            if file.role not in files and not path.exists():
                path = path.with_name(f"{file.name}.fetched")
                fetched.append(path)
                if not path.exists():
                    _bring(file, path, base_url, fetch)
            paths.append(path)
        weights = CONVERT[encoder](*paths)
        for file, path in zip(PUBLISHED[encoder], paths, strict=True):
            _compare(file, path, weights.sources[file.role], say)
        save_weights(weights, output)
        for path in fetched:
            path.unlink()
    return weights


def _bring(file: PublishedFile, path: Path, base_url: str, fetch: Fetch) -> None:
    if not file.bucket:
        raise UserError(
            f"we know no place that has {file.name}; give the file by --{file.role}=FILE"
        )

    def admit(size: int, missing: int) -> None:
        require_room(path.parent, (missing, "to fetch"), (size, "to convert"))

    fetch(f"{base_url.rstrip('/')}/{file.bucket}/{file.name}", path, admit=admit)


def _compare(file: PublishedFile, path: Path, sha256: str, say: Callable[[str], None]) -> None:
    if not file.sha256:
        say(f"{path}: sha256 {sha256}; none is reported to compare it with")
    elif sha256 == file.sha256:
        say(f"{path}: sha256 {sha256}, as reported")
    else:
        say(
            f"warning: {path} has {path.stat().st_size:,} bytes and the sha256 {sha256}, not "
            f"{file.size:,} and {file.sha256}, which others report of {file.name}, and we could not verify"
        )
