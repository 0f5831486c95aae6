"""`Embedding`, what the numbers of an embedding mean: it travels with clips, packed data and models."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from mla_jax.errors import UserError

EMBEDDING_DTYPES = ("uint8", "float16", "float32")
UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Turns stored embeddings into model input: `(embedding - offset) / scale`, in float32."""

    offset: float
    scale: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.offset) or not math.isfinite(self.scale) or not self.scale:
            raise UserError(
                f"scaling {self.offset:g}, {self.scale:g} cannot be used; both must be finite, and the "
                "scale not 0"
            )

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

    def __post_init__(self) -> None:
        if self.dtype not in EMBEDDING_DTYPES or self.num_features < 1:
            raise UserError(
                f"embeddings must be one feature or more of {', '.join(EMBEDDING_DTYPES)}, not "
                f"{self.num_features} of {self.dtype}"
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

    def to_json(self) -> dict[str, Any]:
        """As plain values, which `from_json` reads."""
        return dataclasses.asdict(self) | {"details": dict(self.details)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `to_json` gave.

        Raises:
          LookupError, TypeError, ValueError, UserError: the values are not such.
        """
        scaling = Scaling(float(values["scaling"]["offset"]), float(values["scaling"]["scale"]))
        return cls(**{**values, "scaling": scaling})
