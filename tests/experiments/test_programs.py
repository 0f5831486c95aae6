"""The installed programs: every command has one, and `mla` lists and starts them."""

import importlib.metadata
import re

import pytest

import mla_jax
from mla_jax.commands import launch, names
from tests.support.programs import ROOT, python


def test_every_command_says_what_it_does_and_can_be_started_in_a_clone() -> None:
    started = {
        path.stem: path.read_text(encoding="utf-8")
        for path in (ROOT / "experiments").glob("*.py")
        if "commands.launch import" in path.read_text(encoding="utf-8")
    }
    assert names.commands().keys() == started.keys()
    assert {"train", "predict", "embed_beam"} <= started.keys()
    for name, does in names.commands().items():
        assert f'launch("{name}")' in started[name]
        assert does.endswith("."), name
        assert len(does) < 100, name


def test_the_programs_are_found_by_their_entry_points() -> None:
    for point in names.entry_points():
        name, _, value = point.partition(" = ")
        found = importlib.metadata.EntryPoint(name, value, "console_scripts").load()
        assert callable(found), name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = launch.nonsense


def test_mla_lists_the_commands_without_importing_what_they_need() -> None:
    code = """
import sys
from mla_jax.__main__ import main
main()
assert not {"jax", "numpy", "absl", "tensorflow"} & set(sys.modules), "heavy"
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    for name, does in names.commands().items():
        assert re.search(
            rf"^  {names.program(name)} +{re.escape(does)}$", done.stdout, re.MULTILINE
        )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--version"], 0, f"mla_jax {mla_jax.__version__}\n"),
        (["trian"], 2, "error: there is no command trian; did you mean train?\n"),
        (["prepare-data", "--verify=/no/where"], 2, "error: /no/where is not a packed data set"),
    ],
)
def test_mla_runs_a_command_by_its_name(arguments: list[str], code: int, told: str) -> None:
    done = python("-m", "mla_jax", *arguments)
    assert done.returncode == code
    assert told in done.stdout + done.stderr
    assert len((done.stdout + done.stderr).splitlines()) == 1
