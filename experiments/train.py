r"""Trains a model in a folder, or goes on with one, and evaluates it.

    python -m experiments.train --preset=yu2018_equations:2-A-1-A --config.data.train=packed/bal_train \
        --config.data.eval=packed/eval --config.train.steps=1000 --workdir=runs/2-A-1-A

SIGTERM and SIGINT make it save at the step it is at and leave with exit code 75: start it again to go on.
A second signal ends it at once.

Every field of `mla_jax.config.Config` is a flag; `--preset` chooses what the others start from.
"""

from absl import flags

from experiments import cli, distributed
from mla_jax.config import Config
from mla_jax.errors import UserError

_CONFIG = cli.define_config()
flags.adopt_module_key_flags(cli)
flags.adopt_module_key_flags(distributed)
_WORKDIR = flags.DEFINE_string("workdir", "", "The run's folder: settings, metrics, checkpoints.")


def main() -> None:
    """Trains as the flags say."""
    if not _WORKDIR.value:
        raise UserError("give --workdir, the folder for this run")
    config = _CONFIG()
    distributed.run(lambda: _train(config))


def _train(config: Config) -> None:
    # Not before: the parent of several processes needs none of it, and it takes seconds.
    from mla_jax import reporting, runs
    from mla_jax.training import processes
    from mla_jax.training.interruption import StopOnSignal

    with StopOnSignal() as should_stop:
        results = runs.train(config, _WORKDIR.value, say=cli.say, should_stop=should_stop)
    if not processes.is_main():
        return
    if results["evaluated_on"] is None:
        print(f"step {results['step']}, not evaluated: see {_WORKDIR.value}")
    else:
        cli.say(f"all figures: {_WORKDIR.value}/results.json")
        print(
            f"step {results['step']} ({results['step_chosen_by']}) on {results['evaluated_on']}: "
            f"mAP {results['mAP']:.4f}, AUC {results['AUC']:.4f}, d-prime {results['d_prime']:.3f}, "
            f"{results['num_clips']:,} clips"
        )
    reporting.add_to_tensorboard(_WORKDIR.value)


if __name__ == "__main__":
    cli.run(main)
