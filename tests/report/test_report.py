"""Reports of runs: what is in them, what is left out, and that nothing in them is taken for HTML."""

import dataclasses
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.pyplot
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import mla_jax as mla
from mla_jax.data.class_list import FILE_NAME
from mla_jax.evaluation.bootstrap import bootstrap_map, clip_counts, interval
from mla_jax.evaluation.metrics import Metrics
from mla_jax.localization.truth import read_truth, truth_of_clip
from mla_jax.report import clip_picture
from mla_jax.report.contents import Report
from mla_jax.report.gather import gather
from mla_jax.report.page import render
from mla_jax.report.tensorboard import add_to_tensorboard
from mla_jax.report.when import when
from mla_jax.report.write import write_report
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.names import run_names
from mla_jax.runs.use import evaluate
from mla_jax.storage import files
from tests.support.helpers import raises_user_error
from tests.support.programs import run as command
from tests.support.untrained import EVIL, WORLD, make_runs, write_truth


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    return gather([folder / "multi", folder / "single"])


@pytest.fixture(scope="module")
def page(report: Report) -> "Page":
    return Page(render(report))


class Page(HTMLParser):
    """A page's elements, their attributes and texts; fails on tags that do not nest."""

    VOID = ("meta", "img", "input", "link", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self) -> str:
        return " ".join(t for tag, t in self.texts if tag not in ("script", "style"))


def test_the_metrics_are_those_of_the_runs(report: Report, folder: Path) -> None:
    assert [run.name for run in report.runs] == ["multi", "single"]
    assert report.notes == []
    assert report.data is not None
    clips = mla.open_packed(folder / "eval")
    labels, counts = clips.multi_hot(), clip_counts(len(clips), 200)
    resampled, means = [], []
    for run in report.runs:
        assert run.metrics is not None
        stated = run.with_results().metrics
        for field in dataclasses.fields(Metrics):
            ours, theirs = getattr(run.metrics, field.name), getattr(stated, field.name)
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, err_msg=field.name)
        probs = mla.TrainedModel.open(folder / run.name).predict(clips)
        means.append(run.metrics.mAP)
        resampled.append(bootstrap_map(probs, labels, counts))
        assert run.interval() == interval(resampled[-1], means[-1])
        np.testing.assert_array_equal(run.chosen_probs, probs[:, report.data.chosen])
    low, high = interval(resampled[0] - resampled[1], means[0] - means[1])
    assert f"{low:+.3f} to {high:+.3f}" in Page(render(report)).text()
    # The examples are of the first run, where it is known what its levels add.
    assert list(report.examples[0].maps) == [
        "segment score",
        "adds, after block 1",
        "adds, after block 2",
    ]


