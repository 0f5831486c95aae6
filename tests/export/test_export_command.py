"""The command `export`, and the table that compares exports."""

import json
from pathlib import Path

import pytest

from mla_jax.export.formats import FORMATS
from tests.support.programs import ok, run
from tests.support.taggers import require_runtime


def test_it_says_what_it_wrote_or_why_not(whole_workdir: Path, tmp_path: Path) -> None:
    output = tmp_path / "tagger.stablehlo"
    done = ok("export", f"--workdir={whole_workdir}", f"--output={output}")
    assert done.stdout.startswith(f"{output}: 1-A-1-A of step ")
    assert "classes; takes of an unknown encoder, 4 features of uint8" in done.stdout
    done = run("export", f"--workdir={whole_workdir}", f"--output={tmp_path}/tagger.pb")
    assert done.returncode == 2
    assert f"give a name that ends in {', '.join(FORMATS)}" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_table_of_exports(whole_workdir: Path, run_data: Path, tmp_path: Path) -> None:
    require_runtime(Path("tagger.onnx"))
    output = tmp_path / "exports.json"
    flags = [f"--workdir={whole_workdir}", f"--data={run_data}/eval", f"--output={output}"]
    page = tmp_path / "page.md"
    page.write_text("<!-- exports -->\n<!-- /exports -->\n")
    done = ok("exports", *flags, f"--update={page}")
    rows = json.loads(output.read_text())["rows"]
    assert [row["form"] for row in rows[1:]] == list(FORMATS)
    assert all(row["clip_difference"] < 1e-5 for row in rows[1:])
    assert all(row["mAP"] == pytest.approx(rows[0]["mAP"]) for row in rows)
    assert all(row["bytes"] > 1000 for row in rows[1:])
    for ending in FORMATS:
        assert f"| `{ending}` " in done.stdout
        assert f"| `{ending}` " in page.read_text()
