"""The flags that say what is reported of clips, for all commands that tag."""

from typing import TYPE_CHECKING

from absl import flags

from mla_jax.commands.common_flags import refuse

if TYPE_CHECKING:
    from mla_jax.tagging.tagger import EventOptions, TagOptions

_TOP_K = flags.DEFINE_integer(
    "top_k",
    None,
    "How many labels a clip or window gets at most; if not given 5, or all labels of events.",
    lower_bound=1,
)
_THRESHOLD = flags.DEFINE_string(
    "threshold",
    None,
    "Only labels that are at least so probable are reported, so a clip may get none. A number; or "
    "validation: for each class the threshold with the largest F1 on the run's validation split, kept in "
    "the run's thresholds.json.",
)
_SEGMENTS = flags.DEFINE_bool("segments", False, "Also write the scores of each label by segment.")
_SEGMENT_SCORE = flags.DEFINE_string(
    "segment_score",
    "in_context",
    "Which score a segment gets: in_context, of the clip and of windows around the segment; alone, of the "
    "segment as a clip of its own; or clip, the clip's probability repeated.",
)
_WINDOW = flags.DEFINE_integer(
    "window",
    0,
    "Longer clips are cut into windows of so many segments; 0: as many as clips had in training.",
    lower_bound=0,
)
_HOP = flags.DEFINE_integer(
    "hop",
    0,
    "Segments from the start of one window to that of the next; 0: the window.",
    lower_bound=0,
)


def tag_options(
    segment_seconds: float | None, format: str = "", events: "EventOptions | None" = None
) -> "TagOptions":
    """What the flags say, with what else a command knows.

    Raises:
      UserError: a value is not valid.
    """
    # Imported here: it takes seconds, which --help need not wait for.
    from mla_jax.tagging.tagger import TagOptions

    if not (_SEGMENTS.value or events):
        refuse([_SEGMENT_SCORE], "no segments are written; give --segments, or --events, too")
    return TagOptions(
        top_k=_TOP_K.value,
        threshold=_THRESHOLD.value,
        segments=_SEGMENTS.value,
        segment_score=_SEGMENT_SCORE.value,
        window=_WINDOW.value,
        hop=_HOP.value,
        segment_seconds=segment_seconds,
        format=format,
        events=events,
    )
