"""Reports, pictures and tags take the length of a segment from data or run, or are told it."""

import json
from pathlib import Path

import pytest

import mla_jax as mla
from mla_jax.localization.segment_metrics import SegmentMetrics
from mla_jax.localization.strong_labels import write_strong_labels
from mla_jax.report.clip_picture import write_clip_picture
from mla_jax.report.gather import gather
from mla_jax.tagging.tag import predict_to_file
from mla_jax.tagging.tagger import TagOptions
from tests.support.helpers import described, raises_user_error
from tests.support.untrained import WORLD, leave_untrained, run_config

pytest.importorskip("matplotlib")
HOPS = {"whole": 1.0, "half": 0.5, "unknown": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run and data three times, of segments of a second, of half a second, and of unknown length."""
    folder = tmp_path_factory.mktemp("lengths")
    for name, hop in HOPS.items():
        for split in ("train", "eval"):
            made = mla.synthetic_clips(WORLD, split)
            clips = described(made.clips, hop_seconds=hop, example_seconds=None)
            mla.pack([clips], folder / name / split, classes=made.classes)
        leave_untrained(run_config(folder / name, "1-A"), folder / name / "run")
    made = mla.synthetic_clips(WORLD, "eval")
    for hop in (1.0, 0.5):
        events = mla.segments_to_events(made.events, made.clips.video_ids, resolution=hop)
        write_strong_labels(folder / f"{hop}.tsv", events, made.classes)
    return folder


def scored(folder: Path, name: str, hop: float, stated: float | None = None) -> SegmentMetrics:
    told = gather([folder / name / "run"], events=folder / f"{hop}.tsv", segment_seconds=stated)
    found = told.runs[0].when
    assert found is not None
    assert {example.segment_seconds for example in told.examples} == {hop}
    return found.decided


def test_events_meet_segments_of_their_length(folder: Path) -> None:
    expected = scored(folder, "whole", 1.0)
    for found in (scored(folder, "half", 0.5), scored(folder, "unknown", 0.5, stated=0.5)):
        assert found.macro_average_precision == expected.macro_average_precision
        assert found.num_active.tolist() == expected.num_active.tolist()


def test_what_is_not_known_is_asked_for(folder: Path, tmp_path: Path) -> None:
    run, events = folder / "unknown" / "run", folder / "0.5.tsv"
    with raises_user_error("needs to know how long a segment is", "give segment_seconds"):
        gather([run], events=events)
    clip = mla.open_packed(folder / "unknown" / "eval").video_ids[0].decode()
    with raises_user_error("needs to know how long a segment is", "prepare_data --hop_seconds"):
        write_clip_picture([run], tmp_path / "clip.png", clip, events=events)
    (example, *_) = gather([run]).examples
    assert example.segment_seconds is None


def test_what_is_known_is_not_stated_otherwise(folder: Path, tmp_path: Path) -> None:
    clip = mla.open_packed(folder / "half" / "eval").video_ids[0].decode()
    run = folder / "half" / "run"
    with raises_user_error("segment_seconds=1 is not what the data or the run say", "each 0.5 s"):
        gather([run], segment_seconds=1.0)
    with raises_user_error("segment_seconds=1 is not"):
        write_clip_picture([run], tmp_path / "clip.png", clip, segment_seconds=1.0)
    with raises_user_error("segment_seconds=0 is not valid"):
        gather([folder / "unknown" / "run"], segment_seconds=0.0)


def test_runs_of_different_embeddings_are_in_no_report(folder: Path) -> None:
    data = mla.open_packed(folder / "unknown" / "eval")
    assert data.embedding.hop_seconds is None
    runs = [folder / "whole" / "run", folder / "half" / "run"]
    with raises_user_error("half has other embeddings than whole", "hop_seconds 0.5 and 1.0"):
        gather(runs, str(folder / "unknown" / "eval"))
    told = gather(runs, str(folder / "unknown" / "eval"), allow_other_embeddings=True)
    assert [run.metrics is not None for run in told.runs] == [True, True]


def test_the_axis_of_a_picture_says_its_unit(folder: Path, tmp_path: Path) -> None:
    for name, unit in (("half", "seconds"), ("unknown", "segments")):
        clip = mla.open_packed(folder / name / "eval").video_ids[0].decode()
        write_clip_picture([folder / name / "run"], tmp_path / f"{name}.svg", clip)
        drawn = (tmp_path / f"{name}.svg").read_text()
        assert [f"<!-- {u} -->" in drawn for u in ("seconds", "segments")] == [
            u == unit for u in ("seconds", "segments")
        ]


@pytest.mark.parametrize(
    ("run", "data", "stated"),
    [
        ("half", "half", None),
        ("half", "unknown", None),
        ("unknown", "half", None),
        ("half", "half", 0.5),
    ],
)
def test_tags_have_the_times_of_what_knows_them(
    folder: Path, tmp_path: Path, run: str, data: str, stated: float | None
) -> None:
    options = TagOptions(segments=True, window=2, segment_seconds=stated)
    output, clips = tmp_path / "tags.jsonl", folder / data / "eval"
    predict_to_file(folder / run / "run", str(clips), output, options)
    start = mla.open_packed(clips).start_times[0]
    lines = [json.loads(line) for line in output.read_text().splitlines()[:2]]
    assert [line["start_time"] for line in lines] == [start, start + 1.0]
    assert [line["segment_starts"] for line in lines] == [
        [start, start + 0.5],
        [start + 1.0, start + 1.5],
    ]


def test_tags_refuse_another_length_than_is_known(folder: Path, tmp_path: Path) -> None:
    options = TagOptions(segments=True, segment_seconds=0.96)
    for run, data, said in (
        ("half", "unknown", "hop_seconds 0.96 and 0.5"),
        ("unknown", "half", "segment_seconds=0.96 is not what the data or the run say"),
    ):
        with raises_user_error(said):
            clips = str(folder / data / "eval")
            predict_to_file(folder / run / "run", clips, tmp_path / "tags.csv", options)
    assert not list(tmp_path.iterdir())
