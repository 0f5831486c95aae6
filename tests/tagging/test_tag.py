"""Tags in files: the same whatever the input and the format, complete or not there at all."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import mla_jax as mla
from mla_jax.localization.event_rules import EventRules
from mla_jax.localization.rule_files import write_rules
from mla_jax.runs import thresholds
from mla_jax.runs.train import train
from mla_jax.tagging.formats import open_tag_file
from mla_jax.tagging.tag import Tagged, predict_to_file
from mla_jax.tagging.tagger import EventOptions, Tagger, TagOptions
from tests.support.helpers import raises_user_error, random_clips
from tests.support.small_runs import run_config

ROOT = Path(__file__).parent.parent.parent
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
    train(dataclasses.replace(config, data=data), folder / "run", say=lambda _: None)
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> mla.TrainedModel:
    return mla.TrainedModel.open(run)


@pytest.fixture(scope="module")
def packed(run: Path) -> Path:
    """40 clips of 1 to 5 segments."""
    mla.pack([random_clips(num_clips=40, seed=3)], run.parent / "packed")
    return run.parent / "packed"


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def classes_in(lines: list[dict[str, Any]]) -> list[list[int]]:
    """The indices of the reported labels of each line."""
    return [[label["index"] for label in line["labels"]] for line in lines]


def left_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def half_of_clips(probs: np.ndarray) -> float:
    """A threshold that half of the clips have no label at, and one of them a label exactly."""
    return float(np.sort(probs.max(axis=1))[len(probs) // 2])


def test_a_line_holds_the_most_probable_labels(
    run: Path,
    model: mla.TrainedModel,
    packed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = predict_to_file(run, str(packed), tmp_path / "p.jsonl", TagOptions(top_k=3))
    assert done == Tagged(clips=40, items=40, skipped=0)
    assert "predict 40/40 clips" in capsys.readouterr().err
    clips = mla.open_packed(packed)
    lines = [
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
                for k in np.argsort(-probs, kind="stable")[:3].tolist()
            ],
        }
        for i, probs in enumerate(model.predict(clips))
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    assert (tmp_path / "p.jsonl").read_text() == text
    assert left_in(tmp_path) == ["p.jsonl"]


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows, with six decimals."""
    return [
        {name: round(v, 6) if isinstance(v, float) else v for name, v in row.items()}
        for row in table.to_pylist()
    ]


def long_form(lines: list[dict[str, Any]], segments: bool) -> list[dict[str, Any]]:
    """What rows should hold that are of the same clips as these lines."""
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
    run: Path, model: mla.TrainedModel, packed: Path, segments: bool, tmp_path: Path
) -> None:
    probs = model.predict(mla.open_packed(packed))
    options = TagOptions(
        segments=segments, threshold=half_of_clips(probs), segment_seconds=0.5, batch_size=16
    )
    for suffix in FORMATS:
        predict_to_file(run, str(packed), tmp_path / f"p.{suffix}", options)
    lines = lines_of(tmp_path / "p.jsonl")
    expected = long_form(lines, segments)
    assert {len(line["labels"]) for line in lines} >= {0, 1}
    assert rows_of(pyarrow.csv.read_csv(tmp_path / "p.csv")) == expected
    assert rows_of(pq.read_table(tmp_path / "p.parquet")) == expected
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


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_without_any_label_is_whole(
    suffix: str, run: Path, packed: Path, tmp_path: Path
) -> None:
    output = tmp_path / f"p.{suffix}"
    tagged = predict_to_file(run, str(packed), output, TagOptions(threshold=1.0))
    if suffix == "parquet":
        assert pq.read_table(output).num_rows == 0
    elif suffix == "csv":
        assert len(output.read_text().splitlines()) == 1
    else:
        assert [line["labels"] for line in lines_of(output)] == [[]] * tagged.items


