"""Commands where people start them: notebooks, closed or full outputs, other encodings and shells."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.table import comparison
from mla_jax.commands import arguments, console
from mla_jax.config import Config
from mla_jax.storage import files, outputs
from tests.experiments.test_table import ROWS, results_of
from tests.support.helpers import few, raises_user_error
from tests.support.programs import ROOT

UMLAUT = "Geräusch"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that `compare --results` shows, of a run that is called with an umlaut."""
    row = {
        "name": UMLAUT,
        "form": "best",
        "config": {
            "model": {"architecture": "1-A", "pooling": "attention"},
            "data": {"mask": True},
        },
        "curve": [{"step": 1, "mAP": np.nan, "AUC": 0.5, "d_prime": np.inf}],
        "step": 1,
        "mAP": np.nan,
        "AUC": 0.5,
        "d_prime": np.inf,
    }
    path = tmp_path_factory.mktemp("home") / "results.json"
    files.write_json(path, [row])
    return path


def start(how: str, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command by a shell, of which `how` is what stands behind the command."""
    return subprocess.run(
        ["bash", "-c", f'"$@" {how}; exit ${{PIPESTATUS[0]}}', "bash", sys.executable, *command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


# By name: what stands behind the command, the environment, the exit code, and the last lines of stdout and
# stderr, in part.
SHELLS: dict[str, tuple[str, dict[str, str], int, str, str]] = {
    "an output that is ASCII": ("", {"PYTHONIOENCODING": "ascii"}, 0, "Ger\\xe4usch", ""),
    "for 64 bits": ("", {"JAX_ENABLE_X64": "1"}, 0, "nan / 0.500", "JAX_ENABLE_X64=1 is not used"),
    "of other random numbers": ("", {"JAX_DEFAULT_PRNG_IMPL": "rbg"}, 0, "", "=rbg is not used"),
    "nobody reads": ("| true", {}, console.EXIT_NOBODY_READS, "", ""),
    "a full disk": ("> /dev/full", {}, 2, "", "error: [Errno 28] No space left on device"),
    "no standard error": ("2>&-", {}, 0, "nan / 0.500", ""),
}


FEW = ("an output that is ASCII", "nobody reads", "a full disk")


@pytest.mark.parametrize("name", few(FEW, SHELLS))
def test_a_command_in_an_odd_shell(name: str, results: Path) -> None:
    how, environment, code, out, err = SHELLS[name]
    command = ["-m", "experiments.compare", "--results=~/results.json"]
    done = start(how, *command, HOME=str(results.parent), **environment)
    assert done.returncode == code, done.stderr
    assert out in done.stdout
    assert err in done.stderr
    assert len(done.stderr.splitlines()) == bool(err), done.stderr


def test_a_notebooks_backend_is_of_no_account(tmp_path: Path) -> None:
    path = str(tmp_path / "a.svg")
    draw = f"from mla_jax.report.figures.style import *; save(new_figure(1, 1), {path!r})"
    done = start("", "-c", draw, MPLBACKEND="module://no_such_module.backend_inline")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")


def test_a_device_that_is_not_there_is_one_line() -> None:
    program = "import jax; from mla_jax.commands import cli; cli.run(lambda: print(jax.devices()))"
    done = start("", "-c", program, JAX_PLATFORMS="gpuu")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "error: JAX_PLATFORMS=gpuu: JAX can use no such device here" in done.stderr


@pytest.mark.parametrize("wants", ["jax.numpy.zeros(2**50)", "bytearray(2**62)"])
def test_too_little_memory_is_one_line(wants: str) -> None:
    program = f"import jax; from mla_jax.commands import cli; cli.run(lambda: print({wants}))"
    done = start("", "-c", program)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "error: there is too little memory (" in done.stderr


def test_a_home_is_expanded_where_flags_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    given = ["--a=~/b", "--c=~/d,~/e,f~/g", "~/h", "--i=./~", "--j=k=~/l"]
    monkeypatch.setattr(sys, "argv", ["program", *given])
    arguments.expand_homes()
    assert sys.argv[1:] == [
        "--a=/home/me/b",
        "--c=/home/me/d,/home/me/e,f~/g",
        "/home/me/h",
        "--i=./~",
        "--j=k=~/l",
    ]


def test_what_goes_to_standard_output_is_not_mixed_with_what_is_told(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert not outputs.is_standard_output("")
    assert outputs.is_standard_output("/dev/stdout")
    files.write_text("/dev/stdout", "{}\n")
    console.tell("told", "/dev/stdout")
    assert capfd.readouterr() == ("{}\n", "told\n")


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_scores_that_are_infinite_or_not_defined_are_shown(value: float, tmp_path: Path) -> None:
    mAP = np.nan if np.isnan(value) else 1.0
    odd = results_of(0, mAP) | {"bootstrap_mAP": [mAP] * 200, "d_prime": value}
    odd["average"]["d_prime"] = value
    for scores in odd["classes"]:
        scores["average_precision"] = mAP
    row = comparison.row_of("odd", Config(), [odd, odd | {"seed": 1}])
    files.write_json(tmp_path / "t.json", comparison.table_of([*ROWS, row]))
    shown = comparison.markdown(files.read_json(tmp_path / "t.json")).splitlines()[-1]
    cells = [cell.strip() for cell in shown.split("|")]
    assert all(cell.endswith(f" / {value:.3f}") for cell in cells[3:5])


@pytest.mark.parametrize("other", [{}, [], [1], {"rows": [{}]}, "text", None])
def test_json_of_another_kind_has_no_table(other: object) -> None:
    with raises_user_error("x is not a table"), files.taken_as("x", "a table"):
        comparison.markdown(other)  # type: ignore[arg-type]
