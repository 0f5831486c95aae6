"""From Enter to the end of small commands, against the import that none of them can do without."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from experiments.benchmarks.rows import Row, compare
from experiments.benchmarks.setting import Setting, random_clips
from mla_jax.data.packing import pack

_PEER = "import jax"


def starting(setting: Setting) -> list[Row]:
    """Commands on a few clips, once with nothing compiled and then again."""
    folder = setting.workdir / "start"
    if not (folder / "run" / "results.json").exists():
        _prepare(setting, folder)
    work = folder / "work"
    predict = ["predict", f"--workdir={folder / 'run'}", f"--output={work / 'tags.jsonl'}"]
    steps, batch = "--config.train.steps=1", f"--config.data.batch_size={setting.sizes.batch_size}"
    train = ["train", *_model(setting), batch, steps, f"--config.data.train={folder / 'many'}"]
    commands = {
        "predict 10 clips, .npz": [*predict, f"--data={folder / 'ten.npz'}"],
        "predict 10 clips, packed": [*predict, f"--data={folder / 'ten'}"],
        "predict 10 clips, records": [*predict, f"--data={folder / 'records'}"],
        "evaluate 100 clips": [
            "evaluate",
            f"--workdir={folder / 'run'}",
            f"--data={folder / 'hundred'}",
        ],
        "train, one step": [*train, f"--workdir={work / 'run'}"],
        "report of a finished run": [
            "report",
            f"--workdir={folder / 'run'}",
            f"--output={work / 'report.html'}",
        ],
        "predict --help": ["predict", "--help"],
    }
    return [_row(name, flags, work, setting.sizes.repeats) for name, flags in commands.items()]


def _row(name: str, flags: Sequence[str], work: Path, repeats: int) -> Row:
    cache = work.with_name("cache")
    shutil.rmtree(cache, ignore_errors=True)

    def ours() -> None:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        _run([sys.executable, "-m", f"experiments.{flags[0]}", *flags[1:]], cache)

    first = _cpu_seconds(ours)
    timed = compare(ours, lambda: _run([sys.executable, "-c", _PEER], cache), max(2, repeats // 2))
    return Row(
        peer=_PEER,
        work=f"{name}, again",
        notes={"CPU s": _cpu_seconds(ours), "with nothing compiled, CPU s": first},
        **timed,
    )


def _prepare(setting: Setting, folder: Path) -> None:
    """A run of two steps, and clips in each format."""
    # It imports TensorFlow, and this module is imported with the benchmark.
    from mla_jax.data.formats.record_writer import write_records

    shutil.rmtree(folder, ignore_errors=True)
    few = random_clips(10)
    pack([few], folder / "ten")
    pack([random_clips(100)], folder / "hundred")
    pack([random_clips(1_000)], folder / "many")
    write_records(few, folder / "records")
    np.savez(folder / "ten.npz", x=few.embeddings, y=few.multi_hot(), video_id_list=few.video_ids)
    data = f"--config.data.train={folder / 'many'}", f"--config.data.eval={folder / 'hundred'}"
    train = [sys.executable, "-m", "experiments.train", *_model(setting), *data]
    _run([*train, "--config.train.steps=2", f"--workdir={folder / 'run'}"], folder / "cache")


def _model(setting: Setting) -> list[str]:
    return ["--preset=yu2018", f"--config.model.hidden_units={setting.sizes.hidden_units}"]


def _run(command: Sequence[str], cache: Path) -> None:
    environment = os.environ | {"MLA_JAX_CACHE": str(cache), "MLA_JAX_KEEP_COMPILED": "1"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    subprocess.run(command, check=True, env=environment, capture_output=True)


def _cpu_seconds(work: Callable[[], None]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