def test_the_page_is_whole_and_loads_nothing(page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        assert not any(name.startswith("on") or name == "style" for name in attributes), attributes
        for name in ("src", "href", "srcset", "action", "xlink:href"):
            target = attributes.get(name)
            assert target is None or target.startswith(("#", "data:image/svg+xml;base64,")), target
    assert "url(" not in page.html
    assert "@import" not in page.html
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert (link["href"] or "").removeprefix("#") in ids
    for attributes in (a for _, a in page.elements):
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert attributes.get(name) is None or attributes[name] in ids
    assert all(len(image["alt"] or "") > 30 for image in page.all("img"))
    assert len(page.all("img")) >= 5 + 1 + 6  # pictures, levels, examples


def test_nothing_in_it_is_taken_for_html(page: Page) -> None:
    assert len(page.all("script")) == 1
    assert not page.all("i")
    assert EVIL not in page.html
    assert EVIL in page.text()
    assert "<i>&" in page.text()
    assert any(EVIL in (image["alt"] or "") for image in page.all("img"))


def test_tables_say_what_their_cells_are(page: Page) -> None:
    heads = page.all("th")
    assert heads
    assert all(h.get("scope") in ("col", "row", "rowgroup") for h in heads)
    assert page.html.count("<caption>") == page.html.count("<table")
    assert [h["aria-sort"] for h in heads if "aria-sort" in h] == ["descending"]


def test_maps_can_be_pointed_at_and_are_text_too(page: Page) -> None:
    maps = page.all("svg")
    assert len(maps) >= 6 * 2 * 3  # clips, runs, classes
    assert all(m["role"] == "img" and "scores, 1 s each:" in (m["aria-label"] or "") for m in maps)
    cells = [cell for cell in page.all("rect") if "class" not in cell]
    assert len(cells) == len(page.all("title")) - 1  # that of the page
    titles = [text for tag, text in page.texts if tag == "title"][1:]
    assert all(re.search(r"^\d+ to \d+ s, .*: 0\.\d\d; the clip 0\.\d\d$", t) for t in titles)


def test_every_class_stands_in_the_table_with_its_metrics(report: Report, page: Page) -> None:
    body = page.html.split('id="class-table"')[1].split("<tbody>")[1].split("</tbody>")[0]
    values = [re.findall(r'data-v="([^"]*)"', row) for row in body.strip().split("\n")]
    metrics, trained = report.runs[0].metrics, report.num_train_clips
    assert metrics is not None
    assert trained is not None
    precision = metrics.average_precision
    assert [int(row[0]) for row in values] == np.argsort(-precision, kind="stable").tolist()
    for row in values:
        k = int(row[0])
        assert int(row[1]) == trained[k]
        assert int(row[2]) == metrics.num_positives[k]
        np.testing.assert_allclose(float(row[3]), precision[k], rtol=1e-5)


def test_equal_reports_are_equal_bytes_and_no_figure_stays_open(report: Report, page: Page) -> None:
    assert render(report) == page.html
    assert matplotlib.pyplot.get_fignums() == []


def test_without_the_data_it_shows_what_results_have_and_says_so(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("multi", "single"):
        shutil.copytree(folder / name, tmp_path / name)
        run = RunFolder(tmp_path / name)
        config = run.config()
        gone = dataclasses.replace(config.data, eval=str(tmp_path / "gone"))
        run.write_config(dataclasses.replace(config, data=gone))
    both = [tmp_path / "multi", tmp_path / "single"]
    report = gather(both, events="events.tsv")
    assert "gone, is not there" in report.notes[0]
    assert report.notes[1] == "events.tsv is not used: it is about the eval clips."
    text = Page(render(report)).text()
    stated = RunFolder(folder / "multi").results()
    assert stated is not None
    assert f"{stated['mAP']:.3f}" in text
    assert "What is not here" in text
    assert "Example clips" not in text
    assert "share of the weights" not in text  # a picture's words are no text
    levels = report.runs[0].levels
    assert levels is not None
    assert not levels.by_variance
    assert not report.apart
    # With --data the same runs are evaluated after all.
    again = gather([tmp_path / "multi"], str(folder / "eval"))
    assert again.runs[0].metrics is not None
    assert again.runs[0].metrics.mAP == pytest.approx(stated["mAP"])
    assert again.examples
    # A run that never came to results, and one without a checkpoint.
    RunFolder(tmp_path / "multi").results_file.unlink()
    shutil.rmtree(tmp_path / "single" / "checkpoints")
    rest = gather(both)
    assert any("multi has no results.json" in note for note in rest.notes)
    assert any("single has no checkpoint" in note for note in rest.notes)
    assert [run.metrics is None for run in rest.runs] == [True, False]
    assert "single" in Page(render(rest)).text()


@pytest.mark.parametrize(
    "other", [{"num_clips": 30}, {"evaluated_on": "validation"}], ids=["clips", "split"]
)
def test_without_the_data_runs_of_other_clips_are_not_compared(
    other: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    for name in ("multi", "single"):
        shutil.copytree(folder / name, tmp_path / name)
        run = RunFolder(tmp_path / name)
        gone = dataclasses.replace(run.config().data, eval=str(tmp_path / "gone"))
        run.write_config(dataclasses.replace(run.config(), data=gone))
    file = RunFolder(tmp_path / "single").results_file
    files.write_json(file, files.read_json(file) | other)
    report = gather([tmp_path / "multi", tmp_path / "single"])
    assert report.apart == ("single",)
    assert any(note.startswith("single: not scored on the same clips") for note in report.notes)
    text = Page(render(report)).text()
    assert "so their figures do not say which is the best" in text
    assert "is the best at" not in text


def test_a_note_says_when_the_data_give_other_metrics(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "single", tmp_path / "single")
    run = RunFolder(tmp_path / "single")
    files.write_json(run.results_file, (run.results() or {}) | {"mAP": 0.99})
    (note,) = gather([run.path]).notes
    assert "0.9900" in note


def test_scores_of_what_was_trained_on_are_said_to_be_such(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By a report and by `evaluate`, however the place is written, and whatever copies are called."""
    train = folder / "eval" / ".." / "train"
    assert any("was trained on" in note for note in gather([folder / "single"], str(train)).notes)
    assert not any("was trained on" in note for note in gather([folder / "single"]).notes)
    clips = mla.open_packed(folder / "train")[:3]
    ids = np.array([b"one", b"two", b"three"])
    copies = dataclasses.replace(clips, video_ids=ids)
    mla.pack([copies], tmp_path / "copies", classes=mla.ClassList.read(folder / "eval" / FILE_NAME))
    (note,) = gather([folder / "single"], str(tmp_path / "copies")).notes
    assert (
        "single: copies of clips that the model was trained on: 3 of 3 clips, such as 'one' of "
        in note
    )
    for data, told in ((folder / "eval", False), (train, True)):
        caplog.clear()
        with caplog.at_level("WARNING", "absl"):
            evaluate(f"{folder / 'single'},{folder / 'single'}", str(data))
        assert ("was trained on" in caplog.text) == told


def test_runs_are_named_by_what_tells_them_apart() -> None:
    assert run_names(["a/seed0", "b/seed0"]) == ["a", "b"]
    assert run_names(["a/seed0", "a/seed1", "b/seed0"]) == ["a/seed0", "a/seed1", "b/seed0"]
    assert run_names(["runs/a", "runs/b"]) == ["a", "b"]
    assert run_names(["runs/a/seed0"]) == ["a/seed0"]
    assert run_names(["runs/a"]) == ["a"]
    with raises_user_error("at least one"):
        run_names([])
    with raises_user_error("given twice"):
        run_names(["a", "b", "a"])


def test_mistakes_are_one_line_and_leave_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "report.html"
    multi = folder / "multi"
    for workdir, data, classes, message in [
        (tmp_path / "none", "", [], "none does not exist"),
        (folder, "", [], "is no run"),
        (multi, str(tmp_path / "none"), [], "none"),
        (multi, "", ["Sound 99"], "no class 'Sound 99'"),
    ]:
        with raises_user_error(message):
            write_report([workdir], out, data, classes=classes)
        assert not out.parent.exists()
    with raises_user_error("is a folder"):
        write_report([multi], tmp_path)
    other = mla.synthetic_clips(dataclasses.replace(WORLD, num_classes=5))
    mla.pack([other.clips], tmp_path / "five", classes=other.classes)
    with raises_user_error("class"):
        write_report([multi], out, str(tmp_path / "five"))
    clips = mla.open_packed(folder / "eval")
    none = mla.ClipSet.from_arrays(clips.embeddings[:5], np.zeros((5, clips.num_classes), bool))
    classes = mla.ClassList.read(folder / "eval" / FILE_NAME)
    mla.pack([none], tmp_path / "unlabelled", classes=classes)
    with raises_user_error("unlabelled has no labels, so nothing can be scored"):
        write_report([multi], out, str(tmp_path / "unlabelled"))


def test_with_strong_labels_it_says_when_and_frames_it(
    folder: Path, page: Page, tmp_path: Path
) -> None:
    clips = mla.open_packed(folder / "eval")
    active = mla.synthetic_clips(WORLD, "eval").events
    unknown = clips.video_ids[0].decode()
    events = write_truth(tmp_path, folder / "eval", leave_out=unknown)
    told = gather([folder / "single"], events=events)
    for example in told.examples:
        i = [v.decode() for v in clips.video_ids].index(example.video_id)
        if i:
            expected = active[i, : clips.num_segments[i]].T[example.classes]
            np.testing.assert_array_equal(example.events, expected)
    scores = mla.TrainedModel.open(folder / "single").predict_segments(clips).scores
    judged = mla.evaluate_segments(scores[1:], active[1:], mask=clips.mask()[1:])
    found = told.runs[0].when
    assert found is not None
    ours = found.decided
    for name in ("macro_average_precision", "error_rate", "num_segments"):
        assert getattr(ours, name) == pytest.approx(getattr(judged, name), rel=1e-5)
    drawn = Page(render(told))
    parts = [a.get("id") for a in drawn.all("section")]
    assert parts[:3] == ["results", "when", "examples"]
    text = drawn.text()
    assert "Scores of seconds against strong labels" in text
    assert f"{ours.macro_auc:.3f}" in text
    assert "A frame is when the class truly sounds" in text
    assert "strong labels" not in page.text()
    assert told.notes == [
        f"{events} has strong labels for 119 of 120 clips; only these are judged by seconds."
    ]


def test_what_strong_labels_leave_out_is_said_and_not_judged(folder: Path, tmp_path: Path) -> None:
    clips = mla.open_packed(folder / "eval")
    names = mla.ClassList.read(folder / "eval" / FILE_NAME).names
    ids = [v.decode() for v in clips.video_ids[:2]]
    rows = [
        f"{ids[0]}.wav\t0\t2\t{names[1]}",
        f"{ids[1]}.wav\t1\t2\t{names[3]}",
        f"{ids[1]}.wav\t0\t1\tZither",
        f"{ids[1]}.wav\t90\t91\t{names[3]}",
        f"stranger.wav\t0\t1\t{names[4]}",
    ]
    events = tmp_path / "events.tsv"
    events.write_text("\n".join(["filename\tonset\toffset\tevent_label", *rows]))
    trained = mla.TrainedModel.open(folder / "single")
    truth, notes = read_truth(events, trained.classes, clips, 1.0)
    assert notes == [
        f"{events} has strong labels for 2 of 120 clips; only these are judged by seconds.",
        f"1 of 3 files in {events} belong to no clip: stranger.wav.",
        f"{events} knows 3 of 7 classes; figures by seconds count these alone. It knows {names[1]}; "
        f"{names[3]}; {names[4]}.",
        f"1 of 4 events in {events} touch no segment of their clip.",
        f"1 events in {events} have labels that are no class, and are left out: Zither (1).",
    ]
    active = np.zeros((2, clips.max_segments, 7), bool)
    active[0, :2, 1] = active[1, 1, 3] = True
    known = [1, 3, 4]
    scores = trained.predict_segments(clips[:2]).scores[:, :, known]
    alone = mla.evaluate_segments(scores, active[:, :, known], mask=clips.mask()[:2])
    found = when(trained, clips, truth)
    assert found is not None
    ours = found.decided
    for name in ("micro_average_precision", "macro_auc", "error_rate", "num_segments"):
        assert getattr(ours, name) == pytest.approx(getattr(alone, name), rel=1e-5), name

    sounds, said = truth_of_clip(events, trained.classes, clips, 0, 1.0)
    np.testing.assert_array_equal(sounds, active[0, : clips.num_segments[0]].T)
    assert said == notes[-1:]
    sounds, said = truth_of_clip(events, trained.classes, clips, 2, 1.0)
    assert sounds is None
    assert said[0] == f"{events} has no line for {clips.describe(2)}: nothing is framed."
    rows = [f"{ids[0]}.wav\t90\t91\t{names[1]}", f"{ids[1]}.wav\t0\t1\t{names[1]}"]
    events.write_text("\n".join(["filename\tonset\toffset\tevent_label", *rows]))
    sounds, said = truth_of_clip(events, trained.classes, clips, 0, 1.0)
    assert sounds is not None
    assert not sounds.any()
    assert said == [f"No event in {events} touches a segment of {clips.describe(0)}."]


def test_clips_of_one_id_are_told_apart_by_their_start(folder: Path, tmp_path: Path) -> None:
    clips = mla.open_packed(folder / "eval")[:3]
    same = dataclasses.replace(
        clips,
        video_ids=np.array([b"a", b"a", b"b"]),
        start_times=np.array([0, 1e9 + 0.04, 0], clips.start_times.dtype),
    )
    mla.pack([same], tmp_path / "same", classes=mla.ClassList.read(folder / "eval" / FILE_NAME))
    made = ([folder / "single"], tmp_path / "one.svg")
    data = str(tmp_path / "same")
    for start, parts in (
        (None, ("has 2 clips with the video id 'a'; they start at 0.0, 1000000000.04 seconds",)),
        (3.0, ("0 of which start at 3.0 seconds", "--start_time")),
        (1e9, ("0 of which start at 1000000000.0 seconds", "--start_time")),
    ):
        with raises_user_error(*parts):
            clip_picture.write_clip_picture(*made, "a", data, start_time=start)
    clip_picture.write_clip_picture(*made, "a", data, start_time=1000000000.04)
    clip_picture.write_clip_picture(*made, "b", data)


@pytest.mark.slow
def test_a_picture_of_a_clip_by_command(folder: Path, tmp_path: Path) -> None:
    clip = mla.open_packed(folder / "eval").video_ids[3].decode()
    events = write_truth(tmp_path, folder / "eval")
    both = [f"--workdir={folder}/{name}" for name in ("multi", "single")]
    done = command(
        "clip_map", *both, f"--clip={clip}", f"--events={events}", f"--output={tmp_path}/clip.png"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"clip {clip}: {tmp_path}/clip.png\n"
    assert (tmp_path / "clip.png").read_bytes().startswith(b"\x89PNG")
    clip_picture.write_clip_picture([folder / "single"], tmp_path / "one.svg", clip)
    assert "<svg" in (tmp_path / "one.svg").read_text()
    with raises_user_error("no clip with the video id 'nobody'"):
        clip_picture.write_clip_picture([folder / "single"], tmp_path / "no.png", "nobody")
    assert not (tmp_path / "no.png").exists()


@pytest.mark.slow
def test_the_command(folder: Path, tmp_path: Path) -> None:
    flags = [f"--workdir={folder}/single", "--class=2", "--class=0", f"--data={folder}/eval"]
    done = command("report", *flags, f"--output={tmp_path}/report.html")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"a report of single: {tmp_path}/report.html\n"
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert any(
        (i["alt"] or "").startswith("Precision-recall curves of Sound 2") for i in page.all("img")
    )


def test_tensorboard_reads_the_settings_and_pictures_back(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "multi", tmp_path / "multi")
    board = tmp_path / "multi" / "tensorboard"
    for _ in range(2):  # the second replaces the first
        add_to_tensorboard(tmp_path / "multi")
    assert len(list(board.glob("*.report"))) == 1
    read = EventAccumulator(str(board), size_guidance={"images": 0, "tensors": 0}).Reload()
    assert read.Tags()["images"] == [
        "training_curves",
        "average_precision_by_class",
        "average_precision_and_frequency",
    ]
    image = read.Images("training_curves")[0]
    assert image.step == 12
    assert (image.width, image.height) == (680, 322)
    assert image.encoded_image_string.startswith(b"\x89PNG")
    text = read.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| model.architecture | `1-A-1-A` |" in text
    steps = [event.step for event in read.Scalars("eval_mAP")]
    assert steps == [4, 8, 12]  # the run's own metrics are still there
