"""Rows of a table: what their names mean."""

from pathlib import Path

import pytest

from experiments.table.rows import Schedule, folder_of, full_name
from mla_jax import presets
from tests.support.helpers import raises_user_error

SCHEDULE = Schedule("train", "eval", steps=100, evaluations=8, validation_fraction=0.1, patience=3)


def test_a_row_is_its_preset_with_the_tables_data_and_length() -> None:
    config = SCHEDULE.config("segment_classifier")
    like = presets.segment_classifier()
    assert (config.model, config.optim) == (like.model, like.optim)
    assert config.data.examples == like.data.examples
    assert (config.data.train, config.data.validation_fraction) == ("train", 0.1)
    train = config.train
    assert (train.steps, train.eval_every, train.checkpoint_every) == (100, 13, 13)
    assert train.patience == 3


def test_settings_stand_behind_it_and_go_before_the_tables() -> None:
    row = "kong2017:6-A+optim.learning_rate=1e+1+model.prior_bias=true+train.steps=50"
    config = SCHEDULE.config(row)
    assert config.model.architecture == "6-A"
    assert config.model.prior_bias is True
    assert config.optim.learning_rate == 10
    assert config.train.steps == 50
    plain = SCHEDULE.config("kong2017:6-A")
    assert config.optim != plain.optim
    assert config.data == plain.data
    assert folder_of(Path("w"), "a:3-A+data.labels=x/y").name == "a_3-A+data.labels=x_y"


def test_an_architecture_alone_is_that_of_the_default_preset() -> None:
    assert full_name("6-A+optim.l2=0.1") == f"{presets.DEFAULT}:6-A+optim.l2=0.1"
    assert full_name("kong2017") == "kong2017"
    assert SCHEDULE.config("6-A").model == presets.preset(f"{presets.DEFAULT}:6-A").model


def test_a_row_whose_learning_rate_falls_trains_through_it() -> None:
    assert SCHEDULE.config("yu2018:6-A").train.patience == 3
    assert SCHEDULE.config("best:6-A").train.patience == 0
    assert SCHEDULE.config("yu2018:6-A+optim.schedule=cosine").train.patience == 0
    assert SCHEDULE.config("6-A+optim.schedule=cosine+train.patience=2").train.patience == 2
    assert SCHEDULE.config("6-A+train.patience=0").train.patience == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("yu2019", "did you mean yu2018"),
        ("3-A+optim.learning_rat=1", "did you mean optim.learning_rate"),
        ("3-A+optim.l2=much", "it must be a number"),
        ("3-A+data.batch_size=1.5", "it must be a whole number"),
        ("3-A+model.prior_bias=1", "it must be True or False"),
        ("3-A+train.seed=1", "train.seed is the same for all rows of a table"),
        ("3-A+optim.l2=-1", "optim.l2=-1.0"),
    ],
)
def test_what_is_no_row_is_named(row: str, message: str) -> None:
    with raises_user_error(message):
        SCHEDULE.config(row)
