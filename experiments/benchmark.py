r"""Measures mla_jax against named peers, interleaved in one run, and prints a table of the ratios.

    python -m experiments.benchmark --data=packed --records=audioset_v1_embeddings/bal_train \
        --output=bench.json

Without --data and --records the clips are generated. If a peer is not installed or there is no GPU, the
table says so. `pip install '.[bench]'` installs scikit-learn; PyTorch must be installed by hand, since its
usual wheel brings gigabytes of CUDA. The file is written after every part.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

from experiments.benchmarks import (
    cpu,
    evaluator,
    gpu,
    growth,
    importing,
    parallel,
    reading,
    sampling,
    sound,
    starting,
)
from experiments.benchmarks.rows import NotMeasuredError, Row, machine, table
from experiments.benchmarks.setting import QUICK, Setting, Sizes
from mla_jax.commands import cli, common_flags, console
from mla_jax.commands.markdown import update_markdown
from mla_jax.errors import UserError
from mla_jax.runs.folder import require_output
from mla_jax.storage import files, paths

PARTS: dict[str, Callable[[Setting], list[Row]]] = {
    "evaluator": evaluator.evaluator,
    "records": reading.records,
    "open": reading.opening,
    "pack": reading.packing,
    "sampler": sampling.sampler,
    "cpu_step": cpu.cpu_step,
    "cpu_inference": cpu.cpu_inference,
    "gpu_step": gpu.gpu_step,
    "gpu_run": gpu.gpu_run,
    "start": starting.starting,
    "import": importing.importing,
    "host_path": growth.host_path,
    "growth": growth.growth,
    "parallel": parallel.parallel,
    "encoder": sound.encoder,
    "decoding": sound.decoding,
}

_ONLY = flags.DEFINE_list("only", [], f"Which parts: {', '.join(PARTS)}; all if left out.")
_OUTPUT = flags.DEFINE_string("output", "", "The JSON file to write, or to bring up to date.")
_WORKDIR = flags.DEFINE_string(
    "workdir",
    "runs/benchmark",
    "Where generated data go (some 8 GB for all parts), to be used again.",
)
_DATA = flags.DEFINE_string("data", "", "A folder with the packed sets bal_train and eval.")
common_flags.formerly("data_dir", _DATA)
_RECORDS = flags.DEFINE_string(
    "records", "", "A folder of TFRecords, such as the released bal_train."
)
_RESULTS = flags.DEFINE_string("results", "", "A file written before, instead of measuring.")
_UPDATE = flags.DEFINE_string(
    "update", "", "A Markdown file to put the table into, between the markers of the results' name."
)
_QUICK = flags.DEFINE_bool(
    "quick", False, "Little work, to see that it runs; the times mean nothing."
)


def main() -> None:
    """Measures what the flags say, or shows what was measured."""
    if _UPDATE.value and not _RESULTS.value:
        raise UserError("--update needs --results, the file that is shown")
    found = files.read_json(_RESULTS.value) if _RESULTS.value else _measure()
    with files.taken_as(_RESULTS.value, "a file that this program has written"):
        on, shown = found[0]["machine"], table(found)
        versions = ", ".join(f"{k} {v}" for k, v in on["versions"].items() if v)
        about = f"{on['processor']}, {on['threads']} threads, {on['device']['kind']}; {versions}"
    console.tell(f"{about}\n\n{shown}", _OUTPUT.value)
    if _UPDATE.value:
        update_markdown(_UPDATE.value, Path(_RESULTS.value).stem, shown)


def _measure() -> list[dict[str, Any]]:
    wanted = _ONLY.value or list(PARTS)
    for name in wanted:
        if name not in PARTS:
            raise UserError(f"--only={name} is not known: choose from {', '.join(PARTS)}")
    if _OUTPUT.value:
        require_output(_OUTPUT.value)
    for flag in (_DATA, _RECORDS, _WORKDIR):
        paths.require_local(flag.value, f"--{flag.name}")
    if _RECORDS.value and not any(Path(_RECORDS.value).glob("*.tfrecord")):
        raise UserError(f"{_RECORDS.value} has no .tfrecord files; give a folder of TFRecords")
    # Apart, so that no full measurement uses the few clips of a quick one.
    workdir = Path(_WORKDIR.value) / ("quick" if _QUICK.value else "full")
    workdir.mkdir(parents=True, exist_ok=True)
    sizes = QUICK if _QUICK.value else Sizes()
    setting = Setting(sizes, workdir, _DATA.value, _RECORDS.value)
    on = machine(["torch", "scikit-learn", "tensorflow-cpu", "tensorflow"])
    old = (
        files.read_json(_OUTPUT.value)
        if _OUTPUT.value and paths.as_path(_OUTPUT.value).is_file()
        else []
    )
    found: list[dict[str, Any]] = []
    for name in wanted:
        console.say(f"{name} ...")
        try:
            rows = PARTS[name](setting)
        except (NotMeasuredError, ImportError) as error:  # TensorFlow may be missing, too
            rows = [Row(float("nan"), notes={"not measured": f"not measured: {error}"})]
        found += [{"part": name} | dataclasses.asdict(row) | {"machine": on} for row in rows]
        if _OUTPUT.value:
            kept = [row for row in old if row["part"] not in wanted]
            try:
                files.write_json(_OUTPUT.value, sorted(found + kept, key=_place))
            except UserError as error:  # what was measured is printed in the end
                console.say(f"warning: {error}")
    return found


def _place(row: dict[str, Any]) -> int:
    return list(PARTS).index(row["part"])


if __name__ == "__main__":
    cli.run(main)
