"""The command-line programs, run as a user runs them: flags, exit codes, stdout and stderr."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.runs.metrics_log import read_metrics
from mla_jax.storage.locks import one_writer
from tests.support.helpers import random_clips
from tests.support.programs import ok, run
from tests.support.small_runs import run_flags


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records with the clips of `run_data`, their class list, and both splits packed by the command."""
    folder = tmp_path_factory.mktemp("data")
    classes = mla.ClassList(
        tuple(f"/m/{k}" for k in range(7)), tuple(f"Sound {k}" for k in range(7))
    )
    for seed, split in enumerate(("train", "eval")):
        mla.write_records(random_clips(num_clips=40, seed=seed), folder / "records" / split)
    (folder / "records" / "class_labels_indices.csv").write_text(classes.to_csv())
    for split in ("train", "eval"):
        done = ok(
            "prepare_data",
            f"--data={folder}/records/{split}",
            f"--output={folder}/{split}",
            "--max_segments=5",
        )
        assert "clips                40, of 5 segments x 4 features, uint8" in done.stdout
        assert "skipped records      0" in done.stdout
    (folder / "splits").mkdir()
    (folder / "splits" / "bal_train").symlink_to(folder / "train")
    (folder / "splits" / "eval").symlink_to(folder / "eval")
    (folder / "cut.md").write_text("no marker\n")
    return folder


def train_flags(folder: Path, steps: int) -> list[str]:
    return ["train", f"--workdir={folder}/run", *run_flags(folder, steps=steps)]


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """A run of 20 steps, made in two parts, and then asked for once more."""
    ok(*train_flags(folder, 10))
    done = ok(*train_flags(folder, 20))
    assert "going on from step 10 of 20" in done.stderr
    assert "step 20 (last step) on eval: mAP" in done.stdout
    before = (folder / "run/metrics.jsonl").read_bytes()
    assert "is finished: 20 steps" in ok(*train_flags(folder, 20)).stderr
    assert (folder / "run/metrics.jsonl").read_bytes() == before
    return folder / "run"


def test_a_run_leaves_what_it_promises(trained: Path) -> None:
    results = json.loads((trained / "results.json").read_text())
    assert results["step"] == 20
    assert results["num_clips"] == 40
    assert results["clips"] == {"train": 40, "eval": 40}
    assert results["step_chosen_by"] == "last step"
    assert 0 < results["mAP"] <= 1
    assert 0 < results["AUC"] <= 1
    assert isinstance(results["d_prime"], float)
    assert [c["name"] for c in results["classes"]] == [f"Sound {k}" for k in range(7)]
    assert {"seed", "versions", "device", "seconds"} <= results.keys()
    config = json.loads((trained / "config.json").read_text())
    assert config["train"]["steps"] == 20
    assert [r["step"] for r in read_metrics(trained / "metrics.jsonl")] == [5, 10, 15, 20]
    assert list((trained / "tensorboard").iterdir())


def test_evaluate_gives_the_runs_scores_and_averages(folder: Path, trained: Path) -> None:
    results = json.loads((trained / "results.json").read_text())
    ok("evaluate", f"--workdir={trained}", f"--data={folder}/eval", f"--output={folder}/e.json")
    again = json.loads((folder / "e.json").read_text())
    for name in ("mAP", "AUC", "d_prime", "num_clips", "step"):
        assert again[name] == results[name]
    done = ok(
        "evaluate",
        f"--workdir={trained}",
        f"--data={folder}/records/eval",
        "--average_from=10",
        f"--output={folder}/a.json",
    )
    assert "average of 2 checkpoints, steps 10 to 20" in done.stdout
    averaged = json.loads((folder / "a.json").read_text())
    models = [mla.TrainedModel.open(trained, step) for step in (10, 20)]
    clips = models[0].open_clips(f"{folder}/records/eval")
    mean = np.mean([m.predict(clips) for m in models], axis=0)
    assert averaged["mAP"] == pytest.approx(mla.evaluate(mean, clips.multi_hot()).mAP, rel=1e-6)


