"""Reports of runs: what is in them, what is left out, and that nothing in them is taken for HTML."""

import dataclasses
import json
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
from mla_jax import clip_picture, files, inside, reporting, runs
from mla_jax.evaluation import examples
from mla_jax.evaluation.bootstrap import bootstrap_map, clip_counts, interval
from mla_jax.evaluation.html_report import render
from mla_jax.evaluation.report_data import Report
from mla_jax.run_data import RunData
from mla_jax.session import checkpoint_meta, results_of
from mla_jax.trained import TrainedModel
from mla_jax.training.checkpoints import Checkpoints
from mla_jax.training.metrics_log import MetricsLog
from tests.helpers import raises_user_error
from tests.programs import run as command

K = 7
EVIL = "<script>alert(1)</script> & \"Q\" 'q' $x$ </table>"
WORLD = mla.SyntheticConfig(num_clips=120, num_classes=K, num_features=16, max_segments=5)


def make_runs(folder: Path, *, train: bool = False) -> Path:
    """Two runs, multi and single, on packed data whose first class and whose videos have evil names."""
    for split in ("train", "eval"):
        made = mla.synthetic_clips(WORLD, split)
        names = (EVIL, *made.classes.names[1:])
        clips = dataclasses.replace(
            made.clips,
            video_ids=np.array([b"<i>&" + v for v in made.clips.video_ids]),
        )
        mla.pack([clips], folder / split, classes=dataclasses.replace(made.classes, names=names))
    if train:
        runs.train(config(folder, architecture="1-A-1-A"), folder / "multi", say=lambda _: None)
    else:
        leave_untrained(config(folder, architecture="1-A-1-A"), folder / "multi")
    leave_untrained(config(folder, architecture="1-A"), folder / "single")
    return folder


def config(folder: Path, **model: Any) -> mla.Config:
    return mla.Config.from_dict(
        {
            "model": {"hidden_units": 8, "output_norm": False, **model},
            "data": {
                "train": str(folder / "train"),
                "eval": str(folder / "eval"),
                "batch_size": 16,
            },
            "train": {"steps": 12, "log_every": 4, "eval_every": 4, "checkpoint_every": 12},
        }
    )


def leave_untrained(config: mla.Config, workdir: Path) -> None:
    """What a run leaves, of weights as they begin: without the time that compiling the training takes."""
    data = RunData.open(config)
    assert data.eval is not None
    model = mla.build_model(config.model, K)
    state = mla.fresh_state(model, data.train, config)
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        checkpoints.save(state, checkpoint_meta(config, data))
    with MetricsLog(workdir, 0) as log:
        for step in (4, 8, 12):
            log.write({"step": step, "loss": 1 / step, "eval_mAP": step / 20})
    probs = mla.predict(model, state.variables, data.eval)
    results = results_of(
        config,
        data,
        "eval",
        mla.evaluate(probs, data.eval.multi_hot()),
        step=0,
        step_chosen_by="last step",
        steps_trained=0,
        parameters=1,
        seconds=0.0,
    )
    files.write_json(workdir / "results.json", results)
    files.write_json(workdir / "config.json", config.to_dict())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    return reporting.gather([folder / "multi", folder / "single"])


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


def test_the_figures_are_those_of_the_runs(report: Report, folder: Path) -> None:
    assert [run.name for run in report.runs] == ["multi", "single"]
    assert report.notes == []
    clips = mla.open_packed(folder / "eval")
    labels = clips.multi_hot()
    counts = clip_counts(len(clips), 200)
    resampled = []
    for run in report.runs:
        stated = files.read_json(folder / run.name / "results.json")
        for figure in ("mAP", "AUC", "d_prime"):
            assert run.figures[figure] == pytest.approx(stated[figure], abs=1e-6)
        probs = TrainedModel.open(folder / run.name).predict(clips)
        resampled.append(bootstrap_map(probs, labels, counts))
        assert run.mean_interval() == interval(resampled[-1], run.figures["mAP"])
        np.testing.assert_array_equal(run.chosen_scores, probs[:, report.chosen])
    difference = report.runs[0].figures["mAP"] - report.runs[1].figures["mAP"]
    low, high = interval(resampled[0] - resampled[1], difference)
    assert f"{low:+.3f} to {high:+.3f}" in Page(render(report)).text()


