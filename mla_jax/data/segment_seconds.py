"""Seconds of a segment: what data or a run know, or else what the user says; never guessed in silence."""

import functools
import math

from absl import logging

from mla_jax.data.embedding import SAME_SECONDS, Embedding
from mla_jax.errors import UserError


def known_segment_seconds(
    *descriptions: Embedding | None, stated: float | None = None
) -> float | None:
    """Seconds from one segment to the next, of data and the run that uses them; None if nothing says.

    Args:
      descriptions: those of which the first that knows it is right.
      stated: what the user says, for descriptions that do not know it.

    Raises:
      UserError: it is stated and known, and differs; or what is stated cannot be.
    """
    if stated is not None and not 0 < stated < math.inf:
        raise UserError(
            f"segment_seconds={stated:.15g} is not valid: it must be above 0, and finite"
        )
    known = next((d.hop_seconds for d in descriptions if d is not None and d.hop_seconds), None)
    if known is not None and stated is not None and abs(known - stated) > SAME_SECONDS:
        raise UserError(
            f"segment_seconds={stated:.15g} is not what the data or the run say: a segment begins each "
            f"{known:.15g} s; leave it out"
        )
    return known if known is not None else stated


def require_segment_seconds(
    purpose: str, *descriptions: Embedding | None, stated: float | None = None
) -> float:
    """As `known_segment_seconds`; a UserError that names the purpose where nothing says it."""
    seconds = known_segment_seconds(*descriptions, stated=stated)
    if seconds is None:
        raise UserError(
            f"{purpose} needs to know how long a segment is, which neither data nor run say: give "
            "segment_seconds, or state it once, in preparing the data (prepare_data --hop_seconds)"
        )
    return seconds


@functools.lru_cache(maxsize=1)
def assumed_segment_seconds() -> float:
    """One second, for times in output that is of use without them; a warning says so, the first time."""
    logging.warning(
        "neither data nor run say how long a segment is: times are written as if each had 1 s; give "
        "segment_seconds, or state it once, in preparing the data (prepare_data --hop_seconds)"
    )
    return 1.0