def test_a_run_averaged_with_itself_has_its_scores(folder: Path, trained: Path) -> None:
    workdir, output = f"--workdir={trained},{trained}", f"--output={folder}/twice.json"
    done = ok("evaluate", workdir, f"--data={folder}/eval", output)
    assert done.stdout.startswith("average of 2 checkpoints, steps 20 to 20")
    twice = json.loads((folder / "twice.json").read_text())
    results = json.loads((trained / "results.json").read_text())
    assert twice["mAP"] == results["mAP"]
    assert twice["models"] == [{"workdir": str(trained), "step": 20}] * 2


def test_predict_names_the_most_probable(folder: Path, trained: Path) -> None:
    done = ok(
        "predict",
        f"--workdir={trained}",
        f"--data={folder}/eval",
        f"--output={folder}/p.jsonl",
        "--top_k=3",
    )
    assert done.stdout == f"{folder}/p.jsonl: 40 clips\n"
    lines = [json.loads(line) for line in (folder / "p.jsonl").read_text().splitlines()]
    clips = mla.open_packed(folder / "eval")
    probs = mla.TrainedModel.open(trained).predict(clips)
    assert [line["video_id"].encode() for line in lines] == clips.video_ids.tolist()
    for line, row, start in zip(lines, probs, clips.start_times, strict=True):
        assert line["start_time"] == start
        assert [label["index"] for label in line["labels"]] == np.argsort(-row)[:3].tolist()
        for label in line["labels"]:
            assert label["name"] == f"Sound {label['index']}"
            assert label["mid"] == f"/m/{label['index']}"
            assert label["probability"] == pytest.approx(row[label["index"]], abs=1e-6)


def test_bad_records_are_treated_as_in_training_or_as_said(folder: Path, trained: Path) -> None:
    """`skip` lists what it leaves out beside the output."""
    records = folder / "more records"
    mla.write_records(random_clips(), records)
    (records / "zz.tfrecord").write_bytes(b"not a record at all")
    predict = ("predict", f"--workdir={trained}", f"--data={records}")
    refused = run(*predict, f"--output={folder}/t.jsonl")
    assert refused.returncode == 2
    assert "zz.tfrecord, record 0" in refused.stderr
    done = ok(*predict, f"--output={folder}/t.jsonl", "--bad_records=skip")
    assert "20 clips, without 1 bad records" in done.stdout
    scored = f"--output={folder}/s.json"
    done = ok("evaluate", *predict[1:2], f"--data={records}", "--bad_records=skip", scored)
    assert "without 1 bad records" in done.stdout
    # What the library logs has no date, no thread and no place.
    assert f"\nwarning: {records}: 1 bad records left out" in f"\n{done.stderr}"
    for listed in ("t", "s"):
        (line,) = (folder / f"{listed}.skipped_records.jsonl").read_text().splitlines()
        assert json.loads(line)["file"].endswith("zz.tfrecord")


# One of each kind: of flags, of a program's own rules, and of the library, whose messages are tested with it.
WRONG = {
    "a flag is missing": (["train"], "give --workdir"),
    "misspelt field": (["train", "--workdir={w}", "--config.optim.learning_rat=1"], "did you mean"),
    "wrong type": (["train", "--workdir={w}", "--config.train.steps=many"], "many"),
    "preset": (["train", "--workdir={w}", "--preset=yu2019"], "yu2018"),
    "stray word": (["train", "--workdir={w}", "somewhere"], "'somewhere' is not a flag"),
    "no such folder": (
        ["train", "--workdir={w}", "--config.data.train=/no/where"],
        "/no/where does not exist",
    ),
    "another run": (
        [
            "train",
            "--preset=yu2018",
            "--workdir={r}",
            "--config.data.train={f}/train",
            "--config.optim.b1=0.5",
        ],
        "optim.b1 (was 0.9, now 0.5)",
    ),
    "step and average": (
        ["evaluate", "--workdir={r}", "--data={f}/eval", "--step=4", "--average_from=4"],
        "not both",
    ),
    "two runs for one model": (
        ["evaluate", "--workdir={r}", "--workdir={r}", "--data={f}/eval"],
        "--workdir is given 2 times; give it once",
    ),
    "verify and pack": (
        ["prepare_data", "--verify={f}/train", "--output={w}"],
        "--output: --verify checks a folder as it is",
    ),
    "nothing to compare": (["compare"], "give --workdir"),
    "not finished": (["compare", "--workdirs={f}/train"], "is not a finished run"),
    "no marker": (["compare", "--workdirs={r}", "--update={f}/cut.md"], "cut.md has no <!--"),
    "no splits to show": (["demo", "--workdir={w}", "--data={f}/train"], "has no .tfrecord files"),
    "no weights": (["import_keras", "--workdir={w}", "--weights=/no/where.h5"], "/no/where.h5"),
    "no table": (["table1", "--workdir={w}"], "give --data and --workdir, or --results"),
    "seeds": (
        ["table1", "--workdir={w}", "--data={f}/splits", "--seeds=0,0"],
        "--seeds=0,0 must be different numbers",
    ),
    "no split": (["table1", "--workdir={w}", "--data={f}"], "has no bal_train"),
    "no class of that name": (
        ["table1", "--workdir={w}", "--data={f}/splits", "--figure_classes=Theremin"],
        "no class 'Theremin'",
    ),
}


