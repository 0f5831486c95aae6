"""A name that is not known: what is meant by it."""

import pytest

from mla_jax import config, suggest
from tests.support.helpers import raises_user_error

FIELDS = config.field_names()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("optim.learning_rat", "optim.learning_rate"),
        ("optim.lr", "optim.learning_rate"),
        ("train.learning_rate", "optim.learning_rate"),
        ("data.batch", "data.batch_size"),
        ("train.batch_size", "data.batch_size"),
        ("train.epochs", "train.steps"),
        ("model.dropout", "model.dropout_rate"),
        ("optim.wd", "optim.weight_decay"),
        ("learning_rate", "optim.learning_rate"),
        ("nothing.of_the_kind", ""),
    ],
)
def test_a_setting_is_found_by_meaning_and_by_spelling(given: str, meant: str) -> None:
    assert suggest.nearest(given, FIELDS) == meant


def test_every_setting_is_found_when_a_letter_is_missing() -> None:
    for name in FIELDS:
        section, field = name.split(".")
        if len(field) > 4:
            assert suggest.nearest(f"{section}.{field[:2]}{field[3:]}", FIELDS), name


def test_every_synonym_is_of_something_and_hides_nothing() -> None:
    known = {name.split(".")[1] for name in FIELDS} | {"data", "workdir", "output", "step"}
    assert set(suggest.SYNONYMS.values()) <= known
    assert not suggest.SYNONYMS.keys() & known


def test_a_settings_file_gets_the_same_hint() -> None:
    with raises_user_error("there is no field optim.lr; did you mean optim.learning_rate?"):
        config.Config.from_dict({"optim": {"lr": 1.0}})
