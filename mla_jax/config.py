"""Every setting as a typed field of a frozen dataclass, checked when it is made.

No field is None: an empty string or 0 says 'not given', so that every field can be overridden from the
command line (`--config.optim.learning_rate=3e-4`).
"""

import dataclasses
import difflib
import math
import re
import typing
from collections.abc import Mapping
from typing import Any

from mla_jax import suggest
from mla_jax.errors import UserError

ARCHITECTURES = (
    "3-A",
    "6-A",
    "9-A",
    "1-A-1-A-1-A",
    "2-A-1-A",
    "2-A-2-A-2-A",
    "3-A-3-A",
    "3-A-3-A-3-A",
    "5-A-4-A",
)
"""The nine architectures of the paper; any other string of the same form is valid too."""


def parse_architecture(architecture: str) -> tuple[int, ...]:
    """`"2-A-1-A"` -> (2, 1): how many dense blocks come before each next head `A`.

    Raises:
      UserError: the string is not of the form `n-A[-n-A...]` with every n at least 1.
    """
    if not re.fullmatch(r"[1-9][0-9]?-A(-[1-9][0-9]?-A)*", architecture):
        raise UserError(
            f"model.architecture={architecture!r} is not of the form 2-A-1-A: numbers of dense blocks, "
            "each followed by an attention head A"
        )
    return tuple(int(n) for n in architecture.split("-")[::2])


def _require(ok: bool, field: str, value: object, rule: str) -> None:
    if not ok:
        raise UserError(f"{field}={value!r} is not valid: it must be {rule}")