def test_wrong_uses_get_one_line_and_leave_nothing(folder: Path, trained: Path) -> None:
    def workdir(name: str) -> Path:
        return folder / f"wrong {name}"

    def try_it(name: str) -> tuple[int, str]:
        places = {"w": workdir(name), "f": folder, "r": trained}
        done = run(*(a.format(**places) for a in WRONG[name][0]))
        return done.returncode, done.stderr

    with ThreadPoolExecutor(2) as pool:
        for name, (code, told) in zip(WRONG, pool.map(try_it, WRONG), strict=True):
            assert code == 2, (name, told)
            lines = told.strip().splitlines()
            assert [line for line in lines if line.startswith("error: ")] == lines[-1:], (
                name,
                told,
            )
            assert WRONG[name][1] in lines[-1], (name, lines[-1])
            assert "Traceback" not in told, (name, told)
            assert not workdir(name).exists(), (name, list(workdir(name).iterdir()))
            assert not list(folder.glob(f".wrong {name}*")), name


def test_mistakes_about_a_run_are_told(folder: Path, trained: Path) -> None:
    from mla_jax.runs.train import train
    from mla_jax.runs.use import evaluate

    for mistake, message in (
        (lambda: train(mla.Config(), folder / "new"), "give --config.data.train"),
        (lambda: mla.TrainedModel.open(folder / "new"), "does not exist; give the folder"),
        (lambda: mla.TrainedModel.open(folder / "train"), "is no run"),
        (lambda: mla.TrainedModel.open(trained, step=5), "no checkpoint of step 5"),
        (lambda: evaluate(trained, "-", average_from=50), "no checkpoint from step 50 on"),
    ):
        with pytest.raises(mla.UserError, match=message):
            mistake()
    assert not (folder / "new").exists()


@pytest.mark.slow
def test_the_table_is_made_resumed_and_shown(folder: Path, tmp_path: Path) -> None:
    flags = [
        "table1",
        f"--data={folder}/splits",
        f"--workdir={tmp_path}/table",
        "--rows=kong2017",
        "--steps=1",
        "--evaluations=1",
    ]
    first = ok(*flags, "--seeds=0")
    second = ok(*flags, "--seeds=0,1")
    assert "kong2017 seed 0, step 1" in first.stderr
    assert "kong2017 seed 1, step 1" in second.stderr
    assert "kong2017 seed 0, step" not in second.stderr
    made = json.loads((tmp_path / "table/table1.json").read_text())
    assert [row["seeds"] for row in made["rows"]] == [[0, 1]]
    assert made["rows"][0]["stated"]["mAP"] == 0.327
    text = (tmp_path / "table/table1.md").read_text()
    assert text.startswith(f"{second.stdout}\n")
    assert "± is the sample standard deviation" in text
    assert (tmp_path / "table/figure3.png").stat().st_size > 10_000
    # What another command has trained there stays in the table.
    ok(*[f for f in flags if "rows" not in f], "--rows=average_pooling", "--seeds=1")
    made = json.loads((tmp_path / "table/table1.json").read_text())
    assert {row["name"]: row["seeds"] for row in made["rows"]} == {
        "average_pooling": [1],
        "kong2017": [0, 1],
    }
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table1 -->\nold\n<!-- /table1 -->\nafter\n")
    shown = ok("table1", f"--results={tmp_path}/table/table1.json", f"--update={page}").stdout
    table = shown.split("\n\n")[0]
    assert page.read_text() == f"before\n<!-- table1 -->\n{table}\n<!-- /table1 -->\nafter\n"


