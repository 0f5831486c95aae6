"""What an encoder is: a function of examples of sound, and the facts that its embeddings carry."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np

from mla_jax.data.embedding import EMBEDDING_DTYPES, Embedding, Scaling
from mla_jax.errors import UserError

Remainder = Literal["pad", "drop"]
"""What happens to a last example that is not complete."""

LEAST_REMAINDER = 0.1
"""Seconds: less sound than this at the end makes no example; decoders leave some milliseconds too many."""


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A function that makes an embedding of each example, and what must be known of it.

    Segment i of a recording is its example that begins at `i * hop_seconds`, exactly.

    Attributes:
      name: as it is called in data, runs and messages.
      embed: takes mono examples, float32 [n, samples]; returns [n, num_features]. `embed_files` calls it with
        one n always, so a jitted function compiles once; the rows must not depend on each other.
      num_features: of an embedding.
      sample_rate: of the examples, per second.
      example_seconds: the length of an example.
      hop_seconds: from the beginning of one example to the next.
      dtype: of the embeddings: `uint8` (a byte means `(byte - 128) / 128`), `float16` or `float32`.
      postprocessing: what `embed` does behind the encoder that has this name, such as `PCA, 8 bits`.
      details: further facts that make embeddings comparable, such as checksums of weights.

    Raises:
      UserError: a length is not above zero or not a whole number of samples, or the dtype is another.

    Example: the loudness of each tenth of a second, in decibels.

        def loudness(examples):
            tenths = examples.reshape(len(examples), 10, 1600)
            return 10 * np.log10(np.square(tenths).mean(axis=2) + 1e-10)

        mine = Encoder(name="loudness", embed=loudness, num_features=10)
        embedded = embed_file("street.wav", mine)   # .embeddings [seconds, 10], .starts [seconds]

    One of log-mel values is `embed=lambda examples: network(log_mel(examples, VGGISH))`.
    """

    name: str
    embed: Callable[[Any], Any] = dataclasses.field(compare=False, repr=False)
    num_features: int
    sample_rate: int = 16_000
    example_seconds: float = 1.0
    hop_seconds: float = 1.0
    dtype: str = "float32"
    postprocessing: str = ""
    details: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.num_features < 1 or self.sample_rate < 1 or self.dtype not in EMBEDDING_DTYPES:
            raise UserError(
                f"encoder {self.name}: num_features={self.num_features}, sample_rate={self.sample_rate}, "
                f"dtype={self.dtype}: the first two must be above zero, the last one of "
                f"{', '.join(EMBEDDING_DTYPES)}"
            )
        for field in ("example_seconds", "hop_seconds"):
            samples = getattr(self, field) * self.sample_rate
            if not 0.5 <= samples < math.inf or abs(samples - round(samples)) > 1e-6 * samples:
                raise UserError(
                    f"encoder {self.name}: {field}={getattr(self, field)} must be above zero and a whole "
                    f"number of samples at {self.sample_rate} a second"
                )

    @property
    def example_samples(self) -> int:
        """The length of an example in samples."""
        return round(self.example_seconds * self.sample_rate)

    @property
    def hop_samples(self) -> int:
        """From the beginning of one example to the next, in samples."""
        return round(self.hop_seconds * self.sample_rate)

    def describe(self) -> Embedding:
        """What must travel with the embeddings."""
        return Embedding(
            dtype=self.dtype,
            num_features=self.num_features,
            scaling=Scaling.default(self.dtype),
            encoder=self.name,
            postprocessing=self.postprocessing,
            hop_seconds=self.hop_seconds,
            example_seconds=self.example_seconds,
            details={"sample_rate": str(self.sample_rate), **self.details},
        )

    def starts(self, count: int, first: int = 0) -> np.ndarray:
        """When the segments `first`, `first + 1`, ... begin, float64 [count], in seconds."""
        return np.arange(first, first + count) * self.hop_samples / self.sample_rate

    def num_segments(self, samples: int, remainder: Remainder = "pad") -> int:
        """How many segments a recording of so many samples has: one at least, if it has a sample."""
        if samples <= self.example_samples:
            return min(samples, 1)
        whole = 1 + (samples - self.example_samples) // self.hop_samples
        # What neither these examples nor the gaps between them cover.
        rest = (
            samples - (whole - 1) * self.hop_samples - max(self.example_samples, self.hop_samples)
        )
        least = LEAST_REMAINDER * self.sample_rate
        return whole + (remainder == "pad" and rest >= least)


def cut(
    blocks: Iterable[np.ndarray], encoder: Encoder, remainder: Remainder = "pad", first: int = 0
) -> Iterator[np.ndarray]:
    """Cuts a recording that comes in blocks into an encoder's examples, as they come.

    Args:
      blocks: float32 [samples] each, of any lengths.
      encoder: says how long examples are, and how far apart.
      remainder: `pad` fills the last example with zeros, if it has `LEAST_REMAINDER` of sound that no other
        has; `drop` leaves it out. A recording that is shorter than one example is always padded.
      first: the segment that the blocks begin with.

    Yields:
      float32 [example_samples]: the segments from `first` on of `encoder.num_segments`.
    """
    length, hop = encoder.example_samples, encoder.hop_samples
    held = np.zeros(0, np.float32)
    segment, samples = first, first * hop
    for block in blocks:
        samples += len(block)
        held = np.concatenate([held, block])
        while len(held) >= max(length, hop):
            yield held[:length]
            held = held[hop:]
            segment += 1
    if segment < encoder.num_segments(samples, remainder):
        yield np.pad(held[:length], (0, max(0, length - len(held))))
