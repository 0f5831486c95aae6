"""What --help says of every command: all of its flags and settings, each once, with what it means."""

import dataclasses
import re
from typing import Any

import pytest

from mla_jax import config
from mla_jax.commands import names
from mla_jax.commands.help import meanings
from mla_jax.models.pooling import POOLINGS
from mla_jax.presets import preset
from tests.support.programs import ok, run

SECTIONS = {field.name: field.default_factory for field in dataclasses.fields(config.Config)}


@pytest.mark.parametrize("command", names.commands())
def test_each_flag_stands_there_once_with_its_meaning(command: str) -> None:
    done = ok(command, "--help")
    assert not done.stderr
    said = done.stdout
    source = (names.HERE / f"{command}.py").read_text(encoding="utf-8")
    own = re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', source)
    about, _, rest = said.partition("\nFlags, with what they are if not given:\n")
    assert about.startswith(names.commands()[command])
    listed = re.findall(r"^  --([\w.]+)", rest, re.MULTILINE)
    assert len(listed) == len(set(listed))
    own = [name for name in own if name != "workdirs"]  # as a flag was called before
    assert {*own, "debug"} <= {name.removeprefix("no") for name in listed} | set(listed)
    assert ("config.optim.learning_rate" in listed) == (command == "train")
    lines = rest.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("  --") and "config." not in line:
            assert following.startswith(" " * 6), line
    for noise in ("absl", "Alias for", "repeat this option", "experiments.", "None"):
        assert noise not in rest
    assert max(map(len, rest.splitlines())) <= 110


def test_settings_have_the_values_of_the_preset_and_of_other_flags() -> None:
    said = ok("train", "--preset=kong2017", "--config.train.steps=7", "--help").stdout
    expected: dict[str, Any] = preset("kong2017").to_dict()
    expected["train"]["steps"] = 7
    for name in config.field_names():
        section, field = name.split(".")
        line = f"  --config.{name}={expected[section][field]}\n"
        assert said.count(line) == 1, line


def test_another_way_to_ask_gives_the_same() -> None:
    assert "--average_from=0\n" in ok("evaluate", "-h").stdout


def test_help_for_what_is_passed_on_is_not_ours() -> None:
    done = run("embed_beam", "--", "--help")
    assert done.returncode == 2
    assert "give --data" in done.stderr


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_has_a_meaning_with_its_choices(section: str) -> None:
    kind: Any = SECTIONS[section]
    found = {name: text for group, text in meanings(kind) for name in group}
    fields = dataclasses.fields(kind)
    assert list(found) == [field.name for field in fields]
    for field in fields:
        assert len(found[field.name]) > 10, field.name
        for choice in choices(kind, field.name):
            assert choice in found[field.name], (field.name, choice)


def choices(kind: Any, name: str) -> list[str]:
    """What a setting may be, if it is one of a few words, as its error says it."""
    if name == "pooling":  # checked where the model is built
        return list(POOLINGS)
    try:
        kind(**{name: "nonsense"})
    except config.UserError as error:
        found = re.search(r"choose from ([\w, ]+)", str(error))
        return found[1].split(", ") if found else []
    except TypeError:  # a number
        pass
    return []


def refuses(given: list[str], told: str) -> None:
    """Checks that a command ends with one line that says so, and exit code 2."""
    done = run(*given)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["train", "--lr=1"], "there is no flag --lr; did you mean --config.optim.learning_rate?"),
        (["train", "--config.optim.lr=1"], "did you mean optim.learning_rate?"),
        (["evaluate", "--xyz=x"], "there is no flag --xyz; --help lists them"),
        (
            ["train", "--config.train.steps=1.5"],
            "--config.train.steps=1.5 is not valid: it must be a whole number",
        ),
        (["train", "--config.optim.b1=a:b"], "b1=a:b is not valid: it must be a number"),
        (["train", "--config.data.mask=so"], "mask=so is not valid: it must be True or False"),
        (["evaluate", "--step=a"], "--step=a is not valid: it must be a whole number"),
        (
            ["evaluate", "--data=a", "--data=b"],
            "--data is given twice, as a and as b; give it once",
        ),
        (
            ["predict", "--input=a", "--data=b"],
            "--data is given twice, as a and as b; give it once",
        ),
        (
            ["train", "--config.data.train=a", "--config.data.train=b"],
            "--config.data.train is given twice, as a and as b; give it once",
        ),
    ],
)
def test_a_wrong_flag_or_value_is_told_with_what_is_meant(given: list[str], told: str) -> None:
    refuses(given, told)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["evaluate", "--workdir=w", "--data=d", "--collar=0"], "--collar: this is about strong"),
        (
            ["predict", "--workdir=w", "--data=d", "--output=o.csv", "--keep=1", "--smoothing=1"],
            "--keep, --smoothing: o.csv has no events; give --events too",
        ),
        (
            ["predict", "--workdir=w", "--data=d", "--output=o.csv", "--segment_score=alone"],
            "--segment_score: no segments are written; give --segments",
        ),
        (
            ["predict", "--workdir=w", "--data=d.npz", "--output=o.csv", "--weights=w", "--pca=p"],
            "--weights, --pca: no encoder is used, since d.npz is no sound; leave this out",
        ),
        (["export", "--workdir=w", "--output=o.onnx", "--weights=w"], "give --sound too"),
        (["embed", "--data=d", "--output=o", "--pca_features=9"], "give --fit_pca too"),
        (["pretrained", "--about=a", "--step=0"], "--step, --about: this is for a model to make"),
        (
            ["prepare_data", "--verify=p", "--class_list=c", "--num_classes=0"],
            "--class_list, --num_classes: --verify checks a folder as it is; give it alone",
        ),
    ],
)
def test_a_flag_that_would_not_be_used_is_refused(given: list[str], told: str) -> None:
    """Even with the value that it has if it is not given."""
    refuses(given, told)


def test_names_that_flags_had_before_are_taken() -> None:
    done = run("predict", "--input=/no/where", "--workdir=/no/run", "--output=/no/x.csv")
    assert "give --data" not in done.stderr
    assert "there is no flag" not in done.stderr
