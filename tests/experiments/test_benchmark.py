"""The benchmark measures what it says, against peers that do the same work."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.benchmarks import cpu, gpu, growth, reading, sampling, sound, starting
from experiments.benchmarks.rows import NotMeasuredError, Row, compare, table
from experiments.benchmarks.setting import QUICK, Setting, Sizes, many_clips, random_clips
from tests.support.programs import ok, run


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(dataclasses.replace(QUICK, many_clips=300, train_clips=200), tmp_path)


def test_the_ratio_is_the_peers_time_over_ours_pair_by_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The machine halves its speed after each pair; every pair still says 3.
    seconds = iter([9.0, 9.0, 1.0, 3.0, 2.0, 6.0, 4.0, 12.0])
    monkeypatch.setattr("experiments.benchmarks.rows._seconds", lambda work: next(seconds))
    timed = compare(lambda: None, lambda: None, repeats=3)
    assert timed == {"ours_s": 2.0, "peer_s": 6.0, "ratio": 3.0, "spread": (3.0, 3.0)}


def test_a_table_says_what_was_not_measured() -> None:
    row = Row(float("nan"), notes={"not measured": "not measured: no GPU"})
    assert "not measured: no GPU" in table([{"part": "gpu_step"} | dataclasses.asdict(row)])


def test_parts_for_another_machine_say_so(setting: Setting) -> None:
    for part in (gpu.gpu_step, gpu.gpu_run):
        with pytest.raises(NotMeasuredError, match="no GPU"):
            part(setting)


@pytest.mark.slow
def test_the_whole_run_of_the_gpu_part_runs_anywhere(setting: Setting) -> None:
    (row,) = gpu.run_on(setting)
    assert row.ours_s > 0
    assert "4 steps on 300 clips, 2 evaluations of 400" in row.work


def test_the_operations_of_a_step_are_those_of_the_papers_sizes(setting: Setting) -> None:
    config = Setting(dataclasses.replace(Sizes(), batch_size=1), setting.workdir).config
    clips = random_clips(2)
    by_hand = 10 * (128 * 600 + 2 * 600 * 600 + 4 * 600 * 527) + 1054 * 527
    assert cpu.forward_operations(config, clips) == 2 * by_hand


def test_the_peer_of_the_records_reads_the_same(setting: Setting) -> None:
    files = reading.record_files(setting)
    embeddings, labels = reading.read_with_tf_data(files)
    chunks = reading.read_records(files)
    np.testing.assert_array_equal(embeddings, np.concatenate([c.embeddings for c in chunks]))
    ids = np.concatenate([c.label_ids for c in chunks])
    np.testing.assert_array_equal(np.concatenate(labels), ids)


def test_the_peer_of_the_sampler_draws_every_class_in_turn(setting: Setting) -> None:
    clips = many_clips(300)
    lists = sampling.ShuffledLists(clips, 60)
    present = np.flatnonzero(clips.class_counts())
    rounds = [lists.batch() for _ in range(len(present))]
    drawn = np.concatenate(rounds)[: len(present)]
    owners = [
        set(clips.label_ids[clips.label_offsets[i] : clips.label_offsets[i + 1]]) for i in drawn
    ]
    assert set().union(*owners) == set(present)


def test_torch_computes_our_model(setting: Setting) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is in no extra")
    from experiments.benchmarks import torch_peer

    config = setting.config
    clips = random_clips(6)
    peer = torch_peer.Trainer(config, clips)
    ours = cpu.Trainer(config, clips)
    peer.steps(1)
    ours.steps(1)
    count = sum(parameter.numel() for parameter in peer.model.parameters())
    assert count == sum(leaf.size for leaf in jax.tree.leaves(ours.state.params))
    with torch.inference_mode():
        probs = peer.predict(clips, 4)
    assert probs.shape == (6, 527)
    assert ((probs > 0) & (probs < 1)).all()


@pytest.mark.slow
def test_the_host_path_makes_the_same_steps(setting: Setting) -> None:
    clips = random_clips(200)
    resident = cpu.Trainer(setting.config, clips)
    fed = growth.FedTrainer(resident, clips)
    resident.steps(3)
    fed.steps(3)
    fed.feed.close()
    kernels = (t.state.params["block_0"]["dense"]["kernel"] for t in (fed, resident))
    np.testing.assert_allclose(*kernels, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "part",
    [
        reading.records,
        reading.opening,
        sampling.sampler,
        pytest.param(sound.encoder, marks=pytest.mark.slow),
        pytest.param(starting.starting, marks=pytest.mark.slow),
    ],
)
def test_a_part_measures_ours_and_its_peer(
    part: Callable[[Setting], list[Row]], setting: Setting
) -> None:
    first, *_ = rows = part(setting)
    assert all(row.ours_s > 0 for row in rows)
    assert first.spread[0] <= first.ratio <= first.spread[1]


@pytest.mark.slow
def test_the_command_writes_the_rows_of_every_part(tmp_path: Path) -> None:
    done = ok(
        "benchmark",
        "--quick",
        f"--workdir={tmp_path}",
        f"--output={tmp_path}/bench.json",
        "--only=gpu_step,evaluator",
    )
    rows = json.loads((tmp_path / "bench.json").read_text())
    # In the order of the parts, whatever order they were asked for in.
    assert [row["part"] for row in rows] == ["evaluator", "gpu_step"]
    measured, missing = rows
    wanted = {"part", "peer", "ours_s", "peer_s", "ratio", "spread", "limit_s", "work", "machine"}
    assert all(wanted <= row.keys() for row in rows)
    assert measured["ratio"] > 1
    assert measured["notes"]["largest difference"] < 1e-10
    assert measured["notes"]["extra memory, times the scores"] < 3
    assert missing["ratio"] is None
    assert "no GPU" in done.stdout


def test_an_unknown_part_is_one_line() -> None:
    done = run("benchmark", "--only=evaluater")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "--only=evaluater is not known: choose from evaluator" in line
