"""Evaluates a trained run on a data set.

    mla-evaluate --workdir=runs/2-A-1-A --data=packed/eval --output=results.json

With --average_from the probabilities of all kept checkpoints from that step on are averaged, as in the
paper's program. Several runs, with commas between them, are averaged and used as one model:

    mla-evaluate --workdir=runs/seed0,runs/seed1,runs/seed2 --data=packed/eval

The data may be recordings, which are embedded by the run's encoder and cut into clips as long as those of
training:

    mla-evaluate --workdir=runs/sounds --data=sounds --labels=labels.csv

With --events, strong labels of some of the clips, it also says how well segment scores tell when classes
sound, beside the clip's own probability under every segment:

    mla-evaluate --workdir=runs/2-A-1-A --data=packed/eval --events=strong.tsv

With --write_rules=rules.json it also chooses thresholds on them, by which mla-predict --events makes events.

With --distributed=local:4, or as in training, several processes share the work; what they have done is kept
beside --output, and killed or stopped, the same command goes on.
"""

import functools
import textwrap
from typing import TYPE_CHECKING, Any

from absl import flags

from mla_jax.commands import common_flags, console, distributed
from mla_jax.commands.when_table import when_lines
from mla_jax.errors import UserError
from mla_jax.storage.parts import Share

if TYPE_CHECKING:
    from mla_jax.runs.when import WhenOptions

_LONGEST_NOTE = 300  # characters; the output has all of it

_BAD_RECORDS = common_flags.define_bad_records()
_STEP = common_flags.define_step()
_AVERAGE_FROM = common_flags.define_average_from()
_ALLOW_OTHER = common_flags.define_allow_other_embeddings()
_LABELS = common_flags.define_labels()
_WEIGHTS = common_flags.define_weights()
_PCA = common_flags.define_pca()
_WORKDIR = common_flags.define_workdir_of_model()
_DATA = flags.DEFINE_string("data", "", f"{common_flags.CLIPS}; or sound.")
_EVENTS = flags.DEFINE_string(
    "events",
    "",
    "Strong labels of some of the clips, a file or a folder: filename, onset, offset, event_label.",
)
_WRITE_RULES = flags.DEFINE_string(
    "write_rules",
    "",
    "With --events: a .json file to write rules of events to, thresholds by class that are chosen on these "
    "strong labels; mla-predict --events --rules takes them.",
)
_RULES = flags.DEFINE_string(
    "rules",
    "",
    "With --collar: the rules by which events are made, of --write_rules; empty: thresholds that the run "
    "chose on clips, or 0.5.",
)
_COLLAR = flags.DEFINE_float(
    "collar",
    None,
    "With --events: also event-based F1, of events that may begin and end so many seconds beside the true "
    "ones (at the end, or a fifth of their length), and PSDS, which may take minutes; needs sed_scores_eval, "
    "mla_jax[localization].",
)
_SEGMENT_SECONDS = common_flags.define_segment_seconds()
_OUTPUT = flags.DEFINE_string("output", "", "Where to write the scores, as JSON; may be left out.")


def main() -> None:
    """Evaluates as the flags say."""
    common_flags.require(_WORKDIR, _DATA)
    common_flags.require_one_of(_STEP, _AVERAGE_FROM)
    distributed.run_shares(_evaluate)


def _evaluate(share: Share | None) -> None:
    # Imported here: it takes seconds, and the parent of several processes needs none of it.
    from mla_jax.runs.spread import evaluate_share
    from mla_jax.runs.use import evaluate

    if share and not _OUTPUT.value:
        raise UserError("give --output: several processes keep what they have done beside it")
    score = functools.partial(evaluate_share, share) if share else evaluate
    results = score(
        common_flags.one(_WORKDIR),
        _DATA.value,
        step=_STEP.value,
        average_from=_AVERAGE_FROM.value,
        bad_records=_BAD_RECORDS.value or "",
        allow_other_embeddings=_ALLOW_OTHER.value,
        labels=_LABELS.value,
        when=_when(),
        encoder_files=common_flags.encoder_files(_WEIGHTS, _PCA, _DATA.value),
        output=_OUTPUT.value,
        show=_show,
    )
    if results is None:
        distributed.say_share_done(share, _OUTPUT.value)


def _when() -> "WhenOptions | None":
    from mla_jax.runs.when import WhenOptions

    if _EVENTS.value:
        return WhenOptions(
            _EVENTS.value,
            _SEGMENT_SECONDS.value,
            _WRITE_RULES.value,
            _RULES.value,
            _COLLAR.value,
        )
    about = (_SEGMENT_SECONDS, _WRITE_RULES, _RULES, _COLLAR)
    common_flags.refuse(about, "this is about strong labels; give --events too")
    return None


def _show(results: dict[str, Any]) -> None:
    console.tell(_in_one_line(results), _OUTPUT.value)
    if when := results.get("when"):
        for note in when["notes"]:
            console.say(textwrap.shorten(note, _LONGEST_NOTE, placeholder=" ..."))
        for line in when_lines(when):
            console.tell(line, _OUTPUT.value)


def _in_one_line(results: dict[str, Any]) -> str:
    from mla_jax.evaluation import summaries

    averaged = results["steps_averaged"]
    runs = len({model["workdir"] for model in results["models"]})
    what = f"step {averaged[0]}"
    if runs > 1:
        what = f"average of {len(averaged)} checkpoints of {runs} runs"
    elif len(averaged) > 1:
        what = f"average of {len(averaged)} checkpoints, steps {averaged[0]} to {averaged[-1]}"
    elif _AVERAGE_FROM.value:
        what += f", the only checkpoint kept from {_AVERAGE_FROM.value} on: nothing to average"
    if results["skipped_records"]:
        what += f", without {results['skipped_records']:,} bad records"
    return f"{what}: {summaries.in_words(results)}"
