"""Tags in files: the same whatever the input and the format, complete or not there at all."""

import csv
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import mla_jax as mla
from mla_jax import files, run_thresholds, runs
from mla_jax.data import sources
from mla_jax.data.splits import hold_out
from mla_jax.evaluation.thresholds import choose_thresholds, f1_scores
from mla_jax.tagging import Tagged, predict_to_file
from mla_jax.training.checkpoints import Checkpoints
from tests.helpers import raises_user_error, random_clips
from tests.small_runs import run_config

ROOT = Path(__file__).parent.parent
FORMATS = ("jsonl", "csv", "parquet")
NAMES = ["Speech", 'Bird, "wild"', "Löwe", "d", "e", "f", "g"]
CLASSES = mla.ClassList(tuple(f"/m/{k}" for k in range(7)), tuple(NAMES))


@pytest.fixture(scope="module")
def run(run_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of few steps on clips of 5 segments, with a validation split."""
    folder = tmp_path_factory.mktemp("tagging")
    mla.pack([mla.open_packed(run_data / "train")], folder / "train", classes=CLASSES)
    config = run_config(run_data, steps=20, log_every=20, eval_every=20, checkpoint_every=20)
    data = dataclasses.replace(
        config.data,
        train=str(folder / "train"),
        eval="",
        validation_fraction=0.4,
        max_segments=5,
    )
    runs.train(dataclasses.replace(config, data=data), folder / "run", say=lambda _: None)
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> mla.TrainedModel:
    return mla.TrainedModel.open(run)


@pytest.fixture(scope="module")
def inputs(run: Path) -> dict[str, Path]:
    """The same 40 clips, of 1 to 5 segments, in every form, in the order of the records."""
    folder = run.parent / "inputs"
    mla.write_records(random_clips(num_clips=40, seed=3), folder / "records")
    read = mla.read_records(
        mla.find_record_files(str(folder / "records")), num_classes=7, max_segments=5
    )
    clips = mla.concatenate(list(read))
    mla.pack([clips], folder / "packed")
    np.savez(
        folder / "clips.npz",
        x=clips.embeddings,
        video_id_list=clips.video_ids,
        num_segments=clips.num_segments,
        start_times=clips.start_times,
    )
    return {name: folder / name for name in ("records", "packed", "clips.npz")}


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def left_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def half_of_clips(probs: np.ndarray) -> float:
    """A threshold that half of the clips have no label at, and one of them a label exactly."""
    return float(np.sort(probs.max(axis=1))[len(probs) // 2])


def plain_tags(model: mla.TrainedModel, clips: mla.ClipSet, top_k: int) -> list[dict[str, Any]]:
    """What a file without further wishes has held from the first version on."""
    return [
        {
            "video_id": clips.video_ids[i].decode(),
            "start_time": float(clips.start_times[i]),
            "labels": [
                {
                    "index": k,
                    "mid": f"/m/{k}",
                    "name": NAMES[k],
                    "probability": round(float(probs[k]), 6),
                }
                for k in np.argsort(-probs, kind="stable")[:top_k].tolist()
            ],
        }
        for i, probs in enumerate(model.predict(clips))
    ]


@pytest.mark.parametrize("source", ["packed", "records", "clips.npz"])
def test_without_wishes_a_file_is_as_it_was(
    run: Path, model: mla.TrainedModel, inputs: dict[str, Path], source: str, tmp_path: Path
) -> None:
    done = predict_to_file(run, str(inputs[source]), tmp_path / "p.jsonl", top_k=3)
    assert done == Tagged(clips=40, items=40, skipped=0)
    expected = plain_tags(model, mla.open_packed(inputs["packed"]), 3)
    text = "".join(json.dumps(line) + "\n" for line in expected)
    assert (tmp_path / "p.jsonl").read_text() == text
    assert left_in(tmp_path) == ["p.jsonl"]


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV or Parquet file, as Python values with six decimals."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
    else:
        rows = pq.read_table(path).to_pylist()
    kinds = {"index": int, "segment": int, "video_id": str, "mid": str, "name": str}
    for row in rows:
        for name, value in row.items():
            row[name] = kinds[name](value) if name in kinds else round(float(value), 6)
    return rows


def long_form(lines: list[dict[str, Any]], segments: bool) -> list[dict[str, Any]]:
    rows = []
    for line in lines:
        for label in line["labels"]:
            row = {"video_id": line["video_id"], "start_time": round(line["start_time"], 6)}
            row |= {name: value for name, value in label.items() if name != "segments"}
            if not segments:
                rows.append(row)
                continue
            pairs = zip(line["segment_starts"], label["segments"], strict=True)
            for i, (begin, score) in enumerate(pairs):
                rows.append(row | {"segment": i, "segment_start": begin, "score": score})
    return rows


@pytest.mark.parametrize("segments", [False, True])
def test_all_formats_hold_the_same(
    run: Path, model: mla.TrainedModel, inputs: dict[str, Path], segments: bool, tmp_path: Path
) -> None:
    threshold = half_of_clips(model.predict(mla.open_packed(inputs["packed"])))
    wishes: dict[str, Any] = {
        "segments": segments,
        "threshold": threshold,
        "segment_seconds": 0.5,
    }
    for suffix in FORMATS:
        predict_to_file(run, str(inputs["packed"]), tmp_path / f"p.{suffix}", **wishes)
    lines = lines_of(tmp_path / "p.jsonl")
    expected = long_form(lines, segments)
    assert {len(line["labels"]) for line in lines} >= {0, 1}
    assert rows_of(tmp_path / "p.csv") == expected
    assert rows_of(tmp_path / "p.parquet") == expected
    types = {f.name: str(f.type) for f in pq.read_schema(tmp_path / "p.parquet")}
    assert types == {
        "video_id": "string",
        "start_time": "double",
        "index": "int32",
        "mid": "string",
        "name": "string",
        "probability": "float",
    } | ({"segment": "int32", "segment_start": "double", "score": "float"} if segments else {})
    assert (tmp_path / "p.csv").read_text().splitlines()[0] == ",".join(types)


def test_a_label_has_the_scores_of_its_clips_segments(
    run: Path, model: mla.TrainedModel, inputs: dict[str, Path], tmp_path: Path
) -> None:
    output = tmp_path / "p.jsonl"
    predict_to_file(run, str(inputs["packed"]), output, segments=True, top_k=2, segment_seconds=0.5)
    clips = mla.open_packed(inputs["packed"])
    scores = model.predict_segments(clips).scores
    lines = lines_of(output)
    assert len(lines) == 40
    bare = [{k: v for k, v in line.items() if k != "segment_starts"} for line in lines]
    for i, line in enumerate(bare):
        count = int(clips.num_segments[i])
        start = line["start_time"]
        assert lines[i]["segment_starts"] == [start + 0.5 * t for t in range(count)]
        for label in line["labels"]:
            said = label.pop("segments")
            np.testing.assert_allclose(said, scores[i, :count, label["index"]], atol=1e-6)
    for line, expected in zip(bare, plain_tags(model, clips, 2), strict=True):
        assert [label["index"] for label in line["labels"]] == [
            label["index"] for label in expected["labels"]
        ]
        for label, other in zip(line["labels"], expected["labels"], strict=True):
            assert label["probability"] == pytest.approx(other["probability"], abs=2e-6)


def long_recordings() -> mla.ClipSet:
    rng = np.random.default_rng(8)
    lengths = np.array([5, 23, 1, 60, 11])
    embeddings = rng.integers(1, 256, (5, 60, 4)).astype(np.uint8)
    embeddings[np.arange(60) >= lengths[:, None]] = 0
    return mla.ClipSet.from_arrays(
        embeddings,
        [[1]] * 5,
        num_classes=7,
        num_segments=lengths,
        video_ids=list("abcde"),
        start_times=np.arange(5) * 100.0,
    )


def test_long_recordings_are_tagged_in_windows(
    run: Path, model: mla.TrainedModel, tmp_path: Path
) -> None:
    clips = long_recordings()
    mla.pack([clips], tmp_path / "packed")
    mla.write_records(clips, tmp_path / "records")
    np.savez(tmp_path / "clips.npz", x=clips.embeddings)
    assert model.max_segments == 5
    made = []
    for name in ("packed", "records", "clips.npz"):
        output = tmp_path / f"{name}.jsonl"
        done = predict_to_file(
            run, str(tmp_path / name), output, hop=3, segments=True, segment_seconds=2.0
        )
        made.append(lines_of(output))
    assert done == Tagged(clips=5, items=32, skipped=0)
    assert made[0] == made[1]
    for ours, other in zip(made[0], made[2], strict=True):  # which knows no ids and times
        assert ours["labels"] == other["labels"]
    item = 0
    for i, length in enumerate(clips.num_segments.tolist()):
        starts = [0]
        while starts[-1] + 5 < length:
            starts.append(starts[-1] + 3)
        for start in starts:
            line = made[0][item]
            part = np.asarray(clips.embeddings[i : i + 1, start : min(start + 5, length)])
            window = mla.ClipSet.from_arrays(part, [[]], num_classes=7)
            found = model.predict_segments(window)
            assert line["video_id"] == "abcde"[i]
            assert line["start_time"] == 100 * i + 2 * start
            begins = [100 * i + 2 * (start + t) for t in range(part.shape[1])]
            assert line["segment_starts"] == begins
            for label in line["labels"]:
                k = label["index"]
                assert label["probability"] == pytest.approx(found.probs[0, k], abs=2e-6)
                np.testing.assert_allclose(label["segments"], found.scores[0, :, k], atol=2e-6)
            item += 1
    assert item == 32
    whole = predict_to_file(run, str(tmp_path / "records"), tmp_path / "w.csv", window=60)
    assert whole == Tagged(clips=5, items=5, skipped=0)


def test_only_what_is_probable_is_reported(
    run: Path, model: mla.TrainedModel, inputs: dict[str, Path], tmp_path: Path
) -> None:
    clips = mla.open_packed(inputs["packed"])
    probs = model.predict(clips)
    counts = set()
    for threshold in (half_of_clips(probs), float(np.median(probs))):
        output = tmp_path / "p.jsonl"
        predict_to_file(run, str(inputs["packed"]), output, top_k=3, threshold=threshold)
        for line, row in zip(lines_of(output), probs, strict=True):
            expected = [k for k in np.argsort(-row, kind="stable") if row[k] >= threshold][:3]
            assert [label["index"] for label in line["labels"]] == expected
            counts.add(len(expected))
    assert counts == {0, 1, 2, 3}


def test_thresholds_are_chosen_on_validation_and_kept(
    run: Path, model: mla.TrainedModel, inputs: dict[str, Path], tmp_path: Path
) -> None:
    kept = run / run_thresholds.THRESHOLDS_FILE
    assert not kept.exists()
    packed = str(inputs["packed"])
    predict_to_file(run, packed, tmp_path / "p.jsonl", threshold="validation", top_k=7)
    _, validation = hold_out(mla.open_packed(run.parent / "train"), 0.4)
    assert validation is not None
    labels = validation.multi_hot()
    held = model.predict(validation)
    thresholds = choose_thresholds(held, labels)
    f1 = f1_scores(held, labels, thresholds)
    said = files.read_json(kept)
    assert said["step"] == model.step
    assert said["num_clips"] == len(validation)
    assert said["macro_F1"] == pytest.approx(np.nanmean(f1), rel=1e-12)
    for k, entry in enumerate(said["classes"]):
        assert (entry["index"], entry["mid"], entry["name"]) == (k, f"/m/{k}", NAMES[k])
        assert entry["threshold"] == (thresholds[k] if np.isfinite(thresholds[k]) else None)
        assert entry["num_positives"] == labels[:, k].sum()
    probs = model.predict(mla.open_packed(packed))
    reported = [
        {label["index"] for label in line["labels"]} for line in lines_of(tmp_path / "p.jsonl")
    ]
    assert reported == [set(np.flatnonzero(row >= thresholds)) for row in probs]
    assert 0 < sum(map(len, reported)) < probs.size

    # What is kept is used, as long as it is of this checkpoint; null is never reported.
    for entry in said["classes"]:
        entry["threshold"] = None if entry["index"] else 0.0
    files.write_json(kept, said)
    assert run_thresholds.thresholds_of(run, model).tolist() == [0.0] + [math.inf] * 6
    predict_to_file(run, packed, tmp_path / "p.jsonl", threshold="validation")
    assert all(
        [label["index"] for label in line["labels"]] == [0]
        for line in lines_of(tmp_path / "p.jsonl")
    )
    files.write_json(kept, said | {"step": 999})
    np.testing.assert_array_equal(run_thresholds.thresholds_of(run, model), thresholds)
    files.write_json(kept, {"step": model.step})
    with raises_user_error("thresholds.json is damaged", "remove it"):
        run_thresholds.thresholds_of(run, model)
    np.testing.assert_array_equal(run_thresholds.choose_for_run(run), thresholds)
    assert files.read_json(kept)["step"] == model.step


def test_without_validation_there_are_no_thresholds(
    run: Path, model: mla.TrainedModel, inputs: dict[str, Path], tmp_path: Path
) -> None:
    data = dataclasses.replace(model.config.data, validation_fraction=0.0)
    meta = {
        "config": dataclasses.replace(model.config, data=data).to_dict(),
        "classes": dataclasses.asdict(model.classes),
        "num_features": 4,
    }
    with Checkpoints(tmp_path / "run/checkpoints") as checkpoints:
        checkpoints.save(mla.init_state(model.variables, model.config.optim), meta)
    output = tmp_path / "p.jsonl"
    with raises_user_error("has no validation split", "give a number"):
        predict_to_file(tmp_path / "run", str(inputs["packed"]), output, threshold="validation")
    assert left_in(tmp_path) == ["run"]
    # Without being told, it takes the windows of its settings.
    assert mla.TrainedModel.open(tmp_path / "run").max_segments == 5
    predict_to_file(tmp_path / "run", str(inputs["packed"]), output)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_bad_record_on_the_way_leaves_what_was_there(
    run: Path, inputs: dict[str, Path], suffix: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    mla.write_records(mla.open_packed(inputs["packed"]), data)
    (data / "zz.tfrecord").write_bytes(b"not a record at all")
    output = tmp_path / f"p.{suffix}"
    output.write_text("older")
    # So that batches are written before the bad one is found.
    first, last = data / "--.tfrecord", data / "zz.tfrecord"
    first.write_bytes(next(iter(sorted(data.glob("*.tfrecord")))).read_bytes() * 3000)
    with raises_user_error("zz.tfrecord, record 0"):
        predict_to_file(run, str(data), output, bad_records="error")
    assert output.read_text() == "older"
    assert left_in(tmp_path) == ["data", output.name]
    done = predict_to_file(run, str(data), output, bad_records="skip")
    assert done.skipped == 1
    assert done.clips > 2000
    (line,) = lines_of(tmp_path / "p.skipped_records.jsonl")
    assert line["file"] == str(last)


_KILLED = """
import os, signal, sys
from mla_jax import tag_files, tagging
choose = tagging._choose
calls = []
def die_at_the_third(*arguments):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return choose(*arguments)
tagging._choose = die_at_the_third
tagging._BATCH_CLIPS = 10
tagging.predict_to_file(*sys.argv[1:])
"""


def test_killed_on_the_way_it_leaves_the_older_file(
    run: Path, inputs: dict[str, Path], tmp_path: Path
) -> None:
    output = tmp_path / "p.jsonl"
    output.write_text("older")
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(run), str(inputs["packed"]), str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "XLA_FLAGS"},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert output.read_text() == "older"


def test_batches_are_written_as_they_come(
    run: Path, inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks are read as they are needed: no more than the few batches that the device has."""
    monkeypatch.setattr(sources, "_CHUNK_CLIPS", 4)
    monkeypatch.setattr("mla_jax.tagging._BATCH_CLIPS", 4)
    ahead: list[int] = []
    written: list[int] = []
    streams: list[sources.ClipStream] = []
    opened = mla.TrainedModel.stream_clips

    def stream_clips(self: mla.TrainedModel, *arguments: Any, **more: Any) -> sources.ClipStream:
        streams.append(opened(self, *arguments, **more))
        return streams[-1]

    class Spy:
        def __init__(self, label: str, total: int, unit: str) -> None:
            assert (total, unit) == (40, "clips")

        def update(self, done: int, note: str = "") -> None:
            written.append(done)
            ahead.append(streams[0].clips - done)

        def close(self) -> None:
            assert written == list(range(4, 41, 4))

    monkeypatch.setattr(mla.TrainedModel, "stream_clips", stream_clips)
    monkeypatch.setattr("mla_jax.tagging.Progress", Spy)
    predict_to_file(run, str(inputs["packed"]), tmp_path / "p.csv")
    assert max(ahead) == 8


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "ending": ({"output": "p.txt"}, "p.txt has an ending that says no format"),
    "no ending": ({"output": "p"}, "ends in .jsonl, .csv, .parquet"),
    "threshold": ({"threshold": "many"}, "threshold=many is not valid"),
    "threshold above 1": ({"threshold": 1.5}, "threshold=1.5 is not valid"),
    "nan": ({"threshold": "nan"}, "threshold=nan is not valid"),
    "hop": ({"hop": 6}, "hop=6 is not valid: it must be 1 to 5"),
    "window": ({"window": -1}, "window=-1 is not valid"),
    "top_k": ({"top_k": 0}, "top_k=0"),
    "seconds": ({"segment_seconds": 0.0}, "segment_seconds=0.0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused(
    run: Path, inputs: dict[str, Path], name: str, tmp_path: Path
) -> None:
    wishes, message = WRONG[name]
    output = tmp_path / wishes.get("output", "p.jsonl")
    rest = {k: v for k, v in wishes.items() if k != "output"}
    with raises_user_error(message):
        predict_to_file(run, str(inputs["packed"]), output, **rest)
    assert left_in(tmp_path) == []


@pytest.mark.slow
def test_ten_times_the_clips_take_no_more_memory(run: Path, tmp_path: Path) -> None:
    """The peak of a process that tags 200,000 clips, against one of 20,000."""
    clips = random_clips(num_clips=2000, time=5)

    def chunks(count: int) -> Iterator[mla.ClipSet]:
        for _ in range(count // 2000):
            yield clips

    code = (
        "import resource, sys\n"
        "from mla_jax.tagging import predict_to_file\n"
        "predict_to_file(*sys.argv[1:], segments=True)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for count in (20_000, 200_000):
        mla.pack(chunks(count), tmp_path / str(count))
        arguments = [str(run), str(tmp_path / str(count)), str(tmp_path / f"{count}.parquet")]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.15 * peaks[0], peaks
