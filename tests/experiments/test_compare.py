"""Runs that are shown in one table are of the same classes, and it says if they are of other eval data."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import ok, run
from tests.support.untrained import make_runs

WARNING = "Not of the same eval data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_runs(tmp_path_factory.mktemp("runs"))
    line = {"step": 12, "loss": 0.1} | {f"eval_{name}": 0.5 for name in ("mAP", "AUC", "d_prime")}
    (folder / "single" / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return folder


def changed(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A copy of the run, with other results."""
    path = shutil.copytree(folder / "single", folder / name) / "results.json"
    results = json.loads(path.read_text())
    change(results)
    path.write_text(json.dumps(results))
    return path.parent


def compared(*runs: Path) -> str:
    return ok("compare", f"--workdirs={','.join(map(str, runs))}").stdout


def test_other_eval_data_are_told_above_the_table(folder: Path) -> None:
    first = folder / "single"
    same = changed(folder, "same", lambda r: None)
    old = changed(folder, "old", lambda r: r.pop("fingerprints"))
    other = changed(folder, "other", lambda r: r["fingerprints"].update(eval="0123"))
    fewer = changed(folder, "fewer", lambda r: (r.pop("fingerprints"), r.update(num_clips=3)))
    assert WARNING not in compared(first, same, old)
    told = compared(first, same, other, fewer)
    assert told.startswith(f"**{WARNING}**: other clips, labels or embeddings than in row 1 ")
    assert "in row 3, 4," in told.splitlines()[0]
    ok("compare", f"--workdir={first}", f"--workdir={other}", f"--output={folder}/kept.json")
    assert WARNING in ok("compare", f"--results={folder}/kept.json").stdout


def test_an_average_of_other_clips_is_refused(folder: Path) -> None:
    run_folder = changed(folder, "averaged", lambda r: None)
    average = json.loads((run_folder / "results.json").read_text()) | {"steps_averaged": [4, 8]}
    (run_folder / "average.json").write_text(json.dumps(average))
    assert "| 2 " in compared(run_folder)
    others = average | {"fingerprints": {"eval": "0123"}}  # as many
    (run_folder / "average.json").write_text(json.dumps(others))
    assert run("compare", f"--workdirs={run_folder}").returncode == 2
    (run_folder / "average.json").write_text(json.dumps(average | {"num_clips": 3}))
    done = run("compare", f"--workdirs={run_folder}")
    assert done.returncode == 2
    assert f"{run_folder}/average.json is of 3 clips" in done.stderr


def test_other_classes_are_refused(folder: Path) -> None:
    turned = changed(folder, "turned", lambda r: r["classes"].reverse())
    done = run("compare", f"--workdirs={folder}/single,{turned}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {turned}")
    assert len(done.stderr.splitlines()) == 1


def test_every_run_has_its_own_name_and_its_own_curve(folder: Path) -> None:
    """Seeds of one preset, in folders of one name, differ in nothing else."""
    runs = [folder / row / "seed0" for row in ("one", "two")]
    for run_folder, mAP in zip(runs, (0.25, 0.75), strict=True):
        changed(folder, str(run_folder.relative_to(folder)), lambda r: None)
        line = {"step": 12, "loss": 0.1, "eval_mAP": mAP, "eval_AUC": 0.5, "eval_d_prime": 0}
        (run_folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    ok("compare", f"--workdirs={runs[0]},{runs[1]}", f"--output={folder}/seeds.json")
    rows = json.loads((folder / "seeds.json").read_text())
    before = [row | {"name": "seed0"} for row in rows]  # so runs were called once
    (folder / "before.json").write_text(json.dumps(before))
    for file, names in (("seeds", ["one", "two"]), ("before", ["seed0 (1)", "seed0 (2)"])):
        told = ok("compare", f"--results={folder}/{file}.json").stdout
        (head,) = [line for line in told.splitlines() if line.startswith("| step")]
        assert [cell.strip() for cell in head.split("|")[2:4]] == names
        assert [cell for cell in told.split() if cell in ("0.250", "0.750")] == ["0.250", "0.750"]
        for name in names:
            assert f"| {name} | " in " ".join(told.split())
    done = run("compare", f"--workdirs={runs[0]},{runs[0]}")
    assert done.returncode == 2
    assert "the same run is given twice" in done.stderr
