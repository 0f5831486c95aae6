"""How well a model tells when classes sound, from strong labels of some of its clips."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.localization.event_rules import find_events
from mla_jax.localization.events import segment_bounds, segment_reference
from mla_jax.localization.rule_files import read_rules
from mla_jax.localization.strong_labels import read_strong_labels
from mla_jax.runs.spread import evaluate_share
from mla_jax.runs.use import evaluate
from mla_jax.runs.when import WhenOptions, judge_when
from mla_jax.storage.parts import Share
from mla_jax.tagging.tag import predict_to_file
from mla_jax.tagging.tagger import EventOptions, TagOptions
from tests.support.helpers import raises_user_error
from tests.support.untrained import make_runs, write_truth


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_runs(tmp_path_factory.mktemp("when"))


@pytest.fixture(scope="module")
def events(folder: Path) -> Path:
    """Strong labels of all eval clips but the first."""
    first = mla.open_packed(folder / "eval").video_ids[0].decode()
    return write_truth(folder, folder / "eval", leave_out=first)


def test_the_scores_are_those_of_the_labelled_clips(folder: Path, events: Path) -> None:
    trained, clips = mla.TrainedModel.open(folder / "multi"), mla.open_packed(folder / "eval")
    when = judge_when(trained, clips, WhenOptions(events, 1.0))
    labels = read_strong_labels(events, trained.classes)
    some = clips[1:]
    truth = segment_reference(labels, some.video_ids, some.mask(), some.num_classes)
    output = trained.predict_segments(some)
    repeated = np.repeat(output.probs[:, None], some.max_segments, axis=1)
    alone = trained.predict_segments(some, score="alone").scores
    for name, scores in (("in_context", output.scores), ("alone", alone), ("clip", repeated)):
        ours = mla.evaluate_segments(scores, truth.active, mask=truth.mask)
        found = when["scores"][name]
        assert found["average_precision"] == pytest.approx(ours.macro_average_precision, rel=1e-5)
        assert found["auc"] == pytest.approx(ours.macro_auc, rel=1e-5)
    assert when["scores"]["clip"]["within_clips"] == 0.5
    assert when["num_clips"] == len(some)
    assert "119 of 120 clips" in when["notes"][0]


def test_evaluate_keeps_them_in_one_process_and_in_several(
    folder: Path, events: Path, tmp_path: Path
) -> None:
    workdir, data = folder / "multi", str(folder / "eval")
    when = WhenOptions(events, 1.0)
    evaluate(workdir, data, output=tmp_path / "one.json", when=when)
    kept = json.loads((tmp_path / "one.json").read_text())
    assert kept["when"]["floor"] == "clip"
    assert set(kept["when"]["differences"]) == set(kept["when"]["scores"]) - {"clip"}
    for i in range(2):
        evaluate_share(Share(i, 2), workdir, data, tmp_path / "many.json", part_clips=50, when=when)
    assert (tmp_path / "many.json").read_bytes() == (tmp_path / "one.json").read_bytes()


def test_rules_are_chosen_on_them_and_make_events(
    folder: Path, events: Path, tmp_path: Path
) -> None:
    trained, clips = mla.TrainedModel.open(folder / "multi"), mla.open_packed(folder / "eval")
    path = tmp_path / "rules.json"
    notes = judge_when(trained, clips, WhenOptions(events, 1.0, path))["notes"]
    assert notes[-1].startswith(f"{path} has rules of events for 7 classes, 7 of them chosen on")
    rules = read_rules(path, trained.classes)
    options = TagOptions(segment_seconds=1.0, events=EventOptions(rules=str(path)))
    predict_to_file(folder / "multi", str(folder / "eval"), tmp_path / "events.jsonl", options)
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    some = trained.predict_segments(clips).scores
    bounds = segment_bounds(clips.max_segments, 1.0)
    for row, line in enumerate(lines):
        begins = clips.start_times[row] + bounds
        found = find_events(some[row].T, begins[:-1], begins[1:], np.arange(7), rules)
        assert sorted((e["index"], e["onset"]) for e in line["events"]) == sorted(
            zip(found.row.tolist(), found.onset.tolist(), strict=True)
        )
    with raises_user_error("events.tsv"):
        judge_when(trained, clips, WhenOptions(events, 1.0, events))


def test_no_output_is_another_file_of_the_command(
    folder: Path, events: Path, tmp_path: Path
) -> None:
    """Neither one that it reads, nor one that it has just written."""
    workdir, data, rules = folder / "multi", str(folder / "eval"), tmp_path / "rules.jsonl"
    taken = "rules.jsonl is also read or written by this command"
    for when in (
        WhenOptions(events, 1.0, write_rules=rules),
        WhenOptions(events, 1.0, rules=str(rules), collar=1.0),
    ):
        with raises_user_error(taken):
            evaluate(workdir, data, output=rules, when=when)
        with raises_user_error(taken):
            evaluate_share(Share(0, 2), workdir, data, rules, when=when)
    both = WhenOptions(events, 1.0, write_rules=rules, rules=str(rules), collar=1.0)
    with raises_user_error(taken):
        evaluate(workdir, data, when=both)
    with raises_user_error(taken):
        options = TagOptions(segment_seconds=1.0, events=EventOptions(rules=str(rules)))
        predict_to_file(workdir, data, rules, options)
    assert not rules.exists()


def test_event_based_figures_need_their_library_and_a_collar(folder: Path, events: Path) -> None:
    trained, clips = mla.TrainedModel.open(folder / "multi"), mla.open_packed(folder / "eval")
    if importlib.util.find_spec("sed_scores_eval") is None:
        with raises_user_error("sed_scores_eval", "pip install 'mla_jax[localization]'"):
            judge_when(trained, clips, WhenOptions(events, 1.0, collar=1.0))
    else:
        found = judge_when(trained, clips, WhenOptions(events, 1.0, collar=1.0))["events"]
        assert found["num_classes"] == 7
        assert found["collars"] == {"onset": 1.0, "offset": 1.0, "offset_rate": 0.2}
    with raises_user_error("collar=0 is not valid"):
        WhenOptions(events, collar=0)
    with raises_user_error("r.json makes events, which are judged with collars"):
        WhenOptions(events, rules="r.json")


def test_events_must_be_of_some_of_the_clips(folder: Path, tmp_path: Path) -> None:
    trained, clips = mla.TrainedModel.open(folder / "multi"), mla.open_packed(folder / "eval")
    silent = tmp_path / "silent.tsv"
    name = clips.video_ids[0].decode()
    silent.write_text(f"filename\tonset\toffset\tevent_label\n{name}\t\t\t\n")
    with raises_user_error("no class sounds in any of the clips"):
        judge_when(trained, clips, WhenOptions(silent, 1.0))
    silent.write_text("filename\tonset\toffset\tevent_label\nstranger.wav\t\t\t\n")
    with raises_user_error("'stranger.wav'"):
        judge_when(trained, clips, WhenOptions(silent, 1.0))
