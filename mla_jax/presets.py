"""Named settings: the published forms of the model, and the baselines, each with its source.

`preset("yu2018")` has its own architecture, `preset("yu2018:6-A")` is the same with another; any architecture
string will do. `preset("6-A")` is the default preset with it. `python -m experiments.table1` trains all of
them, and makes a table of their scores.
"""

import dataclasses
import re
from collections.abc import Callable, Collection
from typing import Any

from mla_jax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    one_of,
    parse_architecture,
)
from mla_jax.errors import UserError


def yu2018() -> Config:
    """The program that the paper's authors published (Yu, Barsim, Kong, Yang, 2018, arXiv:1803.02353).

    Blocks of 600 units with dropout 0.4; batch normalisation at the input, in the blocks, in both maps of
    every head and at the output; attention by softmax over the classes; the output layer sees the deepest
    level first. Batches of 500, balanced over classes; Adam at 1e-3. Differs from the paper's text by
    the batch normalisation behind the blocks. One published state of the program also penalises the
    blocks' kernels: `optim.l2=1e-3` does so.

    Paper's 2-A-1-A on two million clips: mAP 0.360, AUC 0.970, d-prime 2.660.
    """
    return Config()


def yu2018_equations() -> Config:
    """The paper's text: batch normalisation at the input and in the blocks only, levels joined as Eq. 4.

    Otherwise as `yu2018`, except that the outputs have a plain bias. It starts at the log-odds of each
    class's share of the training clips; `--config.model.prior_bias=False` starts it at zero, as in the paper.
    """
    return Config(
        model=ModelConfig(
            head_norm=False, output_norm=False, join="shallowest_first", prior_bias=True
        )
    )


def best() -> Config:
    """The recipe to take: it learns fastest, and tells best when.

    2-A-1-A in the form of `yu2018_equations`, with one more level that hears the clip as a whole: three
    blocks on the mean of its segments. There is no output layer: a clip's logits are the mean of its levels',
    and every level has a loss of its own, so that unit k of each head is class k. Every clip is drawn in
    turn, not every class. Clips are mixed in pairs, in shares from Beta(0.5, 0.5), and three of ten segments
    left out at random; the learning rate falls to zero over 2,000 steps.

    AudioSet's balanced train gives mAP 0.291, AUC 0.955, d-prime 2.399 on eval, in half an hour on two CPU
    cores: the model `pretrained:audioset-balanced`. Seed 1 gives mAP 0.290, and the average of the two 0.293.
    Nine tenths of it, with the best step by the other tenth (`--config.data.validation_fraction=0.1`), give
    0.287, 0.288 and 0.287 (seeds 0, 1 and 2). Where the most frequent class has thousands of times the clips
    of the rarest, also try `data.sampler=balanced`.
    """
    config = yu2018_equations()
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, join="mean", clip_blocks=3),
        data=dataclasses.replace(config.data, sampler="uniform"),
        augment=AugmentConfig(mixup=0.5, drop_segments=0.3),
        optim=OptimConfig(schedule="cosine", level_loss=1.0),
        train=TrainConfig(steps=2000),
    )


def kong2019_keras() -> Config:
    """Decision-level multi-attention of Kong's Keras program (Kong et al., 2019, arXiv:1903.00765).

    IBM's published classifier has this form. Blocks of 1,024 units with dropout 0.5; batch normalisation in
    the blocks only; the output layer sees the shallower level first. Its README states mAP 0.357, AUC
    0.968, d-prime 2.621 on two million clips.
    """
    return Config(
        model=ModelConfig(
            hidden_units=1024,
            dropout_rate=0.5,
            input_norm=False,
            head_norm=False,
            output_norm=False,
            join="shallowest_first",
        )
    )


def kong2019_torch() -> Config:
    """Decision-level multi-attention of Kong's PyTorch program (Kong et al., 2019, arXiv:1903.00765).

    Differs from `kong2019_keras` by attention through a sigmoid; one head, shared by both levels, the
    deepest first; no bias in the blocks; batch normalisation at the input as well, with PyTorch's
    constants (epsilon 1e-5, momentum 0.9 here for PyTorch's 0.1) and an unbiased running variance;
    He-uniform kernels; Adam with epsilon 1e-7 behind the bias correction. The program leaves the output
    layer at PyTorch's default initial values; here they are He-uniform like the rest.
    """
    return Config(
        model=ModelConfig(
            hidden_units=1024,
            dropout_rate=0.5,
            pooling="attention_sigmoid",
            share_heads=True,
            head_norm=False,
            output_norm=False,
            norm_momentum=0.9,
            norm_epsilon=1e-5,
            norm_unbiased=True,
            hidden_bias=False,
            kernel_init="he_uniform",
        ),
        optim=OptimConfig(epsilon=1e-7, epsilon_place="after_correction"),
    )


