"""Several runs, or checkpoints, used as one model: opened by name, evaluated, thresholds chosen."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

import mla_jax as mla
from mla_jax.data.embedding import AUDIOSET
from mla_jax.data.splits import hold_out
from mla_jax.evaluation.thresholds import choose_thresholds
from mla_jax.explain.levels import level_shares
from mla_jax.explain.maps import clip_maps
from mla_jax.models.multi_level import init_variables
from mla_jax.report import tables
from mla_jax.report.gather import gather
from mla_jax.runs.averaged import AveragedModel, members_of
from mla_jax.runs.checkpoints import Checkpoints
from mla_jax.runs.data import RunData
from mla_jax.runs.folder import RunFolder
from mla_jax.runs.names import run_names, workdirs_of
from mla_jax.runs.results import checkpoint_meta
from mla_jax.runs.thresholds import thresholds_of
from mla_jax.runs.trained import restore
from mla_jax.runs.use import evaluate, open_model, weights_of
from mla_jax.tagging.tag import predict_to_file
from mla_jax.tagging.tagger import TagOptions
from mla_jax.training.state import init_state
from tests.support.helpers import described, raises_user_error, random_clips
from tests.support.small_runs import run_config
from tests.support.untrained import untrained_model


@pytest.fixture(scope="module")
def folder(run_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs a and b, of other architectures and weights but the same clips; each has steps 10 and 20."""
    folder = tmp_path_factory.mktemp("averaged")
    for name, architecture, seed in (("a", "1-A-1-A", 0), ("b", "1-A", 1)):
        config = run_config(run_data, seed=seed)
        data = dataclasses.replace(config.data, validation_fraction=0.4)
        model = dataclasses.replace(config.model, architecture=architecture)
        leave_untrained(dataclasses.replace(config, data=data, model=model), folder / name)
    return folder


def leave_untrained(config: mla.Config, workdir: Path) -> None:
    """The folder of a run with two checkpoints, of random weights."""
    run, data = RunFolder(workdir), RunData.open(config)
    model = mla.build_model(config.model, data.train.num_classes)
    with Checkpoints(run.checkpoints) as checkpoints:
        for step in (10, 20):
            variables = init_variables(model, config.train.seed + step, data.train.num_features)
            state = dataclasses.replace(init_state(variables, config.optim), step=np.int32(step))
            checkpoints.save(state, checkpoint_meta(config, data))
    run.write_config(config)


def test_runs_are_averaged_by_evaluate_predict_and_report(
    folder: Path, run_data: Path, tmp_path: Path
) -> None:
    both = f"{folder}/a,{folder}/b"
    clips = mla.open_packed(run_data / "eval")
    members = [mla.TrainedModel.open(folder / name) for name in "ab"]
    mean = np.mean([one.predict(clips) for one in members], axis=0)
    expected = mla.evaluate(mean, clips.multi_hot())

    results = evaluate(both, str(run_data / "eval"))
    assert results["mAP"] == pytest.approx(expected.mAP, rel=1e-6)
    assert results["models"] == [
        {"workdir": f"{folder}/{name}", "step": one.step}
        for name, one in zip("ab", members, strict=True)
    ]
    assert results["workdir"] == both

    options = TagOptions(top_k=7, segments=True, batch_size=16)
    predict_to_file(both, str(run_data / "eval"), tmp_path / "tags.csv", options)
    rows = (tmp_path / "tags.csv").read_text().splitlines()
    first = rows[1].split(",")
    k = int(first[2])
    assert k == mean[0].argmax()
    assert float(first[5]) == pytest.approx(mean[0, k], abs=1e-5)

    report = gather([folder / "a", both], str(run_data / "eval"))
    assert [run.name for run in report.runs] == ["a", "average of a, b"]
    metrics = report.runs[1].metrics
    assert metrics is not None
    assert metrics.mAP == pytest.approx(expected.mAP, rel=1e-6)
    facts = {row[0]: row[1:] for row in tables.facts(report)["rows"]}
    assert facts["architecture"] == ["1-A-1-A", "1-A-1-A, 1-A"]
    assert facts["seed"] == ["0", "0, 1"]
    assert facts["clips a step"] == ["8", "8"]
    assert [row[0] for row in tables.results(report)["rows"]] == ["a", "average of a, b"]


def test_a_model_that_is_averaged_twice_is_not_the_average_of_each_once(folder: Path) -> None:
    """As parts of several processes are told apart."""
    once, twice = (f"{folder}/a,{folder}/b", f"{folder}/a,{folder}/a,{folder}/b")
    assert weights_of(open_model(once)) == weights_of(open_model(once))
    assert weights_of(open_model(once)) != weights_of(open_model(twice))


