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
        ("lr", "optim.learning_rate"),
        ("epochs", "train.steps"),
        ("num_layers", "model.architecture"),
        ("model.hidden", "model.hidden_units"),
        ("random_seed", "train.seed"),
        ("batch-size", "data.batch_size"),
        ("dataset", "data.train"),
        ("nothing.of_the_kind", ""),
    ],
)
def test_a_setting_is_found_by_meaning_and_by_spelling(given: str, meant: str) -> None:
    assert suggest.nearest(given, FIELDS) == meant


def test_a_synonym_of_several_means_what_there_is() -> None:
    assert suggest.nearest("model", ["workdir", "data"]) == "workdir"
    assert suggest.nearest("dataset", ["workdir", "data"]) == "data"


def test_every_setting_is_found_when_a_letter_is_missing() -> None:
    for name in FIELDS:
        section, field = name.split(".")
        if len(field) > 4:
            assert suggest.nearest(f"{section}.{field[:2]}{field[3:]}", FIELDS), name


def test_every_synonym_is_of_something_and_hides_nothing() -> None:
    settings = {name.split(".")[1] for name in FIELDS}
    others = {"data", "workdir", "output", "step", "debug", "top_k"}
    assert suggest.SYNONYMS.keys() <= settings | others
    assert not set(" ".join(suggest.SYNONYMS.values()).split()) & settings


def test_a_settings_file_gets_the_same_hint() -> None:
    with raises_user_error("there is no field optim.lr; did you mean optim.learning_rate?"):
        config.Config.from_dict({"optim": {"lr": 1.0}})