def long_recordings() -> mla.ClipSet:
    """Of up to 60 segments, with a time axis that goes on behind them."""
    rng = np.random.default_rng(8)
    lengths = np.array([5, 23, 1, 60, 11])
    embeddings = rng.integers(1, 256, (5, 65, 4)).astype(np.uint8)
    embeddings[np.arange(65) >= lengths[:, None]] = 0
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
    np.savez(tmp_path / "clips.npz", x=clips.embeddings, num_segments=clips.num_segments)
    assert model.max_segments == 5
    options = TagOptions(hop=3, segments=True, segment_seconds=2.0)
    made = []
    for name in ("packed", "records", "clips.npz"):
        output = tmp_path / f"{name}.jsonl"
        done = predict_to_file(run, str(tmp_path / name), output, options)
        assert done == Tagged(clips=5, items=32, skipped=0)
        made.append(lines_of(output))
    assert made[0] == made[1]
    for ours, other in zip(made[0], made[2], strict=True):  # which knows no ids and times
        assert ours["labels"] == other["labels"]
    windows = [
        (i, start, min(5, length - start))
        for i, length in enumerate(clips.num_segments.tolist())
        for start in range(0, max(1, length - 2), 3)
    ]
    alone = mla.ClipSet.from_arrays(
        np.stack([clips.embeddings[i, start : start + 5] for i, start, _ in windows]),
        [[]] * 32,
        num_classes=7,
        num_segments=np.array([length for _, _, length in windows]),
    )
    found = model.predict_segments(alone)
    for w, (i, start, length) in enumerate(windows):
        line = made[0][w]
        assert line["video_id"] == "abcde"[i]
        assert line["start_time"] == 100 * i + 2 * start
        assert line["segment_starts"] == [100 * i + 2 * (start + t) for t in range(length)]
        for label in line["labels"]:
            k = label["index"]
            assert label["probability"] == pytest.approx(found.probs[w, k], abs=2e-6)
            np.testing.assert_allclose(label["segments"], found.scores[w, :length, k], atol=2e-6)
    whole = predict_to_file(
        run, str(tmp_path / "records"), tmp_path / "w.csv", TagOptions(window=60)
    )
    assert whole == Tagged(clips=5, items=5, skipped=0)


def test_only_what_is_probable_is_reported(
    run: Path, model: mla.TrainedModel, packed: Path, tmp_path: Path
) -> None:
    clips = mla.open_packed(packed)
    probs = model.predict(clips)
    counts = set()
    for threshold in (half_of_clips(probs), float(np.median(probs))):
        options = TagOptions(top_k=3, threshold=threshold)
        predict_to_file(run, str(packed), tmp_path / "p.jsonl", options)
        expected = [
            [k for k in np.argsort(-row, kind="stable") if row[k] >= threshold][:3] for row in probs
        ]
        assert classes_in(lines_of(tmp_path / "p.jsonl")) == expected
        counts |= set(map(len, expected))
    assert counts == {0, 1, 2, 3}


def test_each_class_may_have_the_runs_own_threshold(
    run: Path, model: mla.TrainedModel, packed: Path, tmp_path: Path
) -> None:
    limits = thresholds.choose_for_run(run)
    options = TagOptions(threshold="validation", top_k=7)
    predict_to_file(run, str(packed), tmp_path / "p.jsonl", options)
    probs = model.predict(mla.open_packed(packed))
    found = classes_in(lines_of(tmp_path / "p.jsonl"))
    assert [set(row) for row in found] == [set(np.flatnonzero(row >= limits)) for row in probs]
    assert 0 < sum(map(len, found)) < probs.size


def test_events_are_runs_of_the_segments_that_reach_the_threshold(
    run: Path, model: mla.TrainedModel, packed: Path, tmp_path: Path
) -> None:
    threshold = half_of_clips(model.predict(mla.open_packed(packed)))
    options = TagOptions(threshold=threshold)
    every = TagOptions(segments=True, top_k=7)  # whatever the probability of the clip
    predict_to_file(run, str(packed), tmp_path / "p.csv", every)
    expected = set()
    for row in pyarrow.csv.read_csv(tmp_path / "p.csv").to_pylist():
        if row["score"] >= threshold:
            expected.add((row["video_id"], row["name"], row["segment_start"]))
    for output, format in (("p.tsv", ""), ("p.events", "dcase")):
        asked = dataclasses.replace(options, format=format)
        predict_to_file(run, str(packed), tmp_path / output, asked)
        found = set()
        lines = (tmp_path / output).read_text(encoding="utf-8").splitlines()[1:]
        for name, onset, offset, label, _ in (line.split("\t") for line in lines):
            if onset:
                seconds = np.arange(float(onset), float(offset)).tolist()
                found |= {(name, label, second) for second in seconds}
        assert found == expected
        assert {line.split("\t")[0] for line in lines} == {
            v.decode() for v in mla.open_packed(packed).video_ids
        }


def test_events_without_a_threshold_are_those_of_a_half(
    run: Path, packed: Path, tmp_path: Path
) -> None:
    for name, options in (("none", TagOptions()), ("half", TagOptions(threshold=0.5))):
        predict_to_file(run, str(packed), tmp_path / f"{name}.tsv", options)
    assert (tmp_path / "none.tsv").read_bytes() == (tmp_path / "half.tsv").read_bytes()


