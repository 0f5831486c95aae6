r"""Draws what trained runs hear in one clip, second by second.

    python -m experiments.clip_map --workdir=runs/2-A-1-A --clip=-A1o1Egi20c --output=clip.png

Dark is a high score; a dot marks the clip's labels. With several runs their scores stand side by side. Given
strong labels (--events), what truly sounds is framed.
"""

from absl import flags

from experiments import cli
from mla_jax import clip_picture
from mla_jax.errors import UserError

flags.adopt_module_key_flags(cli)

_WORKDIR = flags.DEFINE_multi_string("workdir", [], "A run's folder; may be given several times.")
_CLIP = flags.DEFINE_string("clip", "", "The clip's video id.")
_OUTPUT = flags.DEFINE_string("output", "", "The picture to write: .png, .svg or .pdf.")
_DATA = flags.DEFINE_string(
    "data",
    "",
    "Where the clip is: a packed folder, records, or an HDF5 or .npz file; empty: the first run's data.eval.",
)
_EVENTS = flags.DEFINE_string(
    "events",
    "",
    "Strong labels of the data: tab-separated filename, onset, offset, event_label, in seconds.",
)


def main() -> None:
    """Draws as the flags say."""
    if not _WORKDIR.value or not _CLIP.value or not _OUTPUT.value:
        raise UserError(
            "give --workdir, a run's folder, --clip, a video id, and --output, the picture"
        )
    clip_picture.write_clip_picture(
        _WORKDIR.value, _OUTPUT.value, _CLIP.value, _DATA.value, events=_EVENTS.value
    )
    print(f"clip {_CLIP.value}: {_OUTPUT.value}")


if __name__ == "__main__":
    cli.run(main)
