"""README.md, the guides and BUILD_NOTES.md say what is true: their code runs, their tables are produced."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mla_jax.commands import names
from tests.support import programs
from tests.support.small_runs import run_config, train_quietly

ROOT = Path(__file__).parent.parent.parent
COMMANDS = names.commands()
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = sorted((ROOT / "experiments/results").glob("*.json"))
PAGES = {
    path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("guide_*.md"))
}
PAGES[ROOT / "README.md"] = README
# Programs that stand for themselves, with their name in the first line, are run by tests of their pages.
BLOCKS = re.findall(
    r"```python\n(?!# \w+\.py\n)(.*?)```", "\n".join(PAGES.values()), flags=re.DOTALL
)


def test_there_is_code_and_there_are_results() -> None:
    assert len(BLOCKS) == 4
    assert RESULTS


@pytest.mark.slow
def test_its_python_runs_as_printed(run_data: Path, tmp_path: Path) -> None:
    config = run_config(run_data)
    config = dataclasses.replace(
        config, data=dataclasses.replace(config.data, validation_fraction=0.3)
    )
    train_quietly(config, tmp_path / "runs/2-A-1-A")
    shutil.copytree(run_data / "eval", tmp_path / "packed/eval")
    (tmp_path / "readme.py").write_text("\n".join(BLOCKS))
    done = subprocess.run(
        [sys.executable, "readme.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", **programs.compiling()},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout.strip().splitlines()[-1]) < 1
    assert (tmp_path / "packed/mine/manifest.json").exists()


@pytest.fixture(scope="module")
def rendered() -> dict[str, dict[str, str]]:
    """The tables of each results file, by the name of their markers."""
    code = """
import json, pathlib, sys
from mla_jax.commands import compare
from experiments.benchmarks import rows
from experiments.table import ablation, comparison, curve, exports, folds
shown = {
    'esc10': folds.markdown,
    'exports': exports.table,
    'ablation': ablation.markdown,
    'learning_curve': curve.markdown,
}
tables = {}
for path in map(pathlib.Path, sys.argv[1:]):
    made, name = json.loads(path.read_text()), path.stem
    if name in shown:
        tables[name] = {name: shown[name](made)}
    elif isinstance(made, dict):
        tables[name] = comparison.texts(made)
    elif 'part' in made[0]:
        tables[name] = {name: rows.table(made)}
    else:
        tables[name] = {name: compare.table(made), f'{name} curves': compare.curves(made)}
json.dump(tables, sys.stdout)
"""
    done = programs.python("-c", code, *RESULTS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_its_tables_are_those_of_the_results_files(
    path: Path, rendered: dict[str, dict[str, str]]
) -> None:
    notes = (ROOT / "BUILD_NOTES.md").read_text(encoding="utf-8")
    for marker, text in rendered[path.stem].items():
        pages = "".join([notes, *PAGES.values()])
        assert f"<!-- {marker} -->\n{text}\n<!-- /{marker} -->" in pages, marker


def test_its_figure_of_real_sounds_is_that_of_the_results_file() -> None:
    (first, *_) = json.loads((ROOT / "experiments/results/esc10.json").read_text())["rows"]
    assert first["model"] == "2-A-1-A:attention"
    assert f"names {first['top_1']:.1%} of clips" in " ".join(README.split()).replace(" %", "%")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_flag_and_file_it_names_exists(page: Path) -> None:
    text = PAGES[page]
    for clone, installed, flags in re.findall(
        r"(?:python -m experiments\.(\w+)|\bmla-([a-z-]+))((?:[^\n`]|\\\n)*)",
        text.replace("$E", ""),
    ):
        name = clone or installed.replace("-", "_")
        assert (ROOT / "experiments" / f"{name}.py").is_file(), name
        assert clone or name in COMMANDS, name
        sources = [
            ROOT / f"experiments/{name}.py",
            *(ROOT / f"experiments/table/{n}.py" for n in ("training_flags", "program")),
            names.HERE / f"{name}.py",
            *(p for p in names.HERE.glob("*.py") if p.stem not in COMMANDS),
        ]
        known = "".join(path.read_text(encoding="utf-8") for path in sources if path.is_file())
        for flag in re.findall(r"--([a-z_]+)(?![\w.])", flags):
            assert f'"{flag}"' in known or flag == "help", (name, flag)
    for target in set(re.findall(r"\]\(([^)#:]+)[)#]", text)):
        assert (page.parent / target).exists(), target
    for name in set(re.findall(r"`(mla_jax/[\w/]+\.py|mla_jax/\w+/)`", text)):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_within_pages_lead_to_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", PAGES[page]):
        text = (page.parent / target).read_text(encoding="utf-8") if target else PAGES[page]
        headings = [
            re.sub(r"[^\w -]", "", h).replace(" ", "-").lower()
            for h in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
        ]
        assert anchor in headings, anchor
