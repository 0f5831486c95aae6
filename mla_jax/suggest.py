"""What is meant by a name that is not known: by what others call the same thing, else by its spelling."""

import difflib
from collections.abc import Sequence

# Of flags and settings: what other programs call them.
SYNONYMS = {
    "arch": "architecture",
    "batch": "batch_size",
    "beta1": "b1",
    "beta2": "b2",
    "bs": "batch_size",
    "checkpoint": "step",
    "ckpt": "step",
    "dataset": "data",
    "dropout": "dropout_rate",
    "ema": "average_decay",
    "ema_decay": "average_decay",
    "epochs": "steps",
    "eps": "epsilon",
    "grad_clip": "clip_norm",
    "iterations": "steps",
    "log_dir": "workdir",
    "logdir": "workdir",
    "lr": "learning_rate",
    "max_steps": "steps",
    "model_dir": "workdir",
    "num_epochs": "steps",
    "num_steps": "steps",
    "out": "output",
    "output_dir": "output",
    "pool": "pooling",
    "random_seed": "seed",
    "run": "workdir",
    "scheduler": "schedule",
    "units": "hidden_units",
    "val_fraction": "validation_fraction",
    "validation": "eval",
    "validation_split": "validation_fraction",
    "warmup": "warmup_steps",
    "wd": "weight_decay",
    "width": "hidden_units",
}


def nearest(name: str, known: Sequence[str], *, cutoff: float = 0.6) -> str:
    """The one of `known` that `name` means, or "".

    Names may have dots: `optim.lr` means `optim.learning_rate`, and `train.learning_rate` does too.

    Args:
      name: what was given.
      known: what there is; of several of the same meaning the one most alike is taken.
      cutoff: how alike in spelling names must be, 0 to 1.
    """
    last = name.rpartition(".")[2]
    for word in (last, SYNONYMS.get(last.replace("-", "_"))):
        same = [k for k in known if k.rpartition(".")[2] == word]
        if same:
            return max(same, key=lambda k: difflib.SequenceMatcher(a=name, b=k).ratio())
    return next(iter(difflib.get_close_matches(name, known, 1, cutoff)), "")


def did_you_mean(name: str, known: Sequence[str], *, cutoff: float = 0.6, before: str = "") -> str:
    """The end of a message about `name`: what was meant, `before` in front of it; or nothing."""
    near = nearest(name, known, cutoff=cutoff)
    return f"; did you mean {before}{near}?" if near else ""