def test_checkpoints_of_a_run_are_averaged_in_the_same_way(folder: Path, run_data: Path) -> None:
    clips = mla.open_packed(run_data / "eval")
    average = open_model(folder / "a", average_from=10)
    kept = restore(folder / "a", average_from=10)
    assert [one.step for one in members_of(average)] == [one.step for one in kept] == [10, 20]
    mean = np.mean([one.predict(clips) for one in kept], axis=0)
    np.testing.assert_allclose(average.predict(clips), mean, rtol=1e-6)


def test_an_average_has_thresholds_of_its_own_on_the_common_validation_clips(
    folder: Path, run_data: Path, tmp_path: Path
) -> None:
    both = f"{folder}/a,{folder}/b"
    before = sorted(folder.rglob("*.json"))
    model = open_model(both)
    _, validation = hold_out(mla.open_packed(run_data / "train"), 0.4)
    assert validation is not None
    chosen = choose_thresholds(model.predict(validation), validation.multi_hot())
    np.testing.assert_array_equal(thresholds_of(both, model), chosen)
    assert sorted(folder.rglob("*.json")) == before, "reading does not write"
    a, b = members_of(model)
    others = dict.fromkeys(("train", "validation"), "another")
    strange = dataclasses.replace(b, made_with={**b.made_with, "fingerprints": others})
    with raises_user_error("trained or validated on other clips", "give a number"):
        thresholds_of(both, AveragedModel.of([a, strange]))


def test_a_name_with_commas_is_several_runs_unless_there_is_such_a_folder(
    folder: Path, tmp_path: Path
) -> None:
    assert workdirs_of("a,b") == workdirs_of("a, b") == ["a", "b"]
    with raises_user_error("names no run beside a comma"):
        workdirs_of("a,,b")
    shutil.copytree(folder / "b", tmp_path / "lr=0.1,0.2")
    assert isinstance(open_model(tmp_path / "lr=0.1,0.2"), mla.TrainedModel)
    with raises_user_error("names 2 runs, and an average cannot be used for this"):
        mla.TrainedModel.open(f"{folder}/a,{folder}/b")
    with raises_user_error("nowhere does not exist"):
        open_model(f"{folder}/a,{folder}/nowhere")
    named = {"average of x/a, x/b": "x/a,x/b", "average of x/b, y/a": "x/b,y/a", "y/a": "y/a"}
    assert run_names(list(named.values())) == list(named)
    with raises_user_error("the same run is given twice"):
        run_names(["a,b", "b,a"])


def test_what_cannot_be_averaged_is_refused() -> None:
    one = untrained_model(architecture="1-A")
    names = tuple("abcdefg")
    swapped = mla.ClassList(one.classes.mids, names)
    other = mla.ClassList(one.classes.mids, names[::-1])
    for changes, message in (
        (({"classes": swapped}, {"classes": other}), "so class indices would be mixed up"),
        (({}, {"num_features": 17}), "takes 17 features a segment"),
        (
            ({"embedding": AUDIOSET}, {"embedding": dataclasses.replace(AUDIOSET, encoder="x")}),
            "encoder x and vggish",
        ),
    ):
        models = [
            dataclasses.replace(one, step=step, **change)
            for step, change in zip((1, 2), changes, strict=True)
        ]
        with raises_user_error(message):
            AveragedModel.of(models)
    with raises_user_error("no model to average"):
        AveragedModel.of([])


def test_the_shortest_clips_are_the_windows_and_what_is_known_is_joined() -> None:
    one = untrained_model(architecture="1-A")
    known = dataclasses.replace(AUDIOSET, num_features=one.num_features, hop_seconds=None)
    members = [
        dataclasses.replace(one, step=1, max_segments=7, embedding=known),
        dataclasses.replace(
            one, step=2, max_segments=5, embedding=dataclasses.replace(known, hop_seconds=0.5)
        ),
    ]
    average = AveragedModel.of(members)
    assert average.max_segments == 5
    assert average.embedding is not None
    assert average.embedding.hop_seconds == 0.5
    clips = described(random_clips(features=one.num_features), encoder="another")
    with raises_user_error("encoder"):
        average.predict(clips)


def test_an_average_has_scores_but_no_inside() -> None:
    members = [untrained_model(architecture=form) for form in ("1-A", "1-A-1-A")]
    average = AveragedModel.of(dataclasses.replace(m, step=i) for i, m in enumerate(members))
    clips = random_clips(num_clips=3, features=members[0].num_features)
    assert level_shares(average, clips) is None
    for maps, mean in zip(
        clip_maps(average, clips), average.predict_segments(clips).scores, strict=True
    ):
        assert list(maps) == ["segment score"]
        values = maps["segment score"].values
        np.testing.assert_allclose(values, mean.T[:, : values.shape[1]], rtol=1e-5)
