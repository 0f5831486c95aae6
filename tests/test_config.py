"""Settings: every wrong one is named, and a config survives the way through a file."""

import dataclasses
import json

import pytest

import mla_jax as mla
from mla_jax.config import Config, field_names, parse_architecture, require_field
from mla_jax.presets import PRESETS


@pytest.mark.parametrize(
    ("architecture", "blocks"),
    [("3-A", (3,)), ("2-A-1-A", (2, 1)), ("1-A-1-A-1-A", (1, 1, 1)), ("12-A-3-A", (12, 3))],
)
def test_architectures_are_read(architecture: str, blocks: tuple[int, ...]) -> None:
    assert parse_architecture(architecture) == blocks


@pytest.mark.parametrize(
    "wrong", ["", "A", "0-A", "2", "2-A-", "2-A-A", "2A-1A", "2-B", "-1-A", "2-A-1", "2-a"]
)
def test_what_is_no_architecture_is_refused(wrong: str) -> None:
    with pytest.raises(mla.UserError, match="not of the form 2-A-1-A"):
        mla.ModelConfig(architecture=wrong)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("model", "hidden_units", 0),
        ("model", "dropout_rate", 1.0),
        ("model", "norm_momentum", 1.0),
        ("model", "norm_epsilon", 0.0),
        ("model", "join", "sideways"),
        ("data", "num_classes", -1),
        ("data", "max_segments", 0),
        ("data", "long_clips", "keep"),
        ("data", "bad_records", "ignore"),
        ("data", "batch_size", 0),
        ("data", "sampler", "fair"),
        ("data", "validation_fraction", 1.0),
        ("data", "train_fraction", 0.0),
        ("optim", "learning_rate", 0.0),
        ("optim", "level_loss", -1.0),
        ("optim", "b1", 1.0),
        ("optim", "b2", -0.1),
        ("optim", "epsilon", 0.0),
        ("optim", "schedule", "linear"),
        ("optim", "warmup_steps", -1),
        ("optim", "weight_decay", -0.1),
        ("optim", "average_decay", 1.0),
        ("augment", "mixup", -1.0),
        ("augment", "mixup", float("inf")),
        ("augment", "swap_segments", 1.0),
        ("augment", "drop_segments", 1.0),
        ("augment", "labels", "both"),
        ("train", "steps", 0),
        ("train", "log_every", 0),
        ("train", "eval_every", -1),
        ("train", "checkpoint_every", 0),
        ("train", "keep_checkpoints", -1),
        ("train", "seed", 2**31),
        ("train", "patience", -1),
        ("train", "patience", 3),  # without validation clips
    ],
)
def test_a_value_out_of_range_is_named(section: str, field: str, value: object) -> None:
    with pytest.raises(mla.UserError, match=f"{section}.{field}={value!r}") as error:
        Config.from_dict({section: {field: value}})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_survives_a_file(name: str) -> None:
    config = mla.preset(name)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert PRESETS[name].__doc__


def test_the_two_forms_differ_as_published() -> None:
    program, text = (mla.preset(name).model for name in ("yu2018", "yu2018_equations"))
    differing = {
        f.name
        for f in dataclasses.fields(program)
        if getattr(program, f.name) != getattr(text, f.name)
    }
    assert differing == {"head_norm", "output_norm", "join", "prior_bias"}


def test_unknown_fields_and_presets_name_the_nearest() -> None:
    with pytest.raises(
        mla.UserError, match=r"no field optim.learning_rat; did you mean optim.learning_rate"
    ):
        Config.from_dict({"optim": {"learning_rat": 1.0}})
    with pytest.raises(mla.UserError, match=r"did you mean train.seed\?"):
        require_field("train.sede")
    with pytest.raises(mla.UserError, match=r"did you mean yu2018\?"):
        mla.preset("yu_2018")
    require_field("data.batch_size")


def test_types_are_exact_but_for_whole_floats() -> None:
    assert Config.from_dict({"optim": {"learning_rate": 1}}).optim.learning_rate == 1.0
    for section, field, value in (
        ("train", "steps", 1.5),
        ("train", "steps", True),
        ("model", "input_norm", 1),
        ("data", "train", 3),
    ):
        with pytest.raises(mla.UserError, match=f"{section}.{field}={value!r} has the wrong type"):
            Config.from_dict({section: {field: value}})


def test_more_draws_than_a_sampler_counts_are_refused() -> None:
    with pytest.raises(mla.UserError, match=r"below 2\^32"):
        Config(data=mla.DataConfig(batch_size=2**16), train=mla.TrainConfig(steps=2**16))


def test_a_rate_that_falls_needs_steps_behind_its_warmup() -> None:
    optim, train = mla.OptimConfig(warmup_steps=5), mla.TrainConfig(steps=5)
    Config(optim=optim, train=train)
    with pytest.raises(mla.UserError, match=r"optim.warmup_steps=5 .* below train.steps=5"):
        Config(optim=dataclasses.replace(optim, schedule="cosine"), train=train)


def test_no_field_is_none_and_none_can_be_changed_once_made() -> None:
    config = Config()
    values = config.to_dict()
    assert all(v is not None for section in values.values() for v in section.values())
    assert len(field_names()) == sum(len(section) for section in values.values())
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.train.steps = 5  # type: ignore[misc]