def feature_attention() -> Config:
    """Feature-level attention (Kong et al., 2019, arXiv:1903.00765), in the form of its Keras program.

    Three blocks as in `kong2019_keras`; a head pools 1,024 features, each with its own attention through a
    sigmoid, and classifies the pooled vector after batch normalisation, ReLU and dropout. The article
    states mAP 0.369 on two million clips.
    """
    config = kong2019_keras()
    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            config.model,
            architecture="3-A",
            pooling="attention_sigmoid",
            attend_to="features",
        ),
    )


def kong2017() -> Config:
    """Single-level attention (Kong et al., 2017, arXiv:1711.00927), the paper's reference [10].

    Three blocks of 500 units with dropout 0.2 and no batch normalisation anywhere; one head with softmax
    over the classes. Stated on two million clips: mAP 0.327.
    """
    return Config(
        model=ModelConfig(
            architecture="3-A",
            hidden_units=500,
            dropout_rate=0.2,
            input_norm=False,
            block_norm=False,
            head_norm=False,
            output_norm=False,
        )
    )


def average_pooling() -> Config:
    """3-A with the mean over segments instead of attention, in the form of `yu2018_equations`."""
    return _pooled("mean")


def max_pooling() -> Config:
    """3-A with the largest segment instead of attention, in the form of `yu2018_equations`."""
    return _pooled("max")


def segment_classifier() -> Config:
    """The classifier behind Google's benchmark (Gemmeke et al., 2017; Hershey et al., 2017).

    Every segment is an example of its own and gets its clip's labels in training; a clip's score is the
    mean over its segments. The articles leave the sizes of the fully connected network open: here it is
    that of `average_pooling`, from which it differs by the loss alone. Stated on two million clips: mAP
    0.314, AUC 0.959, d-prime 2.452.
    """
    return dataclasses.replace(_pooled("mean"), data=DataConfig(examples="segments"))


def _pooled(pooling: str) -> Config:
    model = dataclasses.replace(yu2018_equations().model, architecture="3-A", pooling=pooling)
    return Config(model=model)


PRESETS: dict[str, Callable[[], Config]] = {
    f.__name__: f
    for f in (
        best,
        yu2018,
        yu2018_equations,
        kong2019_keras,
        kong2019_torch,
        feature_attention,
        kong2017,
        average_pooling,
        max_pooling,
        segment_classifier,
    )
}
"""Every preset by its name."""

DEFAULT = "best"
"""The preset that is taken where none is named."""


def preset(name: str) -> Config:
    """The preset of that name; `name:architecture` is the same with another architecture.

    An architecture alone is that of the default preset.

    Raises:
      UserError: there is no such preset, or the architecture is not valid.
    """
    base, colon, architecture = full_name(name).partition(":")
    one_of("preset", base, tuple(PRESETS))
    config = PRESETS[base]()
    if not colon:
        return config
    try:
        parse_architecture(architecture)
    except UserError:
        raise UserError(
            f"preset={name!r} is not valid: behind the colon stands an architecture such as 2-A-1-A"
        ) from None
    return dataclasses.replace(
        config, model=dataclasses.replace(config.model, architecture=architecture)
    )


def full_name(name: str) -> str:
    """What `preset` takes, with the name of the default preset before an architecture alone."""
    return f"{DEFAULT}:{name}" if re.fullmatch(r"[0-9].*-A", name) else name


def preset_of(model: ModelConfig, ignoring: Collection[str] = ()) -> str:
    """The first preset whose model has the same values in all fields but the ignored; "" if none has."""
    compared = [f.name for f in dataclasses.fields(model) if f.name not in ignoring]
    for name, make in PRESETS.items():
        like = make().model
        if all(getattr(model, field) == getattr(like, field) for field in compared):
            return name
    return ""


def train_flags(config: Config, workdir: str = "RUN") -> str:
    """The command that trains with these settings: the nearest preset, and what differs from it.

    Where the data and the run are is left open, as TRAIN and `workdir`.
    """

    def differing(name: str) -> dict[str, Any]:
        like = preset(f"{name}:{config.model.architecture}").without_paths()
        return {
            f"{section}.{field}": value
            for section, fields in config.without_paths().items()
            for field, value in fields.items()
            if like[section][field] != value
        }

    nearest = min(PRESETS, key=lambda name: len(differing(name)))
    changes = [f"--config.{name}={value}" for name, value in differing(nearest).items()]
    start = f"mla-train --preset={nearest}:{config.model.architecture} --config.data.train=TRAIN"
    return " ".join([start, *changes, f"--workdir={workdir}"])
