"""Gathers the scores of finished runs into one file, and shows them as a table.

    mla-compare --workdir=runs/a --workdir=runs/b --output=experiments/results/NAME.json
    mla-compare --results=experiments/results/NAME.json --update=README.md

The file has the settings, the scores and the curve of each run. Runs of other classes are an error; above
a table of runs on other eval data stands a warning. With --update the table replaces what is
between `<!-- NAME -->` and `<!-- /NAME -->` in that file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from mla_jax.commands import console
from mla_jax.commands.markdown import has_markers, markdown_table, update_markdown
from mla_jax.data.class_list import one_list
from mla_jax.errors import UserError
from mla_jax.presets import preset_of
from mla_jax.runs.fingerprint import may_be_same_eval
from mla_jax.runs.folder import RunFolder, classes_of, require_output
from mla_jax.runs.names import run_names
from mla_jax.storage import files, paths

_SCORES = ("mAP", "AUC", "d_prime")

_WORKDIRS = flags.DEFINE_multi_string(
    "workdir", [], "A finished run's folder; may be given several times, in the table's order."
)
_OLD_WORKDIRS = flags.DEFINE_list("workdirs", [], "Alias for --workdir, with commas between.")
_OUTPUT = flags.DEFINE_string("output", "", "The JSON file to write.")
_RESULTS = flags.DEFINE_string("results", "", "A JSON file written before, instead of runs.")
_UPDATE = flags.DEFINE_string("update", "", "A Markdown file to put the table into.")


def gather(workdirs: Sequence[Path]) -> list[dict[str, Any]]:
    """The settings, scores and curves of finished runs.

    Raises:
      UserError: one is not finished or has no scores on an eval split, or they are of other classes.
    """
    results = [_results(workdir) for workdir in workdirs]
    known = {f"{w}": classes_of(r) for w, r in zip(workdirs, results, strict=True)}
    lists = {name: classes for name, classes in known.items() if classes is not None}
    if lists:
        one_list(lists)
    rows = zip(run_names(workdirs), workdirs, results, strict=True)
    return [{"name": name, **_row(workdir, found)} for name, workdir, found in rows]


def _results(workdir: Path) -> dict[str, Any]:
    results = RunFolder(workdir).results()
    if results is None:
        raise UserError(f"{workdir} is not a finished run; train it to its last step first")
    if results["evaluated_on"] != "eval":
        raise UserError(
            f"{workdir} has no scores on an eval split: train it with --config.data.eval"
        )
    return results


def _row(workdir: Path, results: dict[str, Any]) -> dict[str, Any]:
    run = RunFolder(workdir)
    config = run.config()
    row = {
        "form": preset_of(config.model, ignoring=("architecture", "pooling")) or "own",
        "config": config.without_paths(),
        "curve": [
            {"step": r["step"], "loss": r["loss"]} | {name: r[f"eval_{name}"] for name in _SCORES}
            for r in run.metrics()
            if "eval_mAP" in r
        ],
        **{k: v for k, v in results.items() if k not in ("classes", "halves")},
    }
    average = workdir / "average.json"  # of evaluate --average_from, if there is one
    if average.exists():
        found = files.read_json(average)
        with files.taken_as(average, "of evaluate --average_from; move it away, or make it again"):
            row["average"] = {k: found[k] for k in ("steps_averaged", "num_clips")} | {
                k: files.number(found[k]) for k in _SCORES
            }
        if not may_be_same_eval(results, found):
            raise UserError(
                f"{average} is of {found['num_clips']} clips, but the run's scores are of others, "
                f"{results['num_clips']}; make it again, of the run's eval data"
            )
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The Markdown table of gathered runs, below a warning if they are not of the same eval data."""
    lines = []
    for name, row in zip(_names(rows), rows, strict=True):
        average = row.get("average", {})
        model, data = row["config"]["model"], row["config"]["data"]
        architecture = model["architecture"]
        if model["pooling"] != "attention":
            architecture += f", {model['pooling']} pooling"
        lines.append(
            {
                "run": name,
                "model": architecture,
                "form": row["form"],
                "padding": "masked" if data["mask"] else "as zeros",
                "step": f"{row['step']:,}",
                "mAP": files.number(row["mAP"]),
                "AUC": files.number(row["AUC"]),
                "d-prime": files.number(row["d_prime"]),
                "checkpoints averaged": len(average.get("steps_averaged", [])) or None,
                "averaged mAP": files.number(average["mAP"]) if average else None,
            }
        )
    return _other_data(rows) + markdown_table(lines)


def _names(rows: list[dict[str, Any]]) -> list[str]:
    """What the runs are called; where a file of before calls several alike, with their row's number."""
    names = [row["name"] for row in rows]
    return [f"{name} ({i})" if names.count(name) > 1 else name for i, name in enumerate(names, 1)]


def _other_data(rows: list[dict[str, Any]]) -> str:
    """A warning where rows are known to be of other eval data than the first."""
    others = [str(i) for i, row in enumerate(rows, 1) if not may_be_same_eval(rows[0], row)]
    if not others:
        return ""
    return (
        f"**Not of the same eval data**: other clips, labels or embeddings than in row 1 are in row "
        f"{', '.join(others)}, so that the figures cannot be compared.\n\n"
    )


def curves(rows: list[dict[str, Any]]) -> str:
    """The curves: mAP and AUC by step, a column a run; empty where no run has any."""
    steps = sorted({point["step"] for row in rows for point in row["curve"]})
    lines = []
    for step in steps:
        line: dict[str, Any] = {"step": f"{step:,}"}
        for name, row in zip(_names(rows), rows, strict=True):
            point = next((p for p in row["curve"] if p["step"] == step), None)
            line[name] = (
                " / ".join(f"{files.number(point[score]):.3f}" for score in ("mAP", "AUC"))
                if point
                else None
            )
        lines.append(line)
    return markdown_table(lines) if lines else ""


def main() -> None:
    """Gathers and shows as the flags say."""
    workdirs = [*_WORKDIRS.value, *_OLD_WORKDIRS.value]
    if bool(workdirs) == bool(_RESULTS.value):
        raise UserError(
            "give --workdir, finished runs, or --results, a file of them; one of the two"
        )
    if _OUTPUT.value:
        require_output(_OUTPUT.value)
    if _RESULTS.value:
        name, rows = Path(_RESULTS.value).stem, files.read_json(_RESULTS.value)
    else:
        name = Path(_OUTPUT.value).stem
        rows = gather([paths.as_path(w) for w in workdirs])
    with files.taken_as(_RESULTS.value, "a file that compare --output has written"):
        texts = {name: table(rows), f"{name} curves": curves(rows)}
    console.tell("\n\n".join(filter(None, texts.values())), _OUTPUT.value)
    if _OUTPUT.value:
        files.write_json(_OUTPUT.value, rows)
    if _UPDATE.value:
        for marker in [m for m in texts if has_markers(_UPDATE.value, m)] or [name]:
            update_markdown(_UPDATE.value, marker, texts[marker])
