r"""Writes a report of trained runs: one HTML file that loads nothing, to look at, keep or send.

    mla-report --workdir=runs/2-A-1-A --workdir=runs/average --output=report.html

It has settings and data, scores with their intervals, comparisons of the runs, curves, a table of every
class, how the levels are weighed, and, of the first run, example clips with attention maps. If the eval clips
are gone, what needs them is left out, and the report says so. With --data=sounds --labels=labels.csv the runs
are evaluated on recordings, of which those of the examples are drawn and can be heard.
"""

from absl import flags

from mla_jax.commands import common_flags, console
from mla_jax.report.write import write_report

_SOUNDS = common_flags.define_sounds()
_SEGMENT_SECONDS = common_flags.define_segment_seconds()
_ALLOW_OTHER = common_flags.define_allow_other_embeddings()
_LABELS = common_flags.define_labels()
_WEIGHTS = common_flags.define_weights()
_PCA = common_flags.define_pca()
_WORKDIR = common_flags.define_workdirs_of_models()
_OUTPUT = flags.DEFINE_string("output", "", "The HTML file to write.")
_DATA = flags.DEFINE_string(
    "data",
    "",
    f"What to evaluate on. {common_flags.CLIPS}; or sound. Empty: the runs' own data.eval, if it is "
    "still there.",
)
_CLASSES = flags.DEFINE_multi_string(
    "class",
    [],
    "Name or index of a class whose precision-recall curve is shown; may be given several times; empty: "
    "nine, from the most frequent to the rarest.",
)
_EVENTS = flags.DEFINE_string(
    "events",
    "",
    "Strong labels of the clips, if there are any: tab-separated filename, onset, offset, event_label. Then "
    "the maps frame what truly sounds, and a table says how well each run tells when it sounds.",
)


def main() -> None:
    """Reports as the flags say."""
    common_flags.require(_WORKDIR, _OUTPUT)
    report = write_report(
        _WORKDIR.value,
        _OUTPUT.value,
        _DATA.value,
        classes=_CLASSES.value,
        events=_EVENTS.value,
        sounds=_SOUNDS.value,
        segment_seconds=_SEGMENT_SECONDS.value,
        allow_other_embeddings=_ALLOW_OTHER.value,
        labels=_LABELS.value,
        encoder_files=common_flags.encoder_files(_WEIGHTS, _PCA, _DATA.value),
    )
    for note in report.notes:
        console.say(note)
    names = ", ".join(run.name for run in report.runs)
    console.tell(f"a report of {names}: {_OUTPUT.value}", _OUTPUT.value)
