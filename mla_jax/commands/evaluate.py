"""Evaluates a trained run on a data set.

    mla-evaluate --workdir=runs/2-A-1-A --data=packed/eval --output=results.json

With --average_from the probabilities of all kept checkpoints from that step on are averaged, as in the
paper's program. Several runs, with commas between them, are averaged and used as one model:

    mla-evaluate --workdir=runs/seed0,runs/seed1,runs/seed2 --data=packed/eval

The data may be recordings, which are embedded by the run's encoder and cut into clips as long as those of
training:

    mla-evaluate --workdir=runs/sounds --data=sounds --labels=labels.csv

With --distributed=local:4, or as in training, several processes share the work; what they have done is kept
beside --output, and killed or stopped, the same command goes on.
"""

import functools
from typing import Any

from absl import flags

from mla_jax.commands import cli, common_flags, console, distributed
from mla_jax.errors import UserError
from mla_jax.recordings.encoder_files import EncoderFiles
from mla_jax.storage.parts import Share

_BAD_RECORDS = common_flags.define_bad_records()
_STEP = common_flags.define_step()
_AVERAGE_FROM = common_flags.define_average_from()
_ALLOW_OTHER = common_flags.define_allow_other_embeddings()
_LABELS = common_flags.define_labels()
_WEIGHTS = common_flags.define_weights()
_PCA = common_flags.define_pca()
_WORKDIR = common_flags.define_workdir_of_model()
_DATA = flags.DEFINE_string("data", "", f"{common_flags.CLIPS}; or sound.")
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
        encoder_files=EncoderFiles(_WEIGHTS.value, _PCA.value),
        output=_OUTPUT.value,
        show=lambda results: console.tell(_in_one_line(results), _OUTPUT.value),
    )
    if results is None:
        distributed.say_share_done(share, _OUTPUT.value)


def _in_one_line(results: dict[str, Any]) -> str:
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
    return f"{what}: {cli.scores(results)}"