@pytest.mark.slow
@pytest.mark.parametrize(("program", "other"), [("table1", "kong2017"), ("ablate", "best")])
def test_programs_that_run_at_once_share_the_rows(
    folder: Path, tmp_path: Path, program: str, other: str
) -> None:
    """The row that another process trains is left to it; the table is whole in the end."""
    table = tmp_path / "table"
    flags = [f"--data={folder}/splits", f"--workdir={table}", "--steps=1", "--evaluations=1"]
    rows = {
        "table1": ["--rows=kong2017,average_pooling"],
        "ablate": ["--row=best", "--changes=optim.level_loss=0"],
    }
    names = {
        "table1": ["kong2017", "average_pooling"],
        "ablate": ["best", "best+optim.level_loss=0"],
    }
    ours = table / names[program][1] / "seed0/results.json"
    with ThreadPoolExecutor(1) as pool:
        with one_writer(table / other):
            running = pool.submit(ok, program, *flags, *rows[program], "--seeds=0")
            until = time.monotonic() + 200
            while not ours.exists():
                assert time.monotonic() < until
                assert not running.done(), running.result().stderr
                time.sleep(0.1)
        done = running.result()
    assert done.stderr.count(f"left to the program that trains it: {table / other} is in use") == 1
    (made,) = [json.loads(p.read_text()) for p in table.glob("*.json") if "settings" not in p.name]
    assert {row["name"] for row in made["rows"]} == set(names[program])


@pytest.mark.slow
def test_rows_that_another_command_adds_meanwhile_stay_in_the_table(
    folder: Path, tmp_path: Path
) -> None:
    table = tmp_path / "table"
    flags = [f"--data={folder}/splits", f"--workdir={table}", "--steps=1", "--evaluations=1"]
    with ThreadPoolExecutor(1) as pool:
        with one_writer(table / "kong2017"):
            running = pool.submit(ok, "table1", *flags, "--rows=kong2017", "--seeds=0")
            until = time.monotonic() + 200
            while not (table / "settings.json").exists():
                assert time.monotonic() < until
                time.sleep(0.1)
            ok("table1", *flags, "--rows=average_pooling", "--seeds=0")
        running.result()
    made = json.loads((table / "table1.json").read_text())
    assert {row["name"] for row in made["rows"]} == {"kong2017", "average_pooling"}


@pytest.mark.slow
def test_a_curve_and_an_ablation_are_made_resumed_and_shown(folder: Path, tmp_path: Path) -> None:
    more = [f"--data={folder}/splits", "--steps=1", "--evaluations=1"]
    more += ["--validation_fraction=0.3", "--seeds=0"]
    flags = ["--row=kong2017"]
    work = f"--workdir={tmp_path}/curve"
    ok("learning_curve", *flags, *more, work, "--shares=0.5")
    both = ok("learning_curve", *flags, *more, work, "--shares=0.5,1")
    assert "train_fraction=0.5 is finished" in both.stderr
    made = json.loads((tmp_path / "curve/learning_curve.json").read_text())
    few, all_clips = (point["clips"] for point in made["rows"])
    assert few < all_clips
    assert (tmp_path / "curve/learning_curve.png").stat().st_size > 10_000
    other = run("learning_curve", *more, work, "--row=average_pooling")
    assert other.returncode == 2
    assert "learning_curve.json is of the row kong2017, not of average_pooling" in other.stderr
    done = ok("ablate", *flags, *more, work, "--changes=model.pooling=mean")
    assert "with model.pooling=mean" in done.stdout
    assert "/kong2017 is finished" in done.stderr  # what the curve has trained
    again = ok("ablate", f"--results={tmp_path}/curve/ablation.json").stdout
    assert again == done.stdout
    nothing = run("ablate", *flags, *more, work, "--changes=model.pooling=attention")
    assert "changes nothing" in nothing.stderr


def test_debug_shows_the_trace() -> None:
    done = run("train", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_help_names_the_flags() -> None:
    done = run("train", "--help")
    assert "--workdir" in done.stdout
    assert "--config.optim.learning_rate=0.001" in done.stdout
    assert "mla-train --preset" in done.stdout
