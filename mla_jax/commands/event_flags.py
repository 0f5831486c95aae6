"""The flags that say how events are made of scores."""

from typing import TYPE_CHECKING

from absl import flags

from mla_jax.commands.common_flags import refuse
from mla_jax.tagging.formats import EVENT_FORMATS, format_of

if TYPE_CHECKING:
    from mla_jax.tagging.tagger import EventOptions

_EVENTS = flags.DEFINE_bool(
    "events",
    False,
    "Write events, when labels begin and end: .tsv (DCASE), .txt (Audacity) or .jsonl, by the output's "
    "ending. A .tsv or .txt has events without it too.",
)
_RULES = flags.DEFINE_string(
    "rules",
    "",
    "Of events: a file of thresholds and the like by class, from mla-evaluate --write_rules; the flags of "
    "events go before what it says, and --threshold is not used with it.",
)
_KEEP = flags.DEFINE_float(
    "keep",
    None,
    "Of events: one that began at the threshold goes on over scores of at least this share of it, such as "
    "0.5; if not given 1.",
)
_SMOOTHING = flags.DEFINE_integer(
    "smoothing",
    None,
    "Of events: take for a segment's score the median of so many around it, an odd number; if not given 1.",
)
_LEAST_SECONDS = flags.DEFINE_float(
    "least_seconds", None, "Of events: drop those that are shorter; if not given 0."
)
_LEAST_GAP = flags.DEFINE_float(
    "least_gap",
    None,
    "Of events: join those of a label with fewer seconds between them; if not given 0.",
)


def event_options(output: str, format: str) -> "EventOptions | None":
    """What the flags say; None where no events are written.

    Args:
      output: the file of tags.
      format: its format, if that is named.

    Raises:
      UserError: a value is not valid, a flag of events is given where there are none, or the output's ending
        says no format.
    """
    # Imported here: it takes seconds, which --help need not wait for.
    from mla_jax.tagging.tagger import EventOptions

    if format_of(output, format, events=_EVENTS.value) in EVENT_FORMATS:
        return EventOptions(
            rules=_RULES.value,
            keep=_KEEP.value,
            smoothing=_SMOOTHING.value,
            least_seconds=_LEAST_SECONDS.value,
            least_gap=_LEAST_GAP.value,
        )
    of_events = (_RULES, _KEEP, _SMOOTHING, _LEAST_SECONDS, _LEAST_GAP)
    refuse(of_events, f"{output} has no events; give --events too")
    return None