def one_of(field: str, value: str, choices: tuple[str, ...]) -> None:
    """Checks that `value` is one of `choices`; the error names the nearest."""
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{field}={value!r} is not known: choose from {', '.join(choices)}{hint}")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model. The defaults are the preset *yu2018*: the program that the paper's authors published.

    Attributes:
      architecture: numbers of dense blocks, each followed by a head, such as 2-A-1-A.
      hidden_units: H, the width of every dense block.
      dropout_rate: the fraction of a block's outputs set to zero in training.
      pooling: how a head turns segments into a clip: attention (by softmax over classes),
        attention_over_time (by softmax over time), attention_sigmoid, attention_exp, mean, max, or another
        name in `mla_jax.models.pooling.POOLINGS`.
      attend_to: what a head pools: decisions (the classes of each segment) or features (of which the clip is
        then classified).
      share_heads: all levels use one head, with one set of weights.
      input_norm, block_norm, head_norm, output_norm: where there is batch normalisation.
      norm_momentum, norm_epsilon: batch normalisation's momentum and epsilon, as Keras defines them.
      norm_unbiased: the running variance is the unbiased one, as in PyTorch.
      hidden_bias: whether the dense layers of the blocks have a bias.
      kernel_init: how the kernels of the dense layers start: glorot_uniform or he_uniform.
      join: how several levels make one: deepest_first or shallowest_first, by an output layer that sees them
        in this order; or mean, of their logits, without that layer.
      prior_bias: start the last bias at the log-odds of each class's share of the training clips.
      clip_blocks: dense blocks of one more level, which takes the mean of a clip's segments; 0: none.
    """

    architecture: str = "2-A-1-A"
    hidden_units: int = 600
    dropout_rate: float = 0.4
    pooling: str = "attention"
    attend_to: str = "decisions"
    share_heads: bool = False
    input_norm: bool = True
    block_norm: bool = True
    head_norm: bool = True
    output_norm: bool = True
    norm_momentum: float = 0.99
    norm_epsilon: float = 1e-3
    norm_unbiased: bool = False
    hidden_bias: bool = True
    kernel_init: str = "glorot_uniform"
    join: str = "deepest_first"
    prior_bias: bool = False
    clip_blocks: int = 0

    def __post_init__(self) -> None:
        """Checks the values that need no other module."""
        parse_architecture(self.architecture)
        _require(self.hidden_units >= 1, "model.hidden_units", self.hidden_units, "at least 1")
        _require(self.clip_blocks >= 0, "model.clip_blocks", self.clip_blocks, "0 or more")
        _require(0 <= self.dropout_rate < 1, "model.dropout_rate", self.dropout_rate, "in [0, 1)")
        _require(
            0 <= self.norm_momentum < 1, "model.norm_momentum", self.norm_momentum, "in [0, 1)"
        )
        _require(self.norm_epsilon > 0, "model.norm_epsilon", self.norm_epsilon, "above 0")
        one_of("model.attend_to", self.attend_to, ("decisions", "features"))
        one_of("model.kernel_init", self.kernel_init, ("glorot_uniform", "he_uniform"))
        one_of("model.join", self.join, ("deepest_first", "shallowest_first", "mean"))

    @property
    def stages(self) -> tuple[int, ...]:
        """How many dense blocks come before each next head."""
        return parse_architecture(self.architecture)

    @property
    def num_levels(self) -> int:
        """L: a level for each head, and one for the whole clip if there is one."""
        return len(self.stages) + (self.clip_blocks > 0)

    @property
    def mixes_levels(self) -> bool:
        """Whether an output layer mixes several levels; else they are averaged, or there is only one."""
        return self.num_levels > 1 and self.join != "mean"

    @property
    def units_are_classes(self) -> bool:
        """Whether unit k of every head is class k: so it is where no output layer mixes the levels."""
        return self.attend_to == "decisions" and not self.mixes_levels


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The data, and how batches are drawn from it.

    Attributes:
      train, eval: a packed folder; a folder, file or glob of TFRecords, or of .npy or .npz files that are a
        recording each; or an HDF5 or .npz file of arrays. `eval` may be empty.
      class_list: path of a class_labels_indices.csv; empty: the one found beside the data, if any.
      labels: path of a CSV file with the columns filename and labels, for recordings in .npy or .npz files of
        their own; empty: labels.csv beside them.
      num_classes: K for records; 0: the length of the class list, else AudioSet's 527.
      feature: the feature list of records that holds the segments; YouTube-8M's are audio and rgb.
      max_segments: T for records; packed data has its own.
      long_clips: what to do with records of more segments: error or crop (keep the first T).
      bad_records: what to do with a record that cannot be used: error or skip (counted, listed).
      no_label: what to do with a record that has no label: error (it cannot be used) or background (a clip of
        none of the classes, as in all other data).
      batch_size: clips in a training batch.
      sampler: balanced (every class in turn) or uniform (every clip in turn).
      examples: what the loss is computed on: clips, or segments, each of which gets its clip's labels.
      mask: leave padding out of everything; False: it counts as segments of zero bytes, as in the original
        programs.
      placement: where the training set is kept: device (all of it), host (its batches are sent ahead of
        their steps), or auto: the device if it takes less than 60 % of its memory.
      validation_fraction: the share of training clips held out by a hash of the video id. What is held out is
        near this share, since clips of one video stay together and ids fall where their hashes are.
      train_fraction: the share of the others that is trained on, by the same hash: the clips of a smaller
        share are among those of a larger.
      encoder, postprocessing, hop_seconds, example_seconds: what the embeddings are, where the data do not
        say: the encoder's name, what was done behind it, seconds from one segment to the next, seconds that
        a segment hears; empty and 0: not stated.
      scaling: OFFSET,SCALE, where the data do not say: the model's input is (embedding - OFFSET) / SCALE;
        empty: 128,128 for bytes, 0,1 for floats.
    """

    train: str = ""
    eval: str = ""
    class_list: str = ""
    labels: str = ""
    num_classes: int = 0
    feature: str = "audio_embedding"
    max_segments: int = 10
    long_clips: str = "error"
    bad_records: str = "error"
    no_label: str = "error"
    batch_size: int = 500
    sampler: str = "balanced"
    examples: str = "clips"
    mask: bool = True
    placement: str = "auto"
    validation_fraction: float = 0.0
    train_fraction: float = 1.0
    encoder: str = ""
    postprocessing: str = ""
    hop_seconds: float = 0.0
    example_seconds: float = 0.0
    scaling: str = ""

    def __post_init__(self) -> None:
        """Checks every value."""
        _require(self.num_classes >= 0, "data.num_classes", self.num_classes, "0 or more")
        _require(self.max_segments >= 1, "data.max_segments", self.max_segments, "at least 1")
        _require(self.batch_size >= 1, "data.batch_size", self.batch_size, "at least 1")
        _require(
            0 <= self.validation_fraction < 1,
            "data.validation_fraction",
            self.validation_fraction,
            "in [0, 1)",
        )
        _require(
            0 < self.train_fraction <= 1, "data.train_fraction", self.train_fraction, "in (0, 1]"
        )
        for name in ("hop_seconds", "example_seconds"):
            value = getattr(self, name)
            _require(0 <= value < math.inf, f"data.{name}", value, "0 or more, and finite")
        one_of("data.long_clips", self.long_clips, ("error", "crop"))
        one_of("data.bad_records", self.bad_records, ("error", "skip"))
        one_of("data.no_label", self.no_label, ("error", "background"))
        one_of("data.sampler", self.sampler, ("balanced", "uniform"))
        one_of("data.examples", self.examples, ("clips", "segments"))
        one_of("data.placement", self.placement, ("auto", "device", "host"))


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How the clips of a batch are changed in training (see `mla_jax.training.augment`); 0: not at all.

    Attributes:
      mixup: each clip is mixed with another of its batch, with a share drawn from Beta(mixup, mixup).
      swap_segments: the probability that a segment is replaced by that of another clip of the batch.
      labels: those of a mixed clip: share (each clip's labels count with its share) or union (all count).
      drop_segments: the probability that a segment is left out; at least one of a clip stays.
    """

    mixup: float = 0.0
    swap_segments: float = 0.0
    labels: str = "share"
    drop_segments: float = 0.0

    def __post_init__(self) -> None:
        """Checks every value."""
        _require(0 <= self.mixup < math.inf, "augment.mixup", self.mixup, "0 or more, and finite")
        for name in ("swap_segments", "drop_segments"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"augment.{name}", value, "in [0, 1)")
        one_of("augment.labels", self.labels, ("share", "union"))

    @property
    def mixes(self) -> bool:
        """Whether clips are mixed with others."""
        return self.mixup > 0 or self.swap_segments > 0


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Adam (see `mla_jax.training.optimizer`), and the average of what it finds.

    Attributes:
      learning_rate: the size of Adam's steps.
      b1, b2: Adam's decay rates, of the means of gradients and of their squares.
      epsilon: Adam's, added to what the steps are divided by.
      epsilon_place: before_correction, added to the root of the uncorrected second moment, as in Keras; or
        after_correction, as in the paper of Adam, PyTorch and Optax.
      clip_norm: gradients whose norm over all parameters is larger are scaled down to it; 0: none are.
      l2: adds this times the sum of squares of the blocks' kernels to the loss, as Keras's
        `kernel_regularizer` does.
      level_loss: adds this times the mean over the levels of the loss that each has by its own logits; of one
        level, that is the loss once more.
      schedule: of the learning rate: constant, or cosine, where it falls to zero over `train.steps`.
      warmup_steps: in so many first steps the learning rate rises to its full value.
      weight_decay: every kernel is made smaller by this times the learning rate in each step, as in AdamW.
      average_decay: d of the running average of the weights, d * average + (1 - d) * weights, which then is
        the model of the run: what is evaluated and used; 0: the weights themselves are.
    """

    learning_rate: float = 1e-3
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    epsilon_place: str = "before_correction"
    clip_norm: float = 0.0
    l2: float = 0.0
    level_loss: float = 0.0
    schedule: str = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    average_decay: float = 0.0

    def __post_init__(self) -> None:
        """Checks every value."""
        _require(self.learning_rate > 0, "optim.learning_rate", self.learning_rate, "above 0")
        _require(0 <= self.b1 < 1, "optim.b1", self.b1, "in [0, 1)")
        _require(0 <= self.b2 < 1, "optim.b2", self.b2, "in [0, 1)")
        _require(self.epsilon > 0, "optim.epsilon", self.epsilon, "above 0")
        _require(self.clip_norm >= 0, "optim.clip_norm", self.clip_norm, "0 or more")
        for name in ("l2", "level_loss", "warmup_steps", "weight_decay"):
            value = getattr(self, name)
            _require(value >= 0, f"optim.{name}", value, "0 or more")
        _require(
            0 <= self.average_decay < 1, "optim.average_decay", self.average_decay, "in [0, 1)"
        )
        one_of("optim.schedule", self.schedule, ("constant", "cosine"))
        one_of("optim.epsilon_place", self.epsilon_place, ("before_correction", "after_correction"))


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The run.

    Attributes:
      steps: train until this step.
      log_every, eval_every, checkpoint_every: steps from one log entry, evaluation or checkpoint to the
        next; eval_every=0 evaluates at the end only.
      patience: training ends before its last step once the validation mAP was not better in so many
        evaluations in a row; 0: it never does.
      keep_checkpoints: how many of the newest are kept, beside the best by validation; 0: all.
      seed: of the initial weights, the batches and the dropout.
      devices: how many devices the clips of a batch are spread over; 0: all GPUs or TPUs, or one CPU.
    """

    steps: int = 1000
    log_every: int = 50
    eval_every: int = 200
    checkpoint_every: int = 200
    patience: int = 0
    keep_checkpoints: int = 5
    seed: int = 0
    devices: int = 0

    def __post_init__(self) -> None:
        """Checks every value."""
        _require(self.steps >= 1, "train.steps", self.steps, "at least 1")
        _require(self.log_every >= 1, "train.log_every", self.log_every, "at least 1")
        _require(self.eval_every >= 0, "train.eval_every", self.eval_every, "0 or more")
        _require(
            self.checkpoint_every >= 1,
            "train.checkpoint_every",
            self.checkpoint_every,
            "at least 1",
        )
        _require(self.patience >= 0, "train.patience", self.patience, "0 or more")
        _require(
            self.patience == 0 or self.eval_every > 0,
            "train.patience",
            self.patience,
            "0 where train.eval_every=0, since it counts evaluations",
        )
        _require(
            self.keep_checkpoints >= 0, "train.keep_checkpoints", self.keep_checkpoints, "0 or more"
        )
        _require(0 <= self.seed < 2**31, "train.seed", self.seed, "in [0, 2^31)")
        _require(self.devices >= 0, "train.devices", self.devices, "0 or more")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that defines a run."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        """Checks what concerns two sections at once."""
        _require(
            self.train.steps * self.data.batch_size < 2**32,
            "train.steps * data.batch_size",
            self.train.steps * self.data.batch_size,
            "below 2^32, the clips that a sampler can count",
        )
        _require(
            self.train.patience == 0 or self.data.validation_fraction > 0,
            "train.patience",
            self.train.patience,
            "0 without data.validation_fraction, since it looks at the validation clips",
        )
        _require(
            self.optim.schedule == "constant" or self.optim.warmup_steps < self.train.steps,
            "optim.warmup_steps",
            self.optim.warmup_steps,
            f"below train.steps={self.train.steps}",
        )

    def to_dict(self) -> dict[str, Any]:
        """The config as nested plain dictionaries, for JSON or for flags."""
        return dataclasses.asdict(self)

    def without_paths(self) -> dict[str, Any]:
        """The same, without where the data are: what makes two runs alike."""
        settings = self.to_dict()
        for path in ("train", "eval", "class_list"):
            del settings["data"][path]
        return settings

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """Builds a config from nested dictionaries; fields that are left out keep their defaults.

        Raises:
          UserError: a field does not exist (the message names the nearest that does), has the wrong
            type, or has a value that is not valid.
        """
        return _build(cls, values, "")


def field_names() -> list[str]:
    """Every setting as `section.field`."""
    values = Config().to_dict()
    return [f"{section}.{field}" for section, fields in values.items() for field in fields]


def require_field(name: str) -> None:
    """Checks that there is a setting `name`, such as `optim.learning_rate`.

    Raises:
      UserError: there is none; the message names the nearest.
    """
    _require_name(name, field_names())


def _require_name(name: str, names: list[str]) -> None:
    if name not in names:
        hint = suggest.did_you_mean(name, names, cutoff=0.5)
        hint = hint or f"; the fields are {', '.join(names)}"
        raise UserError(f"there is no field {name}{hint}")


def _build(cls: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
    types = typing.get_type_hints(cls)
    chosen: dict[str, Any] = {}
    for name, value in values.items():
        _require_name(f"{prefix}{name}", [f"{prefix}{known}" for known in types])
        if dataclasses.is_dataclass(types[name]):
            chosen[name] = _build(types[name], value, f"{prefix}{name}.")
            continue
        if types[name] is float and type(value) is int:
            value = float(value)
        if type(value) is not types[name]:
            raise UserError(
                f"{prefix}{name}={value!r} has the wrong type: it must be {types[name].__name__}"
            )
        chosen[name] = value
    return cls(**chosen)