def test_events_as_they_are_asked_for(run: Path, packed: Path, tmp_path: Path) -> None:
    classes = mla.TrainedModel.open(run).classes
    plain = TagOptions(threshold=0.3)
    predict_to_file(run, str(packed), tmp_path / "p.tsv", plain)
    asked = dataclasses.replace(plain, events=EventOptions())
    predict_to_file(run, str(packed), tmp_path / "asked.tsv", asked)
    assert (tmp_path / "asked.tsv").read_bytes() == (tmp_path / "p.tsv").read_bytes()
    start = np.full(len(classes), 0.3)
    write_rules(tmp_path / "rules.json", EventRules(start, start), classes)
    by_file = TagOptions(events=EventOptions(rules=str(tmp_path / "rules.json")))
    predict_to_file(run, str(packed), tmp_path / "by_file.tsv", by_file)
    assert (tmp_path / "by_file.tsv").read_bytes() == (tmp_path / "p.tsv").read_bytes()
    predict_to_file(run, str(packed), tmp_path / "p.jsonl", asked)
    told = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    rows = [
        [one["video_id"], f"{e['onset']:g}", f"{e['offset']:g}", e["name"], f"{e['score']:.6f}"]
        for one in told
        for e in one["events"] or [{"onset": 0, "offset": 0, "name": "", "score": 0}]
    ]
    lines = (tmp_path / "p.tsv").read_text(encoding="utf-8").splitlines()[1:]
    expected = [line.split("\t") for line in lines]
    assert [r for r in rows if r[3]] == [r for r in expected if r[3]]
    assert [r[0] for r in rows] == [r[0] for r in expected]


def test_what_events_cannot_be(run: Path, packed: Path, tmp_path: Path) -> None:
    with raises_user_error(
        "p.csv has an ending that says no format of events", ".tsv, .txt, .jsonl"
    ):
        predict_to_file(
            run, str(packed), tmp_path / "p.csv", TagOptions(events=EventOptions(smoothing=3))
        )
    with raises_user_error("keep=1.5 is not valid"):
        EventOptions(keep=1.5)
    with raises_user_error("r.json has the thresholds of events; leave threshold=0.3 out"):
        TagOptions(threshold=0.3, events=EventOptions(rules="r.json"))
    with raises_user_error("smoothing=4 is not valid"):
        predict_to_file(
            run, str(packed), tmp_path / "p.tsv", TagOptions(events=EventOptions(smoothing=4))
        )


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_bad_record_on_the_way_leaves_what_was_there(
    run: Path, packed: Path, suffix: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    mla.write_records(mla.open_packed(packed), data)
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


def test_no_more_is_read_than_the_few_batches_that_the_device_has(run: Path) -> None:
    clips, read = random_clips(num_clips=40), 0

    def chunks() -> Iterator[mla.ClipSet]:
        nonlocal read
        for first in range(0, 40, 4):
            read += 4
            yield clips[first : first + 4]

    done, ahead = 0, []
    for tags in Tagger.open(run, TagOptions(batch_size=4)).tag(chunks()):
        done += len(tags.clips)
        ahead.append(read - done)
    assert done == 40
    assert max(ahead) == 8


@pytest.mark.parametrize("suffix", FORMATS)
def test_until_all_is_written_the_older_file_stays(run: Path, suffix: str, tmp_path: Path) -> None:
    """So that who kills it on the way finds that one."""
    output = tmp_path / f"p.{suffix}"
    output.write_text("older")
    tags = Tagger.open(run, TagOptions()).tag([random_clips()])
    with open_tag_file(output, CLASSES) as write:
        for batch in tags:
            write(batch)
        assert output.read_text() == "older"
    assert output.read_bytes() != b"older"
    assert left_in(tmp_path) == [output.name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": "many"}, "threshold=many is not valid"),
        ({"threshold": 1.5}, "threshold=1.5 is not valid"),
        ({"threshold": "nan"}, "threshold=nan is not valid"),
        ({"top_k": 0}, "top_k=0 is not valid"),
        ({"batch_size": 0}, "batch_size=0 is not valid"),
    ],
)
def test_options_that_are_not_valid_are_refused(options: dict[str, Any], message: str) -> None:
    with raises_user_error(message):
        TagOptions(**options)


def test_what_cannot_be_written_leaves_nothing(run: Path, packed: Path, tmp_path: Path) -> None:
    for name, options, message in [
        ("p.wav", TagOptions(), "p.wav has an ending that says no format"),
        ("p", TagOptions(), "ends in .jsonl, .csv, .parquet"),
        ("p.csv", TagOptions(hop=6), "hop=6 is not valid: it must be 1 to 5"),
    ]:
        with raises_user_error(message):
            predict_to_file(run, str(packed), tmp_path / name, options)
    assert left_in(tmp_path) == []


@pytest.mark.slow
def test_ten_times_the_clips_take_no_more_memory(run: Path, tmp_path: Path) -> None:
    """The peak of a process that tags 200,000 clips, against one of 20,000."""
    clips = random_clips(num_clips=2000, time=5)
    code = (
        "import resource, sys\n"
        "from mla_jax import TagOptions, predict_to_file\n"
        "predict_to_file(*sys.argv[1:], TagOptions(segments=True))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for count in (20_000, 200_000):
        mla.pack((clips for _ in range(count // 2000)), tmp_path / str(count))
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