@pytest.mark.parametrize(("norm", "join"), [(False, "shallowest_first"), (True, "deepest_first")])
def test_what_segments_add_sums_to_the_logit(folder: Path, norm: bool, join: str) -> None:
    trained = TrainedModel.open(folder / "multi")
    form = dataclasses.replace(trained.config.model, output_norm=norm, join=join)
    rng = np.random.default_rng(0)
    stats, params = dict(trained.variables["batch_stats"]), dict(trained.variables["params"])
    offset = 0.0
    if norm:
        scale, bias, mean, var = rng.normal(size=(4, K)).astype(np.float32)
        params["output_norm"] = {"scale": scale, "bias": bias}
        stats["output_norm"] = {"mean": mean, "var": var**2}
        offset = bias - mean * scale / np.sqrt(var**2 + form.norm_epsilon)
    trained = dataclasses.replace(
        trained,
        model=mla.build_model(form, K),
        variables={"params": params, "batch_stats": stats},
        config=dataclasses.replace(trained.config, model=form),
    )
    clips = mla.open_packed(folder / "eval")
    by_level = inside._output_blocks(trained)
    assert by_level is not None
    probs = trained.predict(clips).astype(np.float64)
    logits = np.asarray(params["output"]["bias"]).astype(np.float64)
    if norm:
        logits = logits * scale / np.sqrt(var**2 + form.norm_epsilon) + offset
    inner = trained.predict_segments(clips, with_levels=True).levels
    for level, weights in zip(inner, by_level, strict=True):
        logits = logits + (inside.said(level) @ weights).sum(axis=1)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), probs, rtol=1e-4)


def test_maps_are_of_real_segments_and_of_the_right_kind(folder: Path) -> None:
    clips = mla.open_packed(folder / "eval")
    few = clips[np.argsort(clips.num_segments, kind="stable")[:6]]
    assert few.num_segments[0] < few.max_segments
    for name, kinds in {
        "multi": ["probability", "signed", "signed"],
        "single": ["probability", "weight"],
    }.items():
        trained = TrainedModel.open(folder / name)
        for i, maps in enumerate(inside.clip_maps(trained, few)):
            assert [one.kind for one in maps.values()] == kinds
            for one in maps.values():
                assert one.values.shape == (K, few.num_segments[i])
                if one.kind == "signed":
                    np.testing.assert_allclose(one.values.sum(axis=1), 0, atol=1e-5)
                if one.kind == "weight":
                    np.testing.assert_allclose(one.values.sum(axis=1), 1, rtol=1e-5)
        # A segment's score is the model's probability of the segment as a clip of one.
        alone = mla.ClipSet.from_arrays(
            np.asarray(few.embeddings[2:3, :1]), [[0]], num_classes=K, scaling=few.scaling
        )
        scores = inside.clip_maps(trained, few)[2]["segment score"].values[:, 0]
        np.testing.assert_allclose(scores, trained.predict(alone)[0], rtol=1e-5)


def test_the_examples_are_best_typical_and_worst_by_the_stated_score(
    report: Report, folder: Path
) -> None:
    clips = mla.open_packed(folder / "eval")
    probs, labels = TrainedModel.open(folder / "multi").predict(clips), clips.multi_hot()
    scores = []
    for p, y in zip(probs, labels, strict=True):
        scores.append(p[y].mean() - p[~y].max())
    np.testing.assert_allclose(examples.clip_scores(probs, labels), scores, rtol=1e-5)
    shown = {kind: [e.score for e in report.examples if e.kind == kind] for kind in examples.KINDS}
    assert [len(s) for s in shown.values()] == [2, 2, 2]
    assert shown["best"][0] == pytest.approx(max(scores))
    assert shown["worst"][0] == pytest.approx(min(scores))
    middle = np.median(scores)
    assert abs(shown["typical"][0] - middle) == pytest.approx(
        np.abs(np.array(scores) - middle).min()
    )
    for example in report.examples:
        i = [v.decode() for v in clips.video_ids].index(example.video_id)
        assert example.start_time == clips.start_times[i]
        labelled = {
            k for k, is_label in zip(example.classes, example.is_label, strict=True) if is_label
        }
        assert labelled <= set(clips.labels_of(i))
        assert example.maps["segment score"].values.shape == (
            len(example.classes),
            clips.num_segments[i],
        )


