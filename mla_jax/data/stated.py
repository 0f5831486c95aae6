"""What a user states of data whose files do not say what their embeddings mean."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

from mla_jax.config import DataConfig
from mla_jax.data.embedding import UNKNOWN, Embedding, Scaling
from mla_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Stated:
    """Facts about embeddings, as `Embedding` has them; what is left out is not stated.

    Attributes:
      scaling, encoder, postprocessing, hop_seconds, example_seconds, details: as of `Embedding`.
      firmly: whether data that say otherwise are an error; else what they say goes before.
    """

    scaling: Scaling | None = None
    encoder: str = ""
    postprocessing: str = ""
    hop_seconds: float | None = None
    example_seconds: float | None = None
    details: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    firmly: bool = True

    @classmethod
    def of(cls, config: DataConfig, *, firmly: bool = True) -> Self:
        """What the settings of a run state.

        Raises:
          UserError: the scaling is no pair of numbers.
        """
        return cls(
            parse_scaling(config.scaling) if config.scaling else None,
            config.encoder,
            config.postprocessing,
            config.hop_seconds or None,
            config.example_seconds or None,
            firmly=firmly,
        )

    @classmethod
    def from_text(cls, text: str, place: str) -> Self:
        """What a file of data states itself, in JSON, such as `{"encoder": "openl3", "hop_seconds": 0.1}`.

        Raises:
          UserError: it is no such JSON; the message names the `place`.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            scaling = values.pop("scaling", None)
            values = {k: v for k, v in values.items() if k not in ("dtype", "num_features")}
            stated = cls(scaling and Scaling.from_json(scaling), **values)
            # Every fact on some embedding, which checks its value.
            stated.on(Embedding("uint8", 1, Scaling.default("uint8")))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{place} does not say what the embeddings are ({error}); it must be JSON with any of "
                "encoder, postprocessing, hop_seconds, example_seconds, scaling (offset, scale), details"
            ) from error
        return stated

    def _given(self) -> dict[str, Any]:
        names = ("scaling", "encoder", "postprocessing", "hop_seconds", "example_seconds")
        given = {name: value for name in names if (value := getattr(self, name)) not in (None, "")}
        return given | ({"details": dict(self.details)} if self.details else {})

    def on(
        self, found: Embedding, place: str = "the data", *, keeps_scaling: bool = False
    ) -> Embedding:
        """A description of data with what is stated of them besides.

        Args:
          found: what the data say.
          place: what errors call them.
          keeps_scaling: whether the scaling is what somebody chose; else, where the encoder is unknown, it is
            no more than the dtype's.

        Raises:
          UserError: the data say otherwise.
        """
        given = self._given()
        if "scaling" in given and found.encoder == UNKNOWN and not keeps_scaling:
            found = dataclasses.replace(found, scaling=given["scaling"])
        stated = dataclasses.replace(found, **given)
        difference = found.difference(stated)
        if difference and self.firmly:
            raise UserError(
                f"{place} says otherwise than what is stated of it: {difference}; state only what data do "
                "not say themselves"
            )
        return found.joined(stated)


NOTHING = Stated()


def parse_scaling(text: str) -> Scaling:
    """A scaling written as `OFFSET,SCALE`.

    Raises:
      UserError: it is not.
    """
    try:
        offset, scale = map(float, text.split(","))
    except ValueError as error:
        raise UserError(
            f"scaling {text!r} is not valid: give OFFSET,SCALE, two numbers such as 128,128; the model's "
            "input is (embedding - OFFSET) / SCALE"
        ) from error
    return Scaling(offset, scale)
