"""Tagging and evaluating by several processes, here one after the other: the bytes of one process."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.data.formats.record_writer import write_record_file
from mla_jax.parallel.signals import EXIT_TO_BE_CONTINUED
from mla_jax.runs.spread import evaluate_share
from mla_jax.runs.train import train
from mla_jax.runs.use import evaluate
from mla_jax.storage.parts import Share
from mla_jax.tagging.spread import predict_share
from mla_jax.tagging.tag import predict_to_file
from mla_jax.tagging.tagger import EventOptions, TagOptions
from tests.support.helpers import raises_user_error, random_clips
from tests.support.programs import children_of, ok, one_device
from tests.support.small_runs import ROOT, run_config, wait_until

OPTIONS = TagOptions(top_k=3, segments=True, threshold=0.2, batch_size=16)


@pytest.fixture(scope="module")
def run(run_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of few steps on clips of 5 segments."""
    folder = tmp_path_factory.mktemp("spread")
    config = run_config(run_data, steps=20, log_every=20, eval_every=20, checkpoint_every=20)
    train(config, folder / "run", say=lambda _: None)
    return folder / "run"


@pytest.fixture(scope="module")
def packed(run: Path) -> Path:
    """303 clips of 1 to 5 segments."""
    mla.pack([random_clips(num_clips=303, seed=3)], run.parent / "packed")
    return run.parent / "packed"


def left_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def tag_in(shares: int, run: Path, data: Path, output: Path, options: TagOptions) -> list[object]:
    """What each of several processes returns, the last first."""
    return [
        predict_share(Share(i, shares), run, str(data), output, options, part_clips=32)
        for i in reversed(range(shares))
    ]


@pytest.mark.parametrize(
    ("ending", "shares"),
    [
        ("jsonl", 3),
        ("parquet", 5),
        *(
            pytest.param(ending, shares, marks=pytest.mark.slow)
            for ending, shares in (("csv", 2), ("parquet", 1), ("tsv", 3))
        ),
    ],
)
def test_the_bytes_are_those_of_one_process(
    run: Path, packed: Path, tmp_path: Path, ending: str, shares: int
) -> None:
    options = TagOptions(top_k=3, segments=True, threshold=0.2, window=3, hop=2, batch_size=16)
    one = predict_to_file(run, str(packed), tmp_path / f"one.{ending}", options)
    *others, last = tag_in(shares, run, packed, tmp_path / f"many.{ending}", options)
    assert others == [None] * (shares - 1)
    assert last == one
    assert (tmp_path / f"many.{ending}").read_bytes() == (tmp_path / f"one.{ending}").read_bytes()
    assert left_in(tmp_path) == [f"many.{ending}", f"one.{ending}"]


