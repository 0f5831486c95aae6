r"""Draws the scores of one clip by trained runs, segment by segment.

    mla-clip-map --workdir=runs/2-A-1-A --clip=-A1o1Egi20c --output=clip.png

Dark is a high score; a dot marks the clip's labels. Several runs are drawn side by side. With strong labels
(--events), what truly sounds is framed.
"""

from absl import flags

from mla_jax.commands import common_flags, console
from mla_jax.report import clip_picture

_SOUNDS = common_flags.define_sounds()
_SEGMENT_SECONDS = common_flags.define_segment_seconds()
_ALLOW_OTHER = common_flags.define_allow_other_embeddings()
_WEIGHTS = common_flags.define_weights()
_PCA = common_flags.define_pca()
_WORKDIR = common_flags.define_workdirs_of_models()
_CLIP = flags.DEFINE_string("clip", "", "The clip's video id.")
_OUTPUT = flags.DEFINE_string("output", "", "The picture to write: .png, .svg or .pdf.")
_DATA = flags.DEFINE_string(
    "data",
    "",
    f"Where the clip is. {common_flags.CLIPS}; or sound. Empty: the first run's data.eval.",
)
_START_TIME = flags.DEFINE_float(
    "start_time",
    None,
    "Where the clip starts, in seconds into the video; needed where several clips have its video id.",
)
_EVENTS = flags.DEFINE_string(
    "events",
    "",
    "Strong labels of the data: tab-separated filename, onset, offset, event_label, in seconds.",
)


def main() -> None:
    """Draws as the flags say."""
    common_flags.require(_WORKDIR, _CLIP, _OUTPUT)
    notes = clip_picture.write_clip_picture(
        _WORKDIR.value,
        _OUTPUT.value,
        _CLIP.value,
        _DATA.value,
        start_time=_START_TIME.value,
        events=_EVENTS.value,
        sounds=_SOUNDS.value,
        segment_seconds=_SEGMENT_SECONDS.value,
        allow_other_embeddings=_ALLOW_OTHER.value,
        encoder_files=common_flags.encoder_files(_WEIGHTS, _PCA, _DATA.value),
    )
    for note in notes:
        console.say(note)
    console.tell(f"clip {_CLIP.value}: {_OUTPUT.value}", _OUTPUT.value)
