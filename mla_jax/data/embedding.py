"""`Embedding`, what the numbers of an embedding mean: it travels with clips, packed data and models."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from mla_jax.errors import UserError

EMBEDDING_DTYPES = ("uint8", "float16", "float32")
UNKNOWN = "unknown"

_WINDOW_SECONDS = 0.025
SAME_SECONDS = 1e-6
"""Hops that differ by less are the same."""


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Turns stored embeddings into model input: `(embedding - offset) / scale`, in float32."""

    offset: float
    scale: float

    def __str__(self) -> str:
        return f"({self.offset:g}, {self.scale:g})"

    def __post_init__(self) -> None:
        if not math.isfinite(self.offset) or not math.isfinite(self.scale) or not self.scale:
            raise UserError(
                f"scaling {self.offset:g}, {self.scale:g} cannot be used; both must be finite, and the "
                "scale not 0"
            )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Of plain values.

        Raises:
          LookupError, TypeError, ValueError, OverflowError: the values are not such.
        """
        return cls(float(values["offset"]), float(values["scale"]))

    @classmethod
    def default(cls, dtype: np.dtype | type | str) -> Self:
        """AudioSet's bytes become -1 ... 0.992; floats from a user's encoder stay as they are."""
        return cls(128.0, 128.0) if np.dtype(dtype) == np.uint8 else cls(0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Embedding:
    """What an embedding vector is, and which seconds of the recording it is of.

    Facts that nobody stated are unknown: they agree with everything, and nothing is guessed from them.

    Attributes:
      dtype: of the stored numbers: uint8, float16 or float32.
      num_features: M, the size of a vector.
      scaling: what turns the stored numbers into model input.
      encoder: the name of what made the vectors, such as `vggish`; `unknown` if nobody said.
      postprocessing: what was done to the encoder's output, such as `PCA, 8 bits`; empty if nothing, or if
        the encoder is unknown.
      hop_seconds: from the beginning of one segment to the next; None if unknown.
      example_seconds: how many seconds a segment hears; None if unknown.
      details: further facts by name, such as the checksum of the encoder's weights.

    Raises:
      UserError: a value cannot be.
    """

    dtype: str
    num_features: int
    scaling: Scaling
    encoder: str = UNKNOWN
    postprocessing: str = ""
    hop_seconds: float | None = None
    example_seconds: float | None = None
    details: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        """What is known, in words: `vggish (PCA, 8 bits), 128 features of uint8, a segment each 1 s`."""
        encoder = "of an unknown encoder" if self.encoder == UNKNOWN else self.encoder
        made = f"{encoder} ({self.postprocessing})" if self.postprocessing else encoder
        known = self.hop_seconds is not None
        hop = f"a segment each {self.hop_seconds:.15g} s" if known else "segments of unknown length"
        return f"{made}, {self.num_features} features of {self.dtype}, {hop}"

    def __post_init__(self) -> None:
        if self.dtype not in EMBEDDING_DTYPES or self.num_features < 1:
            raise UserError(
                f"embeddings must be one feature or more of {', '.join(EMBEDDING_DTYPES)}, not "
                f"{self.num_features} of {self.dtype}"
            )
        texts = (self.encoder, self.postprocessing, *self.details, *self.details.values())
        if not all(isinstance(text, str) for text in texts) or not self.encoder:
            raise UserError(
                f"encoder={self.encoder!r}, postprocessing={self.postprocessing!r}, "
                f"details={self.details!r} must be text"
            )
        for name in ("hop_seconds", "example_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{name} is {value}; it must be above 0 and finite")

    @classmethod
    def of(cls, embeddings: np.ndarray, scaling: Scaling | None = None, **known: Any) -> Self:
        """The description of an array [..., features]: its dtype and size, and what is `known` besides."""
        dtype = embeddings.dtype.name
        return cls(dtype, embeddings.shape[-1], scaling or Scaling.default(dtype), **known)

    def difference(self, other: Self) -> str:
        """The facts in which two differ, as `encoder vggish and yamnet; ...`; empty if they agree.

        What either does not know agrees. float16 and float32 agree, and so do lengths of examples that
        differ by less than the window of a spectrum, in which 0.96 s of frames are 0.975 s of sound.
        """
        return "; ".join(
            f"{name} {ours} and {theirs}"
            for name, ours, theirs, agree in self._compared(other)
            if not agree
        )

    def _compared(self, other: Self) -> Iterator[tuple[str, Any, Any, bool]]:
        """Every fact: its name, ours, theirs, whether they agree."""
        yield (
            "features",
            self.num_features,
            other.num_features,
            self.num_features == other.num_features,
        )
        kinds = self.dtype == "uint8", other.dtype == "uint8"
        yield "dtype", self.dtype, other.dtype, kinds[0] == kinds[1]
        yield "scaling", self.scaling, other.scaling, self.scaling == other.scaling
        both = UNKNOWN not in (self.encoder, other.encoder)
        yield "encoder", self.encoder, other.encoder, not both or self.encoder == other.encoder
        done = self.postprocessing, other.postprocessing
        known = both or all(done)
        agree = not known or done[0] == done[1]
        yield "postprocessing", done[0] or "none", done[1] or "none", agree
        for name, tolerance in (
            ("hop_seconds", SAME_SECONDS),
            ("example_seconds", _WINDOW_SECONDS),
        ):
            ours, theirs = getattr(self, name), getattr(other, name)
            yield name, ours, theirs, None in (ours, theirs) or abs(ours - theirs) <= tolerance
        for name in sorted(self.details.keys() & other.details.keys()):
            ours, theirs = self.details[name], other.details[name]
            yield name, ours, theirs, ours == theirs

    def joined(self, other: Self) -> Self:
        """What both know together, of two that agree; the dtype is ours."""
        known = other if self.encoder == UNKNOWN and not self.postprocessing else self
        return dataclasses.replace(
            self,
            encoder=known.encoder,
            postprocessing=known.postprocessing,
            hop_seconds=other.hop_seconds if self.hop_seconds is None else self.hop_seconds,
            example_seconds=self.example_seconds or other.example_seconds,
            details={**other.details, **self.details},
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values, which `from_json` reads."""
        return dataclasses.asdict(self) | {"details": dict(self.details)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `to_json` gave.

        Raises:
          LookupError, TypeError, ValueError, OverflowError: the values are not such.
        """
        return cls(**{**values, "scaling": Scaling.from_json(values["scaling"])})


AUDIOSET = Embedding(
    dtype="uint8",
    num_features=128,
    scaling=Scaling(128.0, 128.0),
    encoder="vggish",
    postprocessing="PCA, 8 bits",
    hop_seconds=1.0,
    example_seconds=0.96,
)
"""That of AudioSet's released features."""