def test_examples_differ_in_their_labels_and_pass_over_clips_without() -> None:
    labels = np.array([[1, 0], [1, 0], [0, 1], [0, 0], [1, 1], [0, 1], [1, 0]], bool)
    probs = np.array([[9, 0], [8, 0], [0, 7], [9, 0], [9, 0], [6, 0], [3, 2]]) / 10
    scores = examples.clip_scores(probs, labels)
    np.testing.assert_allclose(scores, [0.9, 0.8, 0.7, np.nan, np.nan, -0.6, 0.1])
    chosen = examples.choose_examples(scores, labels, 2)
    assert chosen["best"] == [0, 2]  # 1 has the labels of 0
    rows = [i for kind in chosen.values() for i in kind]
    assert len(rows) == len(set(rows)) >= 4
    assert examples.choose_examples(np.full(3, np.nan), labels[:3], 2)["best"] == []
    assert examples.rows_to_show(np.array([0.1, 0.9, 0.5, 0.2]), np.array([1, 0, 0, 1], bool)) == [
        3,
        0,
        1,
        2,
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
    assert all(h.get("scope") in ("col", "row") for h in heads)
    assert page.html.count("<caption>") == page.html.count("<table")
    sorts = [h["aria-sort"] for h in heads if "aria-sort" in h]
    assert sorts == ["descending"]
    rows = re.findall(r'<td class="n" data-v="(\d+)">\d+</td><th scope="row">', page.html)
    assert sorted(map(int, rows)) == list(range(K))


def test_every_class_stands_in_the_table_with_its_figures(report: Report, page: Page) -> None:
    body = page.html.split('id="class-table"')[1].split("<tbody>")[1].split("</tbody>")[0]
    values = [re.findall(r'data-v="([^"]*)"', row) for row in body.strip().split("\n")]
    assert len(values) == K
    first = report.runs[0].average_precision
    assert first is not None
    assert [int(row[0]) for row in values] == np.argsort(-first, kind="stable").tolist()
    for row in values:
        k = int(row[0])
        assert report.runs[0].num_train_clips is not None
        assert int(row[1]) == report.runs[0].num_train_clips[k]
        np.testing.assert_allclose(float(row[3]), first[k], rtol=1e-5)


def test_equal_reports_are_equal_bytes_and_no_figure_stays_open(report: Report, page: Page) -> None:
    assert render(report) == page.html
    assert matplotlib.pyplot.get_fignums() == []


def test_without_the_data_it_shows_what_results_have_and_says_so(
    folder: Path, tmp_path: Path
) -> None:
    for name in ("multi", "single"):
        shutil.copytree(folder / name, tmp_path / name)
        config = json.loads((tmp_path / name / "config.json").read_text())
        config["data"]["eval"] = str(tmp_path / "gone")
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    both = [tmp_path / "multi", tmp_path / "single"]
    report = reporting.gather(both, events="events.tsv")
    assert "gone, is not there" in report.notes[0]
    assert report.notes[1] == "events.tsv is not used: it is about the eval clips."
    text = Page(render(report)).text()
    stated = files.read_json(folder / "multi" / "results.json")
    assert f"{stated['mAP']:.3f}" in text
    assert "What is not here" in text
    assert "Example clips" not in text
    assert "share of the weights" not in text  # a picture's words are no text
    assert report.runs[0].level_shares is not None
    # With --data the same runs are scored after all.
    again = reporting.gather([tmp_path / "multi"], str(folder / "eval"))
    assert again.runs[0].figures["mAP"] == pytest.approx(stated["mAP"])
    assert again.examples
    # A run that never came to results, and one without a checkpoint.
    (tmp_path / "multi" / "results.json").unlink()
    shutil.rmtree(tmp_path / "single" / "checkpoints")
    both = reporting.gather([tmp_path / "multi", tmp_path / "single"])
    assert any("multi has no results.json" in note for note in both.notes)
    assert any("single has no checkpoint" in note for note in both.notes)
    assert not both.runs[0].figures
    assert both.runs[1].figures
    assert "single" in Page(render(both)).text()


def test_a_note_says_when_the_data_give_other_figures(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "single", tmp_path / "single")
    results = files.read_json(tmp_path / "single" / "results.json")
    files.write_json(tmp_path / "single" / "results.json", results | {"mAP": 0.99})
    (note,) = reporting.gather([tmp_path / "single"]).notes
    assert "0.9900" in note


def test_runs_are_named_by_what_tells_them_apart(tmp_path: Path) -> None:
    def names(*paths: str) -> list[str]:
        return [name for name, _ in reporting._named([tmp_path / p for p in paths])]

    assert names("a/seed0", "b/seed0") == ["a", "b"]
    assert names("a/seed0", "a/seed1", "b/seed0") == ["a/seed0", "a/seed1", "b/seed0"]
    assert names("runs/a", "runs/b") == ["a", "b"]
    assert names("runs/a/seed0") == ["a/seed0"]
    assert names("runs/a") == ["a"]


def test_mistakes_are_one_line_and_leave_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "report.html"
    multi = folder / "multi"
    for workdirs, data, classes, parts in [
        ([], "", [], ["at least one"]),
        ([multi, multi], "", [], ["given twice"]),
        ([tmp_path / "none"], "", [], ["none does not exist"]),
        ([folder], "", [], ["is no run"]),
        ([multi], str(tmp_path / "none"), [], ["none"]),
        ([multi], "", ["Sound 99"], ["no class 'Sound 99'"]),
    ]:
        with raises_user_error(*parts):
            reporting.write_report(workdirs, out, data, classes=classes)
        assert not list(out.parent.iterdir())
    with raises_user_error("is a folder"):
        reporting.write_report([multi], tmp_path)
    other = mla.synthetic_clips(dataclasses.replace(WORLD, num_classes=5))
    mla.pack([other.clips], tmp_path / "five", classes=other.classes)
    with raises_user_error("class"):
        reporting.write_report([multi], out, str(tmp_path / "five"))


def test_with_strong_labels_it_says_when_and_frames_it(
    folder: Path, report: Report, tmp_path: Path
) -> None:
    trained = TrainedModel.open(folder / "single")
    active = mla.synthetic_clips(WORLD, "eval").events
    clips = mla.open_packed(folder / "eval")
    names = [v.decode() for v in clips.video_ids]
    labels = clips.multi_hot()
    best = examples.clip_scores(trained.predict(clips), labels).argmax()
    events = truth_of(folder / "eval", tmp_path, leave_out=names[best])
    told = reporting.gather([folder / "single"], events=events)
    assert told.examples[0].video_id == names[best]
    assert told.examples[0].events is None  # of which nothing is known
    for example in told.examples[1:]:
        i = names.index(example.video_id)
        expected = active[i, : clips.num_segments[i]].T[example.classes]
        np.testing.assert_array_equal(example.events, expected)
    known = np.arange(len(clips)) != best
    scores = trained.predict_segments(clips).scores
    judged = mla.evaluate_segments(scores[known], active[known], mask=clips.mask()[known])
    (run,) = told.runs
    for name in ("macro_average_precision", "error_rate", "num_segments"):
        assert run.segment_figures[name] == pytest.approx(getattr(judged, name), rel=1e-5)
    text = Page(render(told)).text()
    assert "By seconds, from strong labels" in text
    assert f"{run.segment_figures['macro_auc']:.3f}" in text
    assert "A frame is when the class truly sounds" in text
    assert "By seconds" not in Page(render(report)).text()


def truth_of(data: Path, folder: Path, leave_out: str = "") -> Path:
    """A file of strong labels of all generated eval clips but one."""
    clips = mla.open_packed(data)
    active = mla.synthetic_clips(WORLD, "eval").events
    events = mla.segments_to_events(active, clips.video_ids)
    events.pop(leave_out, None)
    names = mla.ClassList.read(data / "class_labels_indices.csv")
    mla.write_strong_labels(folder / "events.tsv", events, names)
    return folder / "events.tsv"


def test_a_picture_of_a_clip_by_command(folder: Path, tmp_path: Path) -> None:
    clip = mla.open_packed(folder / "eval").video_ids[3].decode()
    events = truth_of(folder / "eval", tmp_path)
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
    with raises_user_error("of another name"):
        clip_picture.write_clip_picture([folder / "single"] * 2, tmp_path / "no.png", clip)
    assert not (tmp_path / "no.png").exists()


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
        reporting.add_to_tensorboard(tmp_path / "multi")
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
    assert steps == [4, 8, 12]  # the run's own figures are still there
