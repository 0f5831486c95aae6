"""The command-line programs, run as a user runs them."""

import csv
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.training.metrics_log import read_metrics
from tests.programs import ok, run

WORLD = mla.SyntheticConfig(num_clips=120, num_classes=7, num_features=16, max_segments=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of two splits, their class list, and both packed by the command."""
    folder = tmp_path_factory.mktemp("data")
    for split in ("train", "eval"):
        made = mla.synthetic_clips(WORLD, split)
        mla.write_records(made.clips, folder / "records" / split)
    (folder / "records" / "class_labels_indices.csv").write_text(made.classes.to_csv())
    for split in ("train", "eval"):
        done = ok(
            "prepare_data",
            f"--input={folder}/records/{split}",
            f"--output={folder}/{split}",
            "--max_segments=5",
        )
        assert "clips                120, of 5 segments x 16 features, uint8" in done.stdout
        assert "skipped records      0" in done.stdout
    (folder / "splits").mkdir()
    (folder / "splits" / "bal_train").symlink_to(folder / "train")
    (folder / "splits" / "eval").symlink_to(folder / "eval")
    (folder / "cut.md").write_text("no marker\n")
    (folder / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    return folder


def train_flags(folder: Path, workdir: str, *more: str) -> list[str]:
    return [
        "train",
        f"--workdir={folder}/{workdir}",
        f"--config.data.train={folder}/train",
        f"--config.data.eval={folder}/eval",
        "--config.data.batch_size=16",
        "--config.model.hidden_units=8",
        "--config.train.log_every=2",
        "--config.train.eval_every=4",
        "--config.train.checkpoint_every=4",
        *more,
    ]


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """A run of 12 steps, made in two parts."""
    ok(*train_flags(folder, "run", "--config.train.steps=8"))
    done = ok(*train_flags(folder, "run", "--config.train.steps=12"))
    assert "going on from step 8 of 12" in done.stderr
    assert "step 12 (last step) on eval: mAP" in done.stdout
    return folder / "run"


def test_a_run_leaves_what_it_promises(trained: Path) -> None:
    results = json.loads((trained / "results.json").read_text())
    assert results["step"] == 12
    assert results["num_clips"] == 120
    assert results["clips"] == {"train": 120, "eval": 120}
    assert results["step_chosen_by"] == "last step"
    assert 0 < results["mAP"] <= 1
    assert 0 < results["AUC"] <= 1
    assert isinstance(results["d_prime"], float)
    assert len(results["classes"]) == 7
    assert results["classes"][1]["name"].startswith("Sound 1")
    assert {"seed", "versions", "device", "seconds"} <= results.keys()
    config = json.loads((trained / "config.json").read_text())
    assert config["train"]["steps"] == 12
    assert [r["step"] for r in read_metrics(trained / "metrics.jsonl")] == [2, 4, 6, 8, 10, 12]
    assert list((trained / "tensorboard").iterdir())


def test_a_run_in_two_parts_is_a_run_in_one(folder: Path, trained: Path) -> None:
    ok(*train_flags(folder, "whole", "--config.train.steps=12"))
    for one_run in (folder / "whole", trained):
        assert sorted(p.name for p in (one_run / "checkpoints").iterdir()) == ["12", "4", "8"]
    one, two = (mla.TrainedModel.open(one_run) for one_run in (folder / "whole", trained))
    clips = mla.open_packed(folder / "eval")
    np.testing.assert_array_equal(one.predict(clips), two.predict(clips))
    timeless = [
        [
            {k: v for k, v in r.items() if k != "seconds"}
            for r in read_metrics(one_run / "metrics.jsonl")
        ]
        for one_run in (folder / "whole", trained)
    ]
    assert timeless[0] == timeless[1]


def test_a_finished_run_says_so(folder: Path, trained: Path) -> None:
    before = (trained / "metrics.jsonl").read_bytes()
    done = ok(*train_flags(folder, "run", "--config.train.steps=12"))
    assert "is finished: 12 steps" in done.stderr
    assert (trained / "metrics.jsonl").read_bytes() == before


def test_evaluate_gives_the_runs_figures_and_averages(folder: Path, trained: Path) -> None:
    results = json.loads((trained / "results.json").read_text())
    ok("evaluate", f"--workdir={trained}", f"--data={folder}/eval", f"--output={folder}/e.json")
    again = json.loads((folder / "e.json").read_text())
    for name in ("mAP", "AUC", "d_prime", "num_clips", "step"):
        assert again[name] == results[name]
    done = ok(
        "evaluate",
        f"--workdir={trained}",
        f"--data={folder}/records/eval",
        "--average_from=8",
        f"--output={folder}/a.json",
    )
    assert "average of 2 checkpoints, steps 8 to 12" in done.stdout
    averaged = json.loads((folder / "a.json").read_text())
    models = [mla.TrainedModel.open(trained, step) for step in (8, 12)]
    clips = models[0].open_clips(f"{folder}/records/eval")
    mean = np.mean([m.predict(clips) for m in models], axis=0)
    assert averaged["mAP"] == pytest.approx(mla.evaluate(mean, clips.multi_hot()).mAP, rel=1e-6)


def test_predict_names_the_most_probable(folder: Path, trained: Path) -> None:
    ok(
        "predict",
        f"--workdir={trained}",
        f"--input={folder}/eval",
        f"--output={folder}/p.jsonl",
        "--top_k=3",
    )
    lines = [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()]
    model = mla.TrainedModel.open(trained)
    clips = mla.open_packed(folder / "eval")
    probs = model.predict(clips)
    names = mla.ClassList.read(folder / "eval/class_labels_indices.csv").names
    assert [line["video_id"].encode() for line in lines] == clips.video_ids.tolist()
    for line, row, start in zip(lines, probs, clips.start_times, strict=True):
        assert line["start_time"] == start
        assert [label["index"] for label in line["labels"]] == np.argsort(-row)[:3].tolist()
        for label in line["labels"]:
            assert label["name"] == names[label["index"]]
            assert label["mid"] == f"/s/{label['index']:03d}"
            assert label["probability"] == pytest.approx(row[label["index"]], abs=1e-6)


def test_validation_chooses_the_step(folder: Path) -> None:
    ok(
        *train_flags(
            folder,
            "chosen",
            "--config.train.steps=40",
            "--config.data.validation_fraction=0.25",
            "--config.train.keep_checkpoints=1",
            "--config.optim.learning_rate=0.05",
            "--preset=yu2018_equations",
        )
    )
    results = json.loads((folder / "chosen/results.json").read_text())
    records = read_metrics(folder / "chosen/metrics.jsonl")
    scored = [(r["validation_mAP"], r["step"]) for r in records if "validation_mAP" in r]
    assert results["step"] == max(scored)[1]
    assert results["step_chosen_by"] == "best validation mAP"
    assert results["evaluated_on"] == "eval"
    assert results["clips"]["train"] + results["clips"]["validation"] == 120
    assert 10 <= results["clips"]["validation"] <= 50
    at_best = next(r for r in records if r["step"] == results["step"])
    assert at_best["eval_mAP"] == results["mAP"]
    model = mla.TrainedModel.open(folder / "chosen")
    assert model.step == results["step"]

    # So does it the thresholds, for what is tagged.
    done = ok(
        "predict",
        f"--workdir={folder}/chosen",
        f"--input={folder}/eval",
        f"--output={folder}/p.csv",
        "--threshold=validation",
        "--segments",
        "--window=3",
        "--hop=2",
        "--top_k=2",
    )
    assert f"{folder}/p.csv: 120 clips in " in done.stdout
    kept = json.loads((folder / "chosen/thresholds.json").read_text())
    assert kept["step"] == results["step"]
    limits = {c["index"]: c["threshold"] for c in kept["classes"]}
    with (folder / "p.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        assert float(row["probability"]) >= limits[int(row["index"])] - 1e-6
        assert float(row["segment_start"]) == float(row["start_time"]) + int(row["segment"])
        assert int(row["segment"]) < 3


def test_records_train_like_packed_clips(folder: Path) -> None:
    """A glob of records, skipped bad ones, and a class list found beside them."""
    (folder / "records/train/zz.tfrecord").write_bytes(b"not a record at all")
    flags = train_flags(folder, "from_records", "--config.train.steps=2")
    flags[2] = f"--config.data.train={folder}/records/train/*.tfrecord"
    more = ["--config.data.max_segments=5"]
    refused = run(*flags, *more)
    assert refused.returncode == 2
    assert "zz.tfrecord, record 0" in refused.stderr
    done = ok(*flags, *more, "--config.data.bad_records=skip")
    assert "1 bad records left out" in done.stderr
    assert json.loads((folder / "from_records/results.json").read_text())["clips"]["train"] == 120

    # In use, too: as in training, or as said; what was left out is listed beside the output.
    workdir, source = f"--workdir={folder}/from_records", f"{folder}/records/train"
    scored = ok("evaluate", workdir, f"--data={source}", f"--output={folder}/scored.json")
    assert "without 1 bad records" in scored.stdout
    assert json.loads((folder / "scored.json").read_text())["skipped_records"] == 1
    predict = ("predict", workdir, f"--input={source}", f"--output={folder}/tagged.jsonl")
    ok(*predict)
    assert len((folder / "tagged.jsonl").read_text().splitlines()) == 120
    for listed in ("scored", "tagged"):
        (line,) = (folder / f"{listed}.skipped_records.jsonl").read_text().splitlines()
        assert json.loads(line)["file"].endswith("zz.tfrecord")
    refused = run(*predict, "--bad_records=error")
    assert refused.returncode == 2
    assert "zz.tfrecord, record 0" in refused.stderr


WRONG = {
    "no workdir": (["train"], "give --workdir"),
    "no data": (["train", "--workdir={w}"], "give --config.data.train"),
    "no such folder": (
        ["train", "--workdir={w}", "--config.data.train=/no/where"],
        "/no/where does not exist",
    ),
    "misspelt field": (
        ["train", "--workdir={w}", "--config.optim.learning_rat=1"],
        "learning_rate",
    ),
    "wrong type": (["train", "--workdir={w}", "--config.train.steps=many"], "many"),
    "wrong value": (["train", "--workdir={w}", "--config.train.steps=0"], "train.steps=0"),
    "architecture": (
        [
            "train",
            "--workdir={w}",
            "--config.model.architecture=2A1A",
            "--config.data.train={f}/train",
        ],
        "model.architecture='2A1A' is not of the form 2-A-1-A",
    ),
    "class count": (
        ["train", "--workdir={w}", "--config.data.train={f}/train", "--config.data.num_classes=9"],
        "num_classes=9, but the class list has 7",
    ),
    "stray word": (["train", "--workdir={w}", "somewhere"], "'somewhere' is not a flag"),
    "preset": (["train", "--workdir={w}", "--preset=yu2019"], "yu2018"),
    "other settings": (
        ["train", "--workdir={r}", "--config.data.train={f}/train", "--config.optim.b1=0.5"],
        "optim.b1 (was 0.9, now 0.5)",
    ),
    "no run": (["evaluate", "--workdir={w}", "--data={f}/eval"], "does not exist; give the folder"),
    "not a run": (["evaluate", "--workdir={f}/train", "--data={f}/eval"], "is no run"),
    "no such step": (
        ["evaluate", "--workdir={r}", "--data={f}/eval", "--step=5"],
        "no checkpoint of step 5",
    ),
    "nothing to average": (
        ["evaluate", "--workdir={r}", "--data={f}/eval", "--average_from=50"],
        "no checkpoint from step 50 on",
    ),
    "no input": (
        ["predict", "--workdir={r}", "--output={w}.jsonl", "--input=/no/where"],
        "/no/where",
    ),
    "no such format": (
        ["predict", "--workdir={r}", "--output={w}.txt", "--input={f}/eval"],
        "ends in .jsonl, .csv, .parquet",
    ),
    "nothing to choose thresholds on": (
        [
            "predict",
            "--workdir={r}",
            "--output={w}.jsonl",
            "--input={f}/eval",
            "--threshold=validation",
        ],
        "has no validation split",
    ),
    "windows that leave segments out": (
        [
            "predict",
            "--workdir={r}",
            "--output={w}.jsonl",
            "--input={f}/eval",
            "--window=2",
            "--hop=3",
        ],
        "hop=3 is not valid",
    ),
    "output taken": (
        ["prepare_data", "--input={f}/records/eval", "--output={f}/train"],
        "already exists",
    ),
    "labels at or above K": (
        [
            "prepare_data",
            "--input={f}/records/eval",
            "--output={w}",
            "--num_classes=3",
            "--class_list=",
        ],
        "num_classes=3, but the class list has 7",
    ),
    "too long": (
        ["prepare_data", "--input={f}/records/eval", "--output={w}", "--max_segments=2"],
        "more than 2",
    ),
    "array file cut": (
        ["evaluate", "--workdir={r}", "--data={f}/cut.h5"],
        "cut.h5",
    ),
    "nothing to compare": (["compare"], "give --workdirs"),
    "not finished": (["compare", "--workdirs={f}/train"], "is not a finished run"),
    "no results": (["compare", "--results=/no/where.json"], "/no/where.json"),
    "no marker": (
        ["compare", "--workdirs={r}", "--update={f}/cut.md"],
        "cut.md has no <!--",
    ),
    "no splits to show": (["demo", "--workdir={w}", "--data={f}/train"], "has no .tfrecord files"),
    "nothing to predict": (["predict", "--workdir={r}"], "give --workdir"),
    "nothing to evaluate": (["evaluate", "--workdir={r}"], "give --workdir"),
    "nothing to prepare": (["prepare_data", "--output={w}"], "give --input"),
    "step and average": (
        ["evaluate", "--workdir={r}", "--data={f}/eval", "--step=4", "--average_from=4"],
        "not both",
    ),
    "nothing to import": (["import_keras", "--workdir={w}"], "give --weights"),
    "no weights": (["import_keras", "--workdir={w}", "--weights=/no/where.h5"], "/no/where.h5"),
    "no table": (["table1", "--workdir={w}"], "give --data_dir and --workdir, or --results"),
    "unknown row": (
        ["table1", "--workdir={w}", "--data_dir={f}/splits", "--rows=kong2018"],
        "did you mean kong201",
    ),
    "seeds": (
        ["table1", "--workdir={w}", "--data_dir={f}/splits", "--seeds=0,0"],
        "--seeds=0,0 must be different numbers",
    ),
    "no split": (["table1", "--workdir={w}", "--data_dir={f}"], "has no bal_train"),
    "no class of that name": (
        ["table1", "--workdir={w}", "--data_dir={f}/splits", "--figure_classes=Theremin"],
        "no class 'Theremin'",
    ),
    "no class list": (
        ["prepare_data", "--input={f}/records/eval", "--output={w}", "--class_list=/no/where"],
        "cannot read the class list /no/where",
    ),
}


def test_wrong_uses_get_one_line_and_leave_nothing(folder: Path, trained: Path) -> None:
    def try_it(name: str) -> tuple[str, subprocess.CompletedProcess[str], Path]:
        workdir = folder / f"wrong {name}"
        arguments, _ = WRONG[name]
        return name, run(*(a.format(w=workdir, f=folder, r=trained) for a in arguments)), workdir

    with ThreadPoolExecutor(2) as pool:
        for name, done, workdir in pool.map(try_it, WRONG):
            assert done.returncode == 2, (name, done.stderr)
            lines = done.stderr.strip().splitlines()
            errors = [line for line in lines if line.startswith("error: ")]
            assert len(errors) == 1, (name, done.stderr)
            assert errors[0] == lines[-1], (name, done.stderr)
            assert WRONG[name][1] in errors[0], (name, errors[0])
            assert "Traceback" not in done.stderr, (name, done.stderr)
            assert not workdir.exists(), (name, list(workdir.iterdir()))
            assert not list(folder.glob(f".wrong {name}*")), name


def test_the_table_is_made_resumed_and_shown(folder: Path, tmp_path: Path) -> None:
    flags = [
        "table1",
        f"--data_dir={folder}/splits",
        f"--workdir={tmp_path}/table",
        "--rows=kong2017,yu2018:1-A-1-A",
        "--steps=2",
        "--evaluations=1",
    ]
    first = ok(*flags, "--seeds=0")
    second = ok(*flags, "--seeds=0,1")
    for name in ("kong2017", "yu2018_1-A-1-A"):
        assert f"{name} seed 0, step 2" in first.stderr
        assert f"{name} seed 1, step 2" in second.stderr
        assert f"{name} seed 0, step" not in second.stderr
    made = json.loads((tmp_path / "table/table1.json").read_text())
    assert [row["seeds"] for row in made["rows"]] == [[0, 1], [0, 1]]
    assert made["rows"][0]["stated"]["mAP"] == 0.327
    text = (tmp_path / "table/table1.md").read_text()
    assert text.startswith(f"{second.stdout}\n")
    assert "± is the sample standard deviation" in text
    assert (tmp_path / "table/figure3.png").stat().st_size > 10_000
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table1 -->\nold\n<!-- /table1 -->\nafter\n")
    ok("table1", f"--results={tmp_path}/table/table1.json", f"--update={page}")
    assert page.read_text() == f"before\n<!-- table1 -->\n{second.stdout}<!-- /table1 -->\nafter\n"
    fewer = ok(*flags[:-3], *flags[-2:], "--seeds=1", "--rows=kong2017")
    assert "no longer shows kong2017 seed 0, yu2018:1-A-1-A seed 0" in fewer.stderr
    refused = run(*flags, "--steps=3")
    assert refused.returncode == 2
    assert "steps (was 2, now 3)" in refused.stderr
    # Its runs are runs like any others.
    workdir = f"--workdir={tmp_path}/table/kong2017/seed1"
    assert "step 2: mAP" in ok("evaluate", workdir, f"--data={folder}/eval").stdout


def test_debug_shows_the_trace(folder: Path) -> None:
    done = run("train", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_help_names_the_flags() -> None:
    for name, flag in (
        ("train", "--workdir"),
        ("predict", "--top_k"),
        ("prepare_data", "--bad_records"),
    ):
        done = run(name, "--help")
        assert flag in done.stdout
        assert f"python -m experiments.{name}" in done.stdout