def test_events_over_the_ends_of_parts_are_those_of_one_process(
    run: Path, packed: Path, tmp_path: Path
) -> None:
    clips = mla.open_packed(packed)
    one_name = dataclasses.replace(
        clips,
        video_ids=np.full(len(clips), b"one"),
        start_times=np.append(0.0, np.cumsum(clips.num_segments)[:-1]),
    )
    mla.pack([one_name], tmp_path / "in")
    made = EventOptions(keep=0.9, smoothing=3, least_seconds=2.0, least_gap=2.0)
    options = TagOptions(threshold=0.22, segment_seconds=1.0, batch_size=16, events=made)
    predict_to_file(run, str(tmp_path / "in"), tmp_path / "one.jsonl", options)
    tag_in(3, run, tmp_path / "in", tmp_path / "many.jsonl", options)
    assert (tmp_path / "many.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    (line,) = (tmp_path / "one.jsonl").read_text().splitlines()
    events = json.loads(line)["events"]
    assert max(e["offset"] - e["onset"] for e in events) > 20  # over many parts of 32 clips
    assert min(e["offset"] - e["onset"] for e in events) >= 2


def test_records_of_unknown_number_and_bad_ones(run: Path, packed: Path, tmp_path: Path) -> None:
    records = tmp_path / "in/clips.tfrecord"
    records.parent.mkdir()
    write_record_file([mla.open_packed(packed)], records)
    content = bytearray(records.read_bytes())
    for place in (1000, len(content) // 2, -1000):
        content[place] ^= 1
    records.write_bytes(content)
    options = {"bad_records": "skip"}
    one = predict_to_file(run, str(records), tmp_path / "one.jsonl", OPTIONS, **options)
    assert one.skipped == 3
    for i in range(3):
        done = predict_share(
            *(Share(i, 3), run, str(records), tmp_path / "many.jsonl", OPTIONS),
            part_clips=32,
            **options,
        )
    assert done == one
    for name in ("jsonl", "skipped_records.jsonl"):
        assert (tmp_path / f"many.{name}").read_bytes() == (tmp_path / f"one.{name}").read_bytes()


def test_what_is_finished_is_not_made_again(run: Path, packed: Path, tmp_path: Path) -> None:
    output = tmp_path / "many.jsonl"
    assert tag_in(2, run, packed, output, OPTIONS)[-1]
    whole = output.read_bytes()
    # One of two processes ends, and one part of it is damaged; three others go on.
    predict_share(Share(0, 2), run, str(packed), output, OPTIONS, part_clips=32)
    kept = sorted((tmp_path / "many.jsonl.unfinished").glob("part-*.npz"))
    assert len(kept) == 5
    kept[0].write_bytes(kept[0].read_bytes()[:-100])
    written = {path.name: path.stat().st_mtime_ns for path in kept}
    made = [
        predict_share(Share(i, 3), run, str(packed), output, OPTIONS, part_clips=32)
        for i in range(2)
    ]
    assert made == [None, None]
    now = {path.name: path.stat().st_mtime_ns for path in kept}
    assert [name for name in written if written[name] != now[name]] == [kept[0].name]
    with raises_user_error(
        "was begun with other settings or files", "options top_k (was 3, now 5)"
    ):
        other = TagOptions(top_k=5, segments=True, threshold=0.2, batch_size=16)
        predict_share(Share(2, 3), run, str(packed), output, other, part_clips=32)
    assert predict_share(Share(2, 3), run, str(packed), output, OPTIONS, part_clips=32)
    assert output.read_bytes() == whole
    assert left_in(tmp_path) == ["many.jsonl"]


def test_more_processes_than_parts_and_no_parts_at_all(
    run: Path, packed: Path, tmp_path: Path
) -> None:
    output = tmp_path / "tags.csv"
    done = [predict_share(Share(i, 2), run, str(packed), output) for i in range(2)]
    assert done[0]
    assert done[1] is None
    assert left_in(tmp_path) == ["tags.csv"]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/empty.tfrecord").touch()
    with raises_user_error("the file is empty"):
        predict_share(Share(0, 2), run, f"{tmp_path}/in", tmp_path / "none.csv")
    assert left_in(tmp_path) == ["in", "tags.csv"]


def test_a_stream_cannot_be_shared(run: Path, packed: Path) -> None:
    with raises_user_error("is no file, so several processes cannot share it"):
        predict_share(
            Share(0, 2), run, str(packed), "/dev/null", TagOptions(format="csv"), part_clips=32
        )


@pytest.mark.parametrize("runs", [1, 2])
def test_results_are_those_of_one_process(run: Path, tmp_path: Path, runs: int) -> None:
    packed = tmp_path / "packed"
    mla.pack([random_clips(num_clips=1203, seed=3)], packed)
    workdir = ",".join([str(run)] * runs)
    one = evaluate(workdir, str(packed), output=tmp_path / "one.json")
    shown: list[object] = []
    made = [
        evaluate_share(
            *(Share(i, 2), workdir, str(packed), tmp_path / "many.json"),
            part_clips=500,
            show=shown.append,
        )
        for i in range(2)
    ]
    assert made[0] is None
    np.testing.assert_equal(made[1], one)
    np.testing.assert_equal(shown, [one])
    assert (tmp_path / "many.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    assert left_in(tmp_path) == ["many.json", "one.json", "packed"]


def start(program: str, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{program}", *flags, "--distributed=local:2"],
        cwd=ROOT,
        env=one_device(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ends_well(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out


@pytest.mark.slow
def test_the_commands_share_the_work_and_go_on_when_one_is_killed(
    run: Path, tmp_path: Path
) -> None:
    clips = random_clips(num_clips=2000)
    mla.pack((clips for _ in range(30)), tmp_path / "packed")
    flags = [f"--workdir={run}", f"--data={tmp_path}/packed", "--segments"]
    one = ok("predict", *flags, f"--output={tmp_path}/one.parquet")
    flags.append(f"--output={tmp_path}/two.parquet")
    parts = tmp_path / "two.parquet.unfinished"
    with start("predict", *flags) as process:
        wait_until(lambda: len(list(parts.glob("part-*"))) > 3, process)
        os.kill(children_of(process.pid)[1], signal.SIGKILL)
        assert process.wait(timeout=60) == EXIT_TO_BE_CONTINUED
        assert process.stderr is not None
        last = process.stderr.read().splitlines()[-1]
    assert last.startswith("error: process 1 of 2 was ended by SIGKILL")
    assert last.endswith("to go on with the parts that are missing")
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("part-*")}
    assert 3 < len(kept) < 60
    with start("predict", *flags) as process:
        wait_until(lambda: len(list(parts.glob("part-*"))) > len(kept), process)
        assert all(path.stat().st_mtime_ns == written for path, written in kept.items())
        assert ends_well(process) == one.stdout.replace("one.parquet", "two.parquet")
    assert (tmp_path / "two.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()
    flags = [f"--workdir={run}", f"--data={tmp_path}/packed"]
    one = ok("evaluate", *flags, f"--output={tmp_path}/one.json")
    assert ends_well(start("evaluate", *flags, f"--output={tmp_path}/two.json")) == one.stdout
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    nowhere = start("evaluate", *flags)
    assert nowhere.communicate(timeout=60)[1].count("give --output: several processes") >= 1
    assert nowhere.returncode == 2
