"""Where the files of an encoder are, for a model that takes sound."""

from typing import NamedTuple


class EncoderFiles(NamedTuple):
    """The files that a run does not keep.

    Attributes:
      weights: the encoder's weights; empty: where `mla-download-encoder` puts them.
      pca: principal components, if the training clips were made with some that the encoder does not bring.
    """

    weights: str = ""
    pca: str = ""


DEFAULT = EncoderFiles()
