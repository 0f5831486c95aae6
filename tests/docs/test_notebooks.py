"""The notebooks run top to bottom, say what they promise, and are kept without outputs."""

import json
import re
import shlex
import sys
import types
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from packaging.requirements import Requirement

import mla_jax as mla
from mla_jax.localization.strong_labels import write_strong_labels
from tests.support import notebooks
from tests.support.programs import ROOT, python

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def run(path: Path, folder: Path) -> list[dict[str, str]]:
    """What each code cell says, run in a process of its own where every warning is an error."""
    command = ("-W", "error", "-m", "tests.support.notebooks", path, folder / "said")
    done = python(*command, JAX_NUMPY_RANK_PROMOTION="raise")
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "said").read_text())


def rows(printed: str) -> list[dict[str, str]]:
    """The rows of a table that a cell printed: columns are two spaces or more apart."""
    names, *lines = [re.split(r" {2,}", line.strip()) for line in printed.strip().splitlines()]
    return [dict(zip(names, line, strict=True)) for line in lines]


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["compose", "explore"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_a_notebook_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert not cell.metadata
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert notebook.cells[0].cell_type == "markdown"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_first_cell_installs_on_colab_and_only_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[str, str]] = []
    first, *others = notebooks.code_cells(path)
    space: dict[str, Any] = {"_magic": lambda *call: called.append(call)}
    notebooks.run_cell(first, space, "first")
    assert not called
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    notebooks.run_cell(first, space, "first")
    ((command, arguments),) = called
    assert command == "pip"
    install, *options, what = shlex.split(arguments)
    assert (install, options) == ("install", ["--quiet"])
    wanted = Requirement(what)
    assert wanted.name == "mla_jax"
    assert wanted.url == "file:///content/mla_jax"
    declared = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert wanted.extras
    assert all(f'"{extra}": [' in declared for extra in wanted.extras)
    assert not any("%pip" in cell or '_magic("pip' in cell for cell in others)


@pytest.mark.slow
def test_compose_trains_and_compares_a_new_pooling(tmp_path: Path) -> None:
    said = run(ROOT / "notebooks/compose.ipynb", tmp_path)
    curve = [
        line for cell in said for line in re.findall(r"step 200: (\S+), (\S+)", cell["printed"])
    ]
    ((loss, test_map),) = curve
    first, second = rows(said[-1]["printed"])
    assert (first["pooling"], second["pooling"]) == ("attention", "linear_softmax")
    assert first["mAP"] == test_map
    assert 0.6 < float(second["mAP"]) < 1
    assert float(second["from"]) < float(second["mAP"]) - float(first["mAP"]) < float(second["to"])
    assert float(loss) < 0.4


@pytest.mark.slow
def test_explore_finds_what_is_true_of_the_generated_clips(tmp_path: Path) -> None:
    said = run(ROOT / "notebooks/explore.ipynb", tmp_path)
    assert sum(bool(re.fullmatch(r"a picture of \d{4,} bytes", c["value"])) for c in said) == 5
    (confused,) = [rows(c["printed"]) for c in said if " instead " in c["printed"]]
    assert len(confused) == 8
    assert all(float(row["ratio"]) > 1.2 and row["of"] != row["instead"] for row in confused)
    segments, flat = rows(said[-1]["printed"].split("\n\n")[0])
    assert (segments["scores"], flat["scores"]) == ("segment scores", "clip probabilities")
    assert float(segments["macro AP"]) > float(flat["macro AP"]) + 0.1


def test_explore_opens_a_run(run_data: Path, whole_workdir: Path, tmp_path: Path) -> None:
    """Of a run in a folder, with strong labels of some of its clips."""
    clips = mla.open_packed(run_data / "eval")[:30]
    classes = mla.TrainedModel.open(whole_workdir).classes
    rng = np.random.default_rng(0)
    active = (rng.random((30, clips.max_segments, len(classes))) < 0.3) & clips.mask()[:, :, None]
    events = mla.segments_to_events(active, clips.video_ids)
    write_strong_labels(tmp_path / "events.tsv", events, classes)
    path = ROOT / "notebooks/explore.ipynb"
    text = path.read_text(encoding="utf-8")
    for name, value in (
        ("RUN", whole_workdir),
        ("DATA", run_data / "eval"),
        ("EVENTS", tmp_path / "events.tsv"),
    ):
        text, count = re.subn(rf'"{name} = \\"\\"', rf'"{name} = \\"{value}\\"', text)
        assert count == 1
    (tmp_path / "mine.ipynb").write_text(text, encoding="utf-8")
    said = run(tmp_path / "mine.ipynb", tmp_path)
    assert "('1-A-1-A', (40, 5, 4), (40, 7))" in [c["value"] for c in said]
    assert sum(c["value"].startswith("a picture") for c in said) == 5
    found = rows(said[-1]["printed"].split("\n\n")[1])
    assert [int(row["segments"]) for row in found] == active.sum(axis=(0, 1)).tolist()
