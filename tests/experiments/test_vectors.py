"""Commands keep NumPy from AVX-512 where its sort is slow by it, and nowhere else."""

import os
import sys
from pathlib import Path

import pytest

from mla_jax.commands.vectors import choose_vectors
from mla_jax.parallel.processor import processor_says
from tests.support.programs import python

ZEN4 = {"vendor_id": "AuthenticAMD", "cpu family": "25", "flags": "fpu avx2 avx512f avx512bw"}
DISABLE, ENABLE = "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES"


@pytest.fixture(autouse=True)
def nothing_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (DISABLE, ENABLE):
        monkeypatch.setenv(name, "")  # so that what a test leaves is taken back
        monkeypatch.delenv(name)


def test_zen_4_goes_without_avx512() -> None:
    choose_vectors(ZEN4)
    assert os.environ[DISABLE] in ("X86_V4", "AVX512F")


@pytest.mark.parametrize(
    "other",
    [
        ZEN4 | {"flags": "fpu avx2"},  # Zen 3
        ZEN4 | {"cpu family": "26"},  # Zen 5
        ZEN4 | {"vendor_id": "GenuineIntel"},
        {"Features": "fp asimd"},  # Arm
        {},
    ],
    ids=["zen3", "zen5", "intel", "arm", "not linux"],
)
def test_others_do_as_numpy_does(other: dict[str, str]) -> None:
    choose_vectors(other)
    assert DISABLE not in os.environ


@pytest.mark.parametrize("name", [DISABLE, ENABLE])
def test_what_the_user_asks_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "AVX512_ICL")
    choose_vectors(ZEN4)
    assert os.environ.get(name) == "AVX512_ICL"
    assert (DISABLE in os.environ) == (name == DISABLE)


def test_numpy_knows_the_names(monkeypatch: pytest.MonkeyPatch) -> None:
    choose_vectors(ZEN4)
    told = python(
        "-Walways",
        "-c",
        "import numpy; print(*numpy.show_config(mode='dicts')['SIMD Extensions'].get('found', []))",
    )
    assert told.returncode == 0
    assert not told.stderr
    assert not {"X86_V4", "AVX512F"} & set(told.stdout.split())


@pytest.mark.parametrize(
    "program",
    [
        "import experiments",
        "import contextlib; from mla_jax.commands.launch import launch\n"
        "with contextlib.suppress(SystemExit): launch('predict')",
    ],
    ids=["in a clone", "installed"],
)
def test_commands_choose_before_numpy_is_there(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = f"\nimport os, sys; print(os.environ.get('{DISABLE}'), 'numpy' in sys.modules)"
    started = "import sys; sys.argv[1:] = ['--help']\n" + program + end
    told = python("-c", started).stdout.splitlines()[-1]
    choose_vectors(processor_says())
    assert told.split()[0] == str(os.environ.get(DISABLE))
    if "experiments" in program:
        assert told.split()[1] == "False"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells this")
def test_the_first_processor_is_read() -> None:
    text = Path("/proc/cpuinfo").read_text()
    said = processor_says()
    assert said["processor"] == "0"
    for field in ("flags", "Features", "model name"):
        assert (field in said) == (f"\n{field}\t" in text)
