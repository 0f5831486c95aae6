r"""Trains a model in a folder, or continues a run that is there, and evaluates it.

    mla-train --preset=yu2018_equations:2-A-1-A --config.data.train=packed/bal_train \
        --config.data.eval=packed/eval --config.train.steps=1000 --workdir=runs/2-A-1-A

At SIGTERM or SIGINT it saves a checkpoint of the current step and exits with code 75; the same command
continues. A second signal ends it at once.

Every field of `mla_jax.config.Config` is a flag; `--preset` chooses the values of those that are not given.
"""

from absl import flags

from mla_jax.commands import common_flags, console, distributed
from mla_jax.config import Config

_CONFIG = common_flags.define_config()
_ALLOW_OTHER = common_flags.define_allow_other_embeddings()
_WORKDIR = flags.DEFINE_string("workdir", "", "The run's folder: settings, metrics, checkpoints.")


def main() -> None:
    """Trains as the flags say."""
    common_flags.require(_WORKDIR)
    config = _CONFIG()
    distributed.run(lambda: _train(config))


def _train(config: Config) -> None:
    # Imported here: it takes seconds, and the parent of several processes needs none of it.
    from mla_jax.evaluation import summaries
    from mla_jax.parallel import processes
    from mla_jax.parallel.signals import StopOnSignal
    from mla_jax.report.tensorboard import add_to_tensorboard
    from mla_jax.runs.folder import RunFolder
    from mla_jax.runs.train import train

    with StopOnSignal(distributed.say_stopping) as should_stop:
        results = train(
            config,
            _WORKDIR.value,
            allow_other_embeddings=_ALLOW_OTHER.value,
            say=console.say,
            should_stop=should_stop,
        )
    if not processes.is_main():
        return
    if results["evaluated_on"] is None:
        print(
            f"step {results['step']}, not evaluated, since no eval data were named: "
            f"mla-evaluate --workdir={_WORKDIR.value} --data=... does it"
        )
    else:
        console.say(f"all scores: {RunFolder(_WORKDIR.value).results_file}")
        print(
            f"step {results['step']} ({results['step_chosen_by']}) on {results['evaluated_on']}: "
            f"{summaries.in_words(results)}"
        )
    try:
        add_to_tensorboard(_WORKDIR.value)
    except Exception as error:  # the run is finished: what is only looked at must not fail it
        console.say(f"warning: no pictures for TensorBoard: {' '.join(str(error).split())}")
