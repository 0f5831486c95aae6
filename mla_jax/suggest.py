"""What is meant by a name that is not known: by what others call the same thing, else by its spelling."""

import difflib
from collections.abc import Sequence

SYNONYMS = {
    "architecture": "arch blocks depth layers model n_layers network num_layers",
    "average_decay": "ema ema_decay",
    "b1": "beta1 momentum",
    "b2": "beta2",
    "batch_size": "batch bs minibatch minibatch_size",
    "block_norm": "batch_norm batchnorm bn norm",
    "checkpoint_every": "save_every save_interval save_steps",
    "clip_norm": "clip_grad grad_clip gradient_clipping max_grad_norm",
    "data": "audio data_path dataset file files in recording recordings wav",
    "debug": "traceback verbose",
    "devices": "gpu gpus num_devices num_gpus",
    "dropout_rate": "drop dropout p_drop",
    "epsilon": "eps",
    "eval": "eval_data test val valid validation validation_data",
    "eval_every": "eval_interval eval_steps val_every",
    "hidden_units": "hidden hidden_dim hidden_size units width",
    "learning_rate": "lr step_size",
    "num_classes": "classes n_classes",
    "output": "out output_dir output_file output_path result",
    "patience": "early_stopping",
    "pooling": "attention pool",
    "schedule": "lr_schedule lr_scheduler scheduler",
    "seed": "random_seed random_state rng_seed",
    "step": "checkpoint ckpt",
    "steps": "epoch epochs iterations iters max_epochs "
    "max_steps n_epochs n_steps num_epochs num_steps train_steps",
    "top_k": "k topk",
    "train": "data dataset train_data training training_data",
    "validation_fraction": "val_fraction validation_split",
    "warmup_steps": "warmup",
    "weight_decay": "decay regularization wd",
    "workdir": "checkpoint_dir log_dir logdir model model_dir model_path run run_dir save_dir",
}
"""What other programs call a flag or a setting, by its name here."""


def nearest(name: str, known: Sequence[str], *, cutoff: float = 0.6) -> str:
    """The one of `known` that `name` means, or "".

    Names may have dots: `optim.lr` means `optim.learning_rate`, and `train.learning_rate` does too.

    Args:
      name: what was given.
      known: what there is; of several of the same meaning the one most alike is taken.
      cutoff: how alike in spelling names must be, 0 to 1.
    """
    last = name.rpartition(".")[2]
    plain = last.replace("-", "_")
    meant = [word for word, others in SYNONYMS.items() if plain in others.split()]
    for words in ([last, plain], meant):
        same = [k for k in known if k.rpartition(".")[2] in words]
        if same:
            return max(same, key=lambda k: difflib.SequenceMatcher(a=name, b=k).ratio())
    return next(iter(difflib.get_close_matches(name, known, 1, cutoff)), "")


def did_you_mean(name: str, known: Sequence[str], *, cutoff: float = 0.6, before: str = "") -> str:
    """The end of a message about `name`: what was meant, `before` in front of it; or nothing."""
    near = nearest(name, known, cutoff=cutoff)
    return f"; did you mean {before}{near}?" if near else ""
